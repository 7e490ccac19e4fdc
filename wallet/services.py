"""Everything that moves money.

Only `post_many` (`post` through it), `post_with` and `post_at_once` write a balance.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from typing import Any

from django.db import transaction
from django.db.models import BigIntegerField, CharField, Exists, F, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.lookups import Exact

from accounts import mail
from accounts.models import User
from wallet.errors import AccountFrozen, AlreadyPosted, InsufficientFunds, InvalidAmount
from wallet.models import Account, Entry
from wallet.money import LIMIT, STEP, ZERO, MoneyField
from wallet.prepared import Insert, Instances, Slot, Update
from wallet.together import Pending, UpdateAndInsert, is_possible


def open_account(user: User) -> Account:
    """The customer's account, made with a balance of nothing the first time."""
    return Account.objects.get_or_create(user=user)[0]


def lock_account(user_id: int) -> Account:
    """The customer's account, locked until the transaction ends.

    Locks are always taken in the order account, order, attempt; so this comes first in every
    transaction that moves money.
    """
    found = _locked(user=user_id)
    if not found:
        Account.objects.get_or_create(user_id=user_id)
        found = _locked(user=user_id)
    return found[0]


def _account_to_lock() -> QuerySet[Account]:
    accounts = Account.objects.select_for_update(no_key=True, of=("self",)).select_related("user")
    # What else there is of its holder is read when a mail is written.
    needed = accounts.only("user", "balance", "frozen_reason", "user__low_balance")
    return needed.filter(user_id=Slot("user", BigIntegerField()))


_locked = Instances(_account_to_lock)


@dataclass(frozen=True)
class Movement:
    """A signed amount in the site's currency that is to be posted, and what it is for."""

    amount: Decimal
    reference: str
    order_number: int | None = None


def post(
    *,
    account: Account,
    kind: Entry.Kind,
    amount: Decimal,
    reference: str,
    order_number: int | None = None,
    actor: User | None = None,
    note: str = "",
) -> Entry:
    """Write one ledger entry and the balance that follows from it.

    `account` must come from `lock_account` in the same transaction: the sum is made here, in
    Decimal, because SQLite would make it in floats. Raises InvalidAmount, InsufficientFunds,
    AccountFrozen (charges only) or AlreadyPosted, and then nothing is written.
    """
    movement = Movement(amount=amount, reference=reference, order_number=order_number)
    return post_many(account=account, kind=kind, movements=[movement], actor=actor, note=note)[0]


def post_many(
    *,
    account: Account,
    kind: Entry.Kind,
    movements: Sequence[Movement],
    actor: User | None = None,
    note: str = "",
) -> list[Entry]:
    """Write an entry per movement and one balance, by the rules of `post`: all of them, or none.

    The number of statements does not grow with the number of movements.
    """
    balances = _allowed(account, kind, [movement.amount for movement in movements])
    entries = [
        Entry(
            account_id=account.pk,
            kind=kind,
            amount=movement.amount,
            balance_after=balance,
            reference=movement.reference,
            order_number=movement.order_number,
            actor=actor,
            note=note,
        )
        for movement, balance in zip(movements, balances, strict=True)
    ]
    if not _write(account.pk, entries):
        raise AlreadyPosted(f"{kind} {movements[0].reference} is in the ledger")
    _note(account, balances[-1])
    return entries


def post_with(
    pending: Pending[Any, Any],
    *,
    account: Account,
    kind: Entry.Kind,
    amount: Decimal,
    reference: str,
) -> Entry | None:
    """Write what is pending and, by the rules of `post`, the entry for it: both, or neither.

    The entry's order number is the new row's, and its reference ends with that. None when what was
    pending was not written. One statement, where the database knows such: it is the one that every
    order waits for.
    """
    (balance,) = _allowed(account, kind, [amount])
    entry = Entry(
        account=account, kind=kind, amount=amount, balance_after=balance, reference=reference
    )
    if not _write_both(pending, entry):
        return None
    _note(account, balance)
    return entry


