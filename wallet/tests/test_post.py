from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction

from accounts.models import User
from wallet.errors import AccountFrozen, AlreadyPosted, InsufficientFunds, InvalidAmount
from wallet.models import Account, Entry
from wallet.services import Movement, adjust, lock_account, post, post_many, top_up


def charge(user: User, amount: str, number: int = 1) -> Entry:
    with transaction.atomic():
        return post(
            account=lock_account(user.pk),
            kind=Entry.Kind.CHARGE,
            amount=-Decimal(amount),
            reference=f"order-{number}",
            order_number=number,
        )


def balance(user: User) -> Decimal:
    return Decimal(Account.objects.get(user=user).balance)


def test_a_charge_lowers_the_balance_and_notes_what_is_left(customer: User) -> None:
    entry = charge(customer, "3.5")

    assert entry.balance_after == Decimal("6.5")
    assert balance(customer) == Decimal("6.5")


def test_a_balance_of_exactly_the_charge_is_enough(customer: User) -> None:
    """0.7 + 0.1 - 0.8 is not nothing in floats; here it is."""
    user = User.objects.create_user("exact@example.com")
    top_up(user=user, amount=Decimal("0.7"))
    top_up(user=user, amount=Decimal("0.1"))

    charge(user, "0.8")

    assert balance(user) == 0


def test_too_little_balance_refuses_and_writes_nothing(customer: User) -> None:
    with pytest.raises(InsufficientFunds) as refusal:
        charge(customer, "10.00001")

    assert refusal.value.missing == Decimal("0.00001")
    assert balance(customer) == 10
    assert Entry.objects.filter(kind=Entry.Kind.CHARGE).count() == 0


def test_an_order_is_charged_once(customer: User) -> None:
    charge(customer, "1")
    with pytest.raises(AlreadyPosted):
        charge(customer, "1")

    assert balance(customer) == 9


@pytest.mark.parametrize("amount", ["0", "0.000001", "1000000000", "-1"])
def test_an_amount_that_makes_no_sense_is_refused(customer: User, amount: str) -> None:
    with pytest.raises(InvalidAmount):
        top_up(user=customer, amount=Decimal(amount))

    assert balance(customer) == 10


def test_a_payment_is_credited_once(customer: User) -> None:
    top_up(user=customer, amount=Decimal(5), reference="bank-1")
    with pytest.raises(AlreadyPosted):
        top_up(user=customer, amount=Decimal(5), reference="bank-1")

    assert balance(customer) == 15


def test_a_frozen_account_takes_refunds_but_no_charges(customer: User) -> None:
    Account.objects.filter(user=customer).update(frozen_reason="audit")

    with pytest.raises(AccountFrozen):
        charge(customer, "1")
    top_up(user=customer, amount=Decimal(1))

    assert balance(customer) == 11


def test_an_adjustment_needs_a_reason(customer: User, staff: User) -> None:
    with pytest.raises(InvalidAmount):
        adjust(user=customer, amount=Decimal(1), note=" ", actor=staff)
    adjust(user=customer, amount=Decimal(-4), note="paid back by bank", actor=staff)

    assert balance(customer) == 6


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE wallet_entry SET amount = 1000",
        "DELETE FROM wallet_entry",
        "TRUNCATE wallet_entry",
    ],
)
def test_the_database_itself_refuses_to_change_an_entry(
    customer: User, statement: str, is_postgresql: bool
) -> None:
    if statement.startswith("TRUNCATE") and not is_postgresql:
        statement = "DELETE FROM wallet_entry WHERE 1 = 1"
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)

    assert Entry.objects.get().amount == 10


def test_posting_without_the_lock_s_transaction_is_refused(customer: User) -> None:
    account = Account.objects.get(user=customer)
    connection.in_atomic_block, kept = False, connection.in_atomic_block
    try:
        with pytest.raises(transaction.TransactionManagementError):
            post(account=account, kind=Entry.Kind.TOP_UP, amount=Decimal(1), reference="x")
    finally:
        connection.in_atomic_block = kept


def post_amounts(user: User, *amounts: str) -> list[Entry]:
    movements = [
        Movement(amount=Decimal(amount), reference=f"order-{number}", order_number=number)
        for number, amount in enumerate(amounts, start=1)
    ]
    with transaction.atomic():
        return post_many(account=lock_account(user.pk), kind=Entry.Kind.CHARGE, movements=movements)


def test_many_movements_are_one_balance_and_an_entry_each(customer: User) -> None:
    entries = post_amounts(customer, "-1", "-2.5", "-0.00001")

    assert [entry.balance_after for entry in entries] == [
        Decimal(9), Decimal("6.5"), Decimal("6.49999"),
    ]  # fmt: skip
    assert balance(customer) == Decimal("6.49999")


@pytest.mark.parametrize("amounts", [("-6", "-4.00001"), ("-1", "0"), ("-1", "-0.000001"), ()])
def test_one_movement_that_can_not_be_posted_keeps_all_back(
    customer: User, amounts: tuple[str, ...]
) -> None:
    with pytest.raises((InsufficientFunds, InvalidAmount)):
        post_amounts(customer, *amounts)

    assert balance(customer) == 10
    assert not Entry.objects.filter(kind=Entry.Kind.CHARGE).exists()


def test_a_reference_twice_in_one_go_is_refused(customer: User) -> None:
    twice = Movement(amount=Decimal(-1), reference="order-1", order_number=1)

    with pytest.raises(AlreadyPosted), transaction.atomic():
        post_many(
            account=lock_account(customer.pk), kind=Entry.Kind.CHARGE, movements=[twice, twice]
        )
