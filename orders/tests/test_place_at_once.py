"""An order as one statement, without a lock that outlives it: the same rows, or none at all."""

import threading
import time
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import BigIntegerField
from django.test.utils import CaptureQueriesContext

from accounts.mail import Kind
from accounts.models import Mail, User
from catalog.models import Service
from orders import services
from orders.errors import DuplicateLink
from orders.models import Event, Order
from orders.money import charge_at_once
from orders.services import place_order
from orders.tests.test_prepared import AWKWARD, stored
from orders.tests.test_together import each_guard, pay, pending
from orders.tests.worlds import assert_ledger_adds_up, balance_of
from wallet import services as wallet_services
from wallet.errors import AccountFrozen, InsufficientFunds, InvalidAmount
from wallet.models import Account, Entry
from wallet.money import MoneyField
from wallet.prepared import Insert, Slot, Update
from wallet.services import top_up
from wallet.together import UpdateAndInsert

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

LINK = "https://example.com/p/1"


def place(customer: User, service: Service, *, link: str = LINK, quantity: str = "1000") -> Order:
    return place_order(
        customer=customer,
        service=service,
        values={"link": link, "quantity": quantity},
        client_token=uuid.uuid4(),
    )


def written() -> list[Any]:
    """Everything that an order writes, without numbers and times."""
    kept: list[Any] = [stored(model) for model in (Order, Event, Entry)]
    for row in (row for rows in kept for row in rows):
        for made in ("at", "created_at", "client_token"):
            row.pop(made, None)
    return [*kept, list(Account.objects.values_list("balance", flat=True))]


def forget() -> None:
    Event.objects.all().delete()
    Order.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE wallet_entry DISABLE TRIGGER USER")
        cursor.execute("DELETE FROM wallet_entry WHERE kind = 'charge'")
        cursor.execute("ALTER TABLE wallet_entry ENABLE TRIGGER USER")
        cursor.execute("UPDATE wallet_account SET balance = 10")


def test_what_is_sold_is_asked_and_one_statement_places_the_order(
    customer: User, service: Service
) -> None:
    with CaptureQueriesContext(connection) as queries:
        order = place(customer, service)

    assert len(queries) == 2, [each["sql"] for each in queries]
    assert order.charge == 2
    assert balance_of(customer) == 8
    assert_ledger_adds_up()


def test_it_writes_what_is_written_under_the_accounts_lock(
    customer: User, service: Service
) -> None:
    with transaction.atomic():
        place(customer, service, link=AWKWARD.strip().replace(" ", "").replace("\n", ""))
    under_the_lock = written()
    forget()

    place(customer, service, link=AWKWARD.strip().replace(" ", "").replace("\n", ""))

    assert written() == under_the_lock
    order, entry = Order.objects.get(), Entry.objects.get(kind=Entry.Kind.CHARGE)
    assert (entry.order_number, entry.reference) == (order.pk, f"order-{order.pk}")
    assert Event.objects.get().order_id == order.pk


def test_the_entry_knows_what_was_written(customer: User, service: Service) -> None:
    what = pending(customer, service)

    entry = charge_at_once(what, customer=customer)

    assert entry is not None
    kept = Entry.objects.get(kind=Entry.Kind.CHARGE)
    for name in ("pk", "account_id", "balance_after", "reference", "order_number", "amount"):
        assert getattr(entry, name) == getattr(kept, name), name
    assert kept.order_number == what.row.pk == what.line.order_id
    assert what.row.not_before == Order.objects.get().not_before


@pytest.mark.parametrize(
    "account", [{"frozen_reason": "being checked"}, {"balance": Decimal("1.49999")}]
)
def test_an_account_that_can_not_pay_is_left_to_its_lock(
    customer: User, service: Service, account: dict[str, Any]
) -> None:
    Account.objects.update(**account)

    assert charge_at_once(pending(customer, service), customer=customer) is None

    assert not Order.objects.exists()
    assert not Event.objects.exists()
    assert not Entry.objects.filter(kind=Entry.Kind.CHARGE).exists()
    expected = InsufficientFunds if "balance" in account else AccountFrozen
    with pytest.raises(expected):
        place(customer, service)


def test_a_balance_that_is_just_enough_is_spent(customer: User, service: Service) -> None:
    Account.objects.update(balance=Decimal("1.5"))

    assert charge_at_once(pending(customer, service), customer=customer)

    assert balance_of(customer) == 0


@each_guard
def test_nothing_is_written_where_one_of_the_guards_finds_a_row(
    customer: User, service: Service, alike: dict[str, Any], other: dict[str, Any]
) -> None:
    with transaction.atomic():
        assert pay(customer, pending(customer, service, **alike))

    assert charge_at_once(pending(customer, service, **other), customer=customer) is None

    assert (Order.objects.count(), Event.objects.count()) == (1, 1)
    assert balance_of(customer) == Decimal("8.5")
    assert_ledger_adds_up()