def post_at_once(
    pending: Pending[Any, Any], *, user: User, kind: Entry.Kind, amount: Decimal, reference: str
) -> Entry | None:
    """As `post_with` of this user's account, as one statement that is a transaction of its own.

    The account is locked while the statement writes, and by nothing that goes to the server and back.
    None, and nothing written, where that can't be: within a transaction, on a database that knows no
    such statement, for a customer to be warned of a low balance, when what is pending must not be
    written, when the account is frozen or holds too little, and when its balance was moved at the
    same moment. Whoever locks the account then learns which it is.
    """
    connection = transaction.get_connection()
    is_alone = not connection.in_atomic_block and connection.get_autocommit()
    is_warned = user.low_balance is not None
    if is_warned or not is_alone or not is_possible(connection):
        return None
    _check_amount(amount)
    entry = Entry(kind=kind, amount=amount, reference=reference)
    given = {
        "account_id": "changed.id",
        "balance_after": "changed.balance",
        **_name_of_made(reference),
    }
    values = {"user": user.pk, "amount": amount, "least": -amount}
    return entry if _write_at_once.before(pending, entry, given, **values) else None


def _write_both(pending: Pending[Any, Any], entry: Entry) -> bool:
    """Write them, unless what is pending isn't; raises AlreadyPosted when only the entry isn't."""
    if not is_possible(transaction.get_connection()):
        if not pending.write():
            return False
        _name(entry, pending.row.pk)
        if not _write(entry.account_id, [entry]):
            raise AlreadyPosted(f"{entry.kind} {entry.reference} is in the ledger")
        return True
    given = _name_of_made(entry.reference)
    is_made, is_paid = _write_new.after(
        pending, entry, given, account=entry.account_id, balance=entry.balance_after
    )
    if not is_made:
        return False
    _name(entry, pending.row.pk)
    if not is_paid:
        raise AlreadyPosted(f"account {entry.account_id} is gone")
    return True


def _name_of_made(reference: str) -> dict[str, str]:
    """What `_name` says, in SQL, of the row that the same statement makes."""
    return {"reference": f"'{reference}' || made.id", "order_number": "made.id"}


def _name(entry: Entry, number: int) -> None:
    """Let the entry say which row it is for, now that the row has its number."""
    entry.order_number = number
    entry.reference += str(number)


def _allowed(account: Account, kind: Entry.Kind, amounts: Sequence[Decimal]) -> list[Decimal]:
    """The balance after each amount; raises what `post` raises."""
    connection = transaction.get_connection()
    connection.validate_no_broken_transaction()
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(
            "post needs the transaction that locked the account"
        )
    if kind == Entry.Kind.CHARGE and account.frozen_reason:
        raise AccountFrozen("the account is frozen")
    return _balances(account.balance, amounts)


def _note(account: Account, balance: Decimal) -> None:
    """The new balance is written: say so to whoever holds the account, and warn its holder."""
    _warn_when_low(account, balance)
    account.balance = balance


def _write(account_id: int, entries: Sequence[Entry]) -> bool:
    """Write the balance and its entries, unless one of them is in the ledger.

    In few statements: an account is locked for as long as its holder talks to the database.
    """
    kind, balance = entries[0].kind, entries[-1].balance_after
    references = {entry.reference for entry in entries}
    if len(entries) == 1:
        (reference,) = references
        given = {"account": account_id, "kind": kind, "reference": reference, "balance": balance}
        return _write_one(entries[0], **given)
    known = Entry.objects.filter(kind=kind, reference__in=references)
    unposted = Account.objects.filter(~Exists(known), pk=account_id)
    if len(references) < len(entries) or not unposted.update(balance=balance):
        return False
    _insert(entries)
    return True


_insert = Insert(Entry)


