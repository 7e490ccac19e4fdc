"""Writes that are one statement write what they would one after the other, and all or nothing."""

import json
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import BigIntegerField, CharField, QuerySet, UUIDField
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from catalog.models import Service
from orders import services
from orders.models import Event, Order
from orders.tests.test_prepared import AWKWARD, orders, stored
from orders.tests.worlds import assert_ledger_adds_up, balance_of
from orders.timeline import placed_line
from wallet.errors import AlreadyPosted, InsufficientFunds
from wallet.models import Account, Entry
from wallet.money import MoneyField
from wallet.prepared import Insert, Literal, Slot, Update
from wallet.services import lock_account, post_with
from wallet.together import InsertUnless, Pending, UpdateAndInsert

pytestmark = pytest.mark.django_db

ONE = 1 if connection.vendor == "postgresql" else 2


def with_token() -> QuerySet[Order]:
    return Order.objects.filter(client_token=Slot("token", UUIDField()))


def on_link() -> QuerySet[Order]:
    return Order.objects.filter(link=Slot("link", CharField()))


new = InsertUnless(Insert(Order), Insert(Event), naming="order", unless=[with_token, on_link])


def pending(
    customer: User, service: Service, *, token: int = 0, link: str = "", charge: str = "1.5"
) -> Pending[Order, Event]:
    (order,) = orders(customer, service, 1)
    order.charge = Decimal(charge)
    order.client_token = uuid.UUID(int=token)
    order.link = link or order.link
    line = placed_line(order, actor=customer)
    return new.of(order, line, token=order.client_token, link=order.link)


def pay(customer: User, what: Pending[Order, Event], amount: str = "-1.5") -> Entry | None:
    return post_with(
        what,
        account=lock_account(customer.pk),
        kind=Entry.Kind.CHARGE,
        amount=Decimal(amount),
        reference="order-",
    )


def test_an_order_its_line_its_charge_and_the_balance_are_written_as_the_orm_writes_them(
    customer: User, service: Service
) -> None:
    what = pending(customer, service)
    expected = what.row
    expected.save()
    Event.objects.create(order=expected, code="placed", values={"charge": "1.5"}, actor=customer)
    rows, lines = stored(Order), stored(Event)
    Event.objects.all().delete()
    Order.objects.all().delete()

    what = pending(customer, service)
    with transaction.atomic():
        account = lock_account(customer.pk)
        with CaptureQueriesContext(connection) as queries:
            entry = post_with(
                what,
                account=account,
                kind=Entry.Kind.CHARGE,
                amount=Decimal("-1.5"),
                reference="order-",
            )

    assert len(queries) == (1 if connection.vendor == "postgresql" else 4)
    assert stored(Order) == rows
    (line,), (expected_line,) = stored(Event), lines
    assert line.pop("at") > expected_line.pop("at")
    assert line == expected_line
    order = Order.objects.get()
    assert (what.row.pk, what.row.not_before) == (order.pk, order.not_before)
    assert Event.objects.get().order_id == what.line.order_id == order.pk
    assert entry is not None
    kept = Entry.objects.get(kind=Entry.Kind.CHARGE)
    assert (kept.pk, kept.reference, kept.order_number) == (entry.pk, f"order-{order.pk}", order.pk)
    assert (entry.reference, entry.order_number) == (kept.reference, kept.order_number)
    assert (kept.amount, kept.balance_after, kept.note) == (Decimal("-1.5"), Decimal("8.5"), "")
    assert account.balance == balance_of(customer) == Decimal("8.5")
    assert_ledger_adds_up()
    what.row.save()  # and can be written again as any other


each_guard = pytest.mark.parametrize(
    ("alike", "other"),
    [
        ({"token": 1}, {"token": 1, "link": "another"}),
        ({"link": AWKWARD}, {"token": 2, "link": AWKWARD}),
    ],
)


@each_guard
def test_nothing_is_written_where_one_of_the_guards_finds_a_row(
    customer: User, service: Service, alike: dict[str, Any], other: dict[str, Any]
) -> None:
    with transaction.atomic():
        assert pay(customer, pending(customer, service, **alike))

    with transaction.atomic():
        assert pay(customer, pending(customer, service, **other)) is None
        assert not pending(customer, service, **other).write()

    assert (Order.objects.count(), Event.objects.count()) == (1, 1)
    assert balance_of(customer) == Decimal("8.5")
    assert_ledger_adds_up()


