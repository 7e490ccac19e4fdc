"""Everything that moves money. Only `post` writes a balance."""

import uuid
from decimal import Decimal

from django.db import transaction

from accounts.models import User
from wallet.errors import AccountFrozen, AlreadyPosted, InsufficientFunds, InvalidAmount
from wallet.models import Account, Entry
from wallet.money import LIMIT, STEP


def open_account(user: User) -> Account:
    """The customer's account, made with a balance of nothing the first time."""
    return Account.objects.get_or_create(user=user)[0]


def lock_account(user_id: int) -> Account:
    """The customer's account, locked until the transaction ends.

    Locks are always taken in the order account, order, attempt; so this comes first in every
    transaction that moves money.
    """
    accounts = Account.objects.select_for_update(no_key=True)
    try:
        return accounts.get(user_id=user_id)
    except Account.DoesNotExist:
        Account.objects.get_or_create(user_id=user_id)
        return accounts.get(user_id=user_id)


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
    transaction.get_connection().validate_no_broken_transaction()
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError(
            "post needs the transaction that locked the account"
        )
    if amount == 0 or abs(amount) > LIMIT or amount != amount.quantize(STEP):
        raise InvalidAmount(f"{amount} can't be posted")
    if kind == Entry.Kind.CHARGE and account.frozen_reason:
        raise AccountFrozen("the account is frozen")
    balance = account.balance + amount
    if balance < 0:
        raise InsufficientFunds(balance=account.balance, needed=-amount)
    if balance > LIMIT:
        raise InvalidAmount("the balance would grow beyond what can be stored")
    if Entry.objects.filter(kind=kind, reference=reference).exists():
        raise AlreadyPosted(f"{kind} {reference} is in the ledger")
    account.balance = balance
    account.save(update_fields=["balance"])
    return Entry.objects.create(
        account=account,
        kind=kind,
        amount=amount,
        balance_after=balance,
        reference=reference,
        order_number=order_number,
        actor=actor,
        note=note,
    )


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