def _unposted() -> QuerySet[Account]:
    known = Entry.objects.filter(
        kind=Slot("kind", CharField()), reference=Slot("reference", CharField())
    )
    return _account().filter(~Exists(known))


def _account() -> QuerySet[Account]:
    return Account.objects.filter(pk=Slot("account", BigIntegerField()))


_BALANCE = Slot("balance", MoneyField())
_write_one = UpdateAndInsert(Update(_unposted, balance=_BALANCE), _insert)
# For what has just been made: only the ledger's own constraints can know its reference.
_write_new = UpdateAndInsert(Update(_account, balance=_BALANCE), _insert)


# Of a row, in PostgreSQL: the number of the transaction that wrote it.
_VERSION = RawSQL("xmin", (), output_field=BigIntegerField())


def _payable() -> QuerySet[Account]:
    """The account, if it can pay, nobody is to be warned, and its balance is that of the statement's begin.

    An UPDATE that has waited for another one looks at the row again, but at nothing else: what
    that one wrote, such as an order on the same link, it doesn't see. So it must not go on then.
    """
    user = Slot("user", BigIntegerField())
    mine = Account.objects.filter(user_id=user)
    can_pay = mine.filter(
        # They may have asked for the warning since they were read.
        Exists(User.objects.filter(pk=user, low_balance__isnull=True)),
        frozen_reason="",
        balance__gte=Slot("least", MoneyField()),
    )
    return can_pay.filter(Exact(_VERSION, Subquery(mine.values(version=_VERSION))))


_NEW_BALANCE = F("balance") + Slot("amount", MoneyField())
_write_at_once = UpdateAndInsert(Update(_payable, balance=_NEW_BALANCE), _insert)


def _warn_when_low(account: Account, balance: Decimal) -> None:
    """Write a mail when the balance falls below the amount that the customer chose."""
    limit = account.user.low_balance
    if limit is not None and balance < limit <= account.balance:
        mail.write(account.user, mail.Kind.LOW_BALANCE, balance=str(balance), limit=str(limit))


def _balances(balance: Decimal, amounts: Sequence[Decimal]) -> list[Decimal]:
    """The balance after each amount; raises InvalidAmount or InsufficientFunds."""
    if not amounts:
        raise InvalidAmount("nothing to post")
    for amount in amounts:
        _check_amount(amount)
    balances = list(accumulate(amounts, initial=balance))[1:]
    if min(balances) < 0:
        raise InsufficientFunds(balance=balance, needed=-sum(amounts, ZERO))
    if max(balances) > LIMIT:
        raise InvalidAmount("the balance would grow beyond what can be stored")
    return balances


def _check_amount(amount: Decimal) -> None:
    if amount == 0 or abs(amount) > LIMIT or amount != amount.quantize(STEP):
        raise InvalidAmount(f"{amount} can't be posted")


@transaction.atomic
def top_up(
    *, user: User, amount: Decimal, note: str = "", actor: User | None = None, reference: str = ""
) -> Entry:
    """Credit a payment; the same reference is credited once and then raises AlreadyPosted."""
    if amount <= 0:
        raise InvalidAmount("a top-up is more than nothing")
    return post(
        account=lock_account(user.pk),
        kind=Entry.Kind.TOP_UP,
        amount=amount,
        reference=reference or f"top-up-{uuid.uuid4()}",
        actor=actor,
        note=note,
    )


@transaction.atomic
def adjust(*, user: User, amount: Decimal, note: str, actor: User, reference: str = "") -> Entry:
    """Correct a balance up or down, with a reason; staff only.

    The same reference is posted once and then raises AlreadyPosted.
    """
    if not note.strip():
        raise InvalidAmount("an adjustment needs a reason")
    return post(
        account=lock_account(user.pk),
        kind=Entry.Kind.ADJUSTMENT,
        amount=amount,
        reference=reference or f"adjustment-{uuid.uuid4()}",
        actor=actor,
        note=note,
    )