def test_nothing_is_written_without_the_money(customer: User, service: Service) -> None:
    with pytest.raises(InsufficientFunds), transaction.atomic():
        pay(customer, pending(customer, service), amount="-10.00001")

    assert not Order.objects.exists()
    assert not Event.objects.exists()
    assert balance_of(customer) == 10


@pytest.mark.postgres
def test_an_order_that_nobody_pays_for_is_undone(customer: User, service: Service) -> None:
    """As if the locked account were gone when the order is written."""
    what = pending(customer, service)
    with transaction.atomic():
        account = lock_account(customer.pk)
        account.pk = 0
        with pytest.raises(AlreadyPosted, match="is gone"), transaction.atomic():
            post_with(
                what,
                account=account,
                kind=Entry.Kind.CHARGE,
                amount=Decimal("-1.5"),
                reference="order-",
            )

    assert not Order.objects.exists()
    assert balance_of(customer) == 10


def test_a_charge_that_the_ledger_refuses_undoes_the_order_too(
    customer: User, service: Service
) -> None:
    """A number that was given away before, after a careless restore of the sequence, say."""
    with transaction.atomic():
        what = pending(customer, service, token=1)
        assert pay(customer, what)
    number = what.row.pk
    Event.objects.all().delete()
    Order.objects.all().delete()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT setval(pg_get_serial_sequence('orders_order', 'id'), %s, false)", [number]
            )
        else:
            cursor.execute("DELETE FROM sqlite_sequence WHERE name = 'orders_order'")

    with pytest.raises((IntegrityError, AlreadyPosted)), transaction.atomic():
        pay(customer, pending(customer, service, token=2))

    assert not Order.objects.exists()
    assert balance_of(customer) == Decimal("8.5")


def test_an_update_that_finds_nothing_adds_nothing(customer: User) -> None:
    account = customer.account
    change = UpdateAndInsert(
        Update(
            lambda: Account.objects.filter(pk=Slot("account", BigIntegerField())),
            balance=Slot("balance", MoneyField()),
        ),
        Insert(Entry),
    )

    def entry(reference: str) -> Entry:
        return Entry(
            account=account,
            kind=Entry.Kind.ADJUSTMENT,
            amount=Decimal(1),
            balance_after=Decimal(11),
            reference=reference,
            actor=customer,
            note=AWKWARD,
        )

    before = Entry.objects.count()
    assert not change(entry("none"), account=0, balance=Decimal(11))
    assert Entry.objects.count() == before

    with CaptureQueriesContext(connection) as queries:
        assert change(written := entry("one"), account=account.pk, balance=Decimal(11))
    assert len(queries) == ONE
    kept = Entry.objects.get(reference="one")
    assert (kept.pk, kept.note, kept.actor, kept.order_number) == (
        written.pk,
        AWKWARD,
        customer,
        None,
    )
    assert balance_of(customer) == 11


@pytest.mark.parametrize("word", ["it's", "a b", "", "A", "x;", "%s"])
def test_only_plain_words_stand_in_the_sql(word: str) -> None:
    with pytest.raises(ValueError, match="no plain word"):
        str(Order.objects.filter(status=Literal(word)).query)


@pytest.mark.postgres
def test_a_kept_plan_looks_for_token_and_link_in_an_index_each(
    customer: User, service: Service
) -> None:
    """However many orders the customer has: a generic plan uses both, and reads a block or two."""
    many = [orders(customer, service, 1)[0] for _ in range(500)]
    for number, order in enumerate(many):
        order.client_token, order.link = uuid.UUID(int=number), f"https://example.com/{number}"
    Order.objects.bulk_create(many)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE orders_order")
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        for guard, index in (
            (services._with_token, "order_form_sent_once"),
            (services._on_link, "order_open_on_link"),
        ):
            query: Any = guard().order_by().values("pk").query
            sql, slots = query.get_compiler(connection=connection).as_sql()
            kinds = {"customer": "bigint", "service": "bigint", "token": "uuid", "link": "varchar"}
            given = [kinds[slot.value] for slot in slots]
            for number in range(len(given)):
                sql = sql.replace("%s", f"${number + 1}", 1)
            cursor.execute(f"PREPARE {index} ({', '.join(given)}) AS {sql}")
            values = ", ".join("NULL" for _ in given)
            cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE {index} ({values})")
            (plan,) = cursor.fetchone()
            assert index in (found := json.dumps(plan)), found
            assert "Seq Scan" not in found