def test_within_a_transaction_the_account_is_locked(customer: User, service: Service) -> None:
    with transaction.atomic():
        assert charge_at_once(pending(customer, service), customer=customer) is None
        place(customer, service)
        transaction.set_rollback(True)

    assert not Order.objects.exists()
    assert balance_of(customer) == 10


def test_who_wants_to_be_warned_of_a_low_balance_is(customer: User, service: Service) -> None:
    customer.low_balance = Decimal(9)
    customer.save()

    place(customer, service)

    mail = Mail.objects.get(user=customer, kind=Kind.LOW_BALANCE)
    assert Decimal(mail.values["balance"]) == 8


def test_who_has_asked_for_that_since_they_were_read_is_too(
    customer: User, service: Service
) -> None:
    User.objects.filter(pk=customer.pk).update(low_balance=Decimal(9))

    place(customer, service)

    assert Mail.objects.filter(user=customer, kind=Kind.LOW_BALANCE).count() == 1


@pytest.mark.parametrize("charge", ["0", "0.000000001", "1000000000"])
def test_an_amount_that_no_ledger_holds_is_refused(
    customer: User, service: Service, charge: str
) -> None:
    with pytest.raises(InvalidAmount):
        charge_at_once(pending(customer, service, charge=charge), customer=customer)

    assert not Order.objects.exists()


def test_a_customer_without_a_wallet_is_told_that_money_is_missing(
    customer: User, service: Service
) -> None:
    stranger = User.objects.create_user("no-wallet@example.com")

    with pytest.raises(InsufficientFunds):
        place(stranger, service)

    assert not Order.objects.exists()


def test_a_charge_that_the_ledger_refuses_undoes_all(customer: User, service: Service) -> None:
    """A number that was given away before, after a careless restore of the sequence, say."""
    number = place(customer, service).pk
    Event.objects.all().delete()
    Order.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT setval(pg_get_serial_sequence('orders_order', 'id'), %s, false)", [number]
        )

    with pytest.raises(Exception, match=r"entry_(written_once|one_charge_per_order)"):
        place(customer, service)

    assert not Order.objects.exists()
    assert not Event.objects.exists()
    assert balance_of(customer) == 8


def placed_while(customer: User, service: Service, meanwhile: Any) -> list[Any]:
    """Place an order whose statement waits for a transaction that does `meanwhile` and commits."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(place(customer, service))
        except Exception as error:  # noqa: BLE001 - judged by the test
            results.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    with transaction.atomic():
        meanwhile()
        thread.start()
        wait_for_a_waiter()
    thread.join(60)
    return results


def wait_for_a_waiter() -> None:
    """Until some statement waits for a lock."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        with connection.cursor() as cursor:
            # What a transaction has seen of this view once, it would see again and again.
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


def test_an_order_on_the_same_link_that_was_placed_meanwhile_is_seen(
    customer: User, service: Service
) -> None:
    (found,) = placed_while(customer, service, lambda: place(customer, service))

    assert isinstance(found, DuplicateLink)
    assert Order.objects.count() == 1
    assert balance_of(customer) == 8


def test_it_is_seen_also_when_the_balance_is_the_same_again(
    customer: User, service: Service
) -> None:
    def order_and_top_up() -> None:
        place(customer, service)
        top_up(user=customer, amount=Decimal(2))

    (found,) = placed_while(customer, service, order_and_top_up)

    assert isinstance(found, DuplicateLink)
    assert Order.objects.count() == 1


def test_money_that_came_meanwhile_is_spent_under_the_lock(
    customer: User, service: Service
) -> None:
    Account.objects.update(balance=1)

    (found,) = placed_while(customer, service, lambda: top_up(user=customer, amount=Decimal(3)))

    # The statement that began before the money came gives up at once; the lock is waited for.
    assert isinstance(found, Order)
    assert balance_of(customer) == 2


def test_a_lock_that_changed_nothing_is_only_waited_for(
    customer: User, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(services, "lock_account")

    (found,) = placed_while(
        customer,
        service,
        lambda: Account.objects.select_for_update(no_key=True).get(user=customer),
    )

    assert isinstance(found, Order)
    assert balance_of(customer) == 8


def test_without_the_look_at_the_rows_version_the_same_link_is_ordered_twice(
    customer: User, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: the statement goes on after it has waited for another order."""
    mine = Account.objects.filter(user_id=Slot("user", BigIntegerField()))
    blind = UpdateAndInsert(
        Update(
            lambda: mine.filter(balance__gte=Slot("least", MoneyField())),
            balance=wallet_services._NEW_BALANCE,
        ),
        Insert(Entry),
    )
    monkeypatch.setattr(wallet_services, "_write_at_once", blind)

    (found,) = placed_while(customer, service, lambda: place(customer, service))

    assert isinstance(found, Order)
    assert Order.objects.count() == 2


def test_without_one_statement_the_lock_does_the_same(
    customer: User, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "charge_at_once", lambda *_args, **_more: None)

    (found,) = placed_while(customer, service, lambda: place(customer, service))

    assert isinstance(found, DuplicateLink)
