"""Everything that moves money. Only `post_many`, and `post` through it, writes a balance."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate

from django.db import transaction
from django.db.models import BigIntegerField, CharField, Exists, QuerySet

from accounts import mail
from accounts.models import User
from wallet.errors import AccountFrozen, AlreadyPosted, InsufficientFunds, InvalidAmount
from wallet.models import Account, Entry
from wallet.money import LIMIT, STEP, ZERO, MoneyField
from wallet.prepared import Insert, Instances, Slot, Update


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
    return accounts.filter(user_id=Slot("user", BigIntegerField()))


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
    transaction.get_connection().validate_no_broken_transaction()
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError(
            "post needs the transaction that locked the account"
        )
    if kind == Entry.Kind.CHARGE and account.frozen_reason:
        raise AccountFrozen("the account is frozen")
    balances = _balances(account.balance, [movement.amount for movement in movements])
    references = {movement.reference for movement in movements}
    # One statement looks whether it is new and writes the balance: an account is locked for as
    # long as its holder talks to the database.
    is_new = len(references) == len(movements)
    if not is_new or not _write_balance(account.pk, kind, references, balances[-1]):
        raise AlreadyPosted(f"{kind} {movements[0].reference} is in the ledger")
    _warn_when_low(account, balances[-1])
    account.balance = balances[-1]
    entries = [
        Entry(
            account=account,
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
    _insert(entries)
    return entries


_insert = Insert(Entry)


def _write_balance(
    account_id: int, kind: Entry.Kind, references: Collection[str], balance: Decimal
) -> int:
    """Write it unless one of these is in the ledger; gives how many accounts were written."""
    if len(references) == 1:
        (reference,) = references
        return _balance_of_one(account=account_id, kind=kind, reference=reference, balance=balance)
    known = Entry.objects.filter(kind=kind, reference__in=references)
    return Account.objects.filter(~Exists(known), pk=account_id).update(balance=balance)


def _unposted() -> QuerySet[Account]:
    known = Entry.objects.filter(
        kind=Slot("kind", CharField()), reference=Slot("reference", CharField())
    )
    return Account.objects.filter(~Exists(known), pk=Slot("account", BigIntegerField()))


_balance_of_one = Update(_unposted, balance=Slot("balance", MoneyField()))


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
        if amount == 0 or abs(amount) > LIMIT or amount != amount.quantize(STEP):
            raise InvalidAmount(f"{amount} can't be posted")
    balances = list(accumulate(amounts, initial=balance))[1:]
    if min(balances) < 0:
        raise InsufficientFunds(balance=balance, needed=-sum(amounts, ZERO))
    if max(balances) > LIMIT:
        raise InvalidAmount("the balance would grow beyond what can be stored")
    return balances


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
