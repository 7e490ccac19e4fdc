"""Queries whose SQL is kept ask and write exactly what the ORM would."""

import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.db import DataError, NotSupportedError, connection, transaction
from django.db.models import BigIntegerField, CharField, Model
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from catalog.models import CustomerPrice, Service
from catalog.rates import for_customer, rate_for
from orders.models import Event, Order
from orders.offers import offer
from orders.states import Dispatch
from wallet.models import Account, Entry
from wallet.prepared import Insert, Instances, Slot, Update, kept_cursor
from wallet.services import lock_account

pytestmark = pytest.mark.django_db

EAST = timezone(timedelta(hours=5, minutes=30))
AWKWARD = 'ünï "quoted" \\ back\\\\slash \' 100 %s {x} 🔥\nline'


def orders(customer: User, service: Service, count: int) -> list[Order]:
    """Orders with everything that is hard to write, each different."""
    return [
        Order(
            customer=customer,
            service=service,
            provider=service.provider,
            source=Order.Source.API,
            client_token=uuid.UUID(int=number),
            order_type="default",
            link=f"{AWKWARD} {number}",
            parameters={"link": AWKWARD, "n": [number, None, True, 0.1, {"ü": str(number)}]},
            quantity=10**14 + number,
            price_rate=Decimal("99999999.9999999"),
            may_lose=bool(number % 2),
            charge=Decimal("999999999.99999") - number,
            refunded=0,
            cost=Decimal("0.00001"),
            exchange_rate=Decimal(number + 1),
            expected_charge=Decimal("0.000001"),
            upstream_charge=None if number else Decimal("0.5"),
            dispatch=Dispatch.CLAIMED,
            lease_until=datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=EAST),
            sent_at=None if number == 1 else datetime(2030, 1, 1, tzinfo=UTC),
            remains=-number,
            created_at=datetime(2024, 10, 27, 1, 30, number, tzinfo=EAST),
        )
        for number in range(count)
    ]


def stored(model: type[Model]) -> list[dict[str, Any]]:
    """The rows as the database has them, without what it made itself."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {model._meta.db_table} ORDER BY id")
        names = [each[0] for each in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    made = {"id", "not_before", "order_id", "reference", "order_number"}
    return [{name: row[name] for name in row.keys() - made} for row in rows]


@pytest.mark.parametrize("count", [1, 3])
def test_rows_are_written_as_the_orm_writes_them(
    customer: User, service: Service, count: int
) -> None:
    Order.objects.bulk_create(orders(customer, service, count))
    expected = stored(Order)
    Order.objects.all().delete()

    written = orders(customer, service, count)
    with CaptureQueriesContext(connection) as queries:
        Insert(Order)(written)

    assert len(queries) == 1
    assert stored(Order) == expected
    assert [(each.pk, each.link) for each in written] == list(
        Order.objects.order_by("pk").values_list("pk", "link")
    )
    for each in written:
        assert each.not_before == Order.objects.get(pk=each.pk).not_before
        assert not each._state.adding
        each.save()  # and can be written again as any other


@pytest.mark.parametrize("count", [1, 2])
def test_other_rows_too(customer: User, service: Service, count: int) -> None:
    placed = Order.objects.bulk_create(orders(customer, service, count))
    account = customer.account
    Account.objects.update(balance=5)
    Entry.objects.all()
    moment = datetime(2025, 3, 30, 1, 0, tzinfo=UTC)

    def entries() -> list[Entry]:
        return [
            Entry(
                account=account,
                kind=Entry.Kind.CHARGE,
                amount=-Decimal(f"1.{number}5"),
                balance_after=Decimal(number),
                reference=f"{uuid.uuid4()}",
                order_number=uuid.uuid4().int >> 70,
                note=AWKWARD,
            )
            for number in range(count)
        ]

    def events() -> list[Event]:
        return [
            Event(order=each, code="placed", at=moment, values={"charge": AWKWARD}, actor=customer)
            for each in placed
        ]

    Event.objects.bulk_create(events())
    Insert(Event)(events())
    lines = stored(Event)
    assert lines[:count] == lines[count:]

    before = len(stored(Entry))
    Entry.objects.bulk_create(entries())
    Insert(Entry)(entries())
    rows = stored(Entry)[before:]
    for row in rows:
        assert row.pop("created_at")  # by the clock, as each is written
    assert rows[:count] == rows[count:]


def test_columns_that_the_database_fills_are_left_to_it(customer: User, service: Service) -> None:
    (order,) = orders(customer, service, 1)
    order.not_before = datetime(2030, 1, 1, tzinfo=UTC)

    with pytest.raises(ValueError, match="not_before is given by the database"):
        Insert(Order)([order])


@pytest.mark.postgres
@pytest.mark.parametrize("count", [1, 2])
def test_a_text_that_is_too_long_is_refused_and_not_cut(
    customer: User, service: Service, count: int
) -> None:
    written = orders(customer, service, count)
    written[0].order_type = "x" * 41

    with pytest.raises(DataError), transaction.atomic():
        Insert(Order)(written)
    assert not Order.objects.exists()


def test_the_locked_account_is_what_the_orm_reads(customer: User) -> None:
    expected = Account.objects.select_related("user").get(user=customer)
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        found = lock_account(customer.pk)
        assert found.user.low_balance == expected.user.low_balance

    assert len(queries) == 1
    assert ("FOR NO KEY UPDATE" in queries[0]["sql"]) == (connection.vendor == "postgresql")
    theirs = {**fields_of(expected), **fields_of(expected.user)}
    ours = {**fields_of(found), **fields_of(found.user)}
    assert ours == {name: theirs[name] for name in ours}
    assert {"balance", "frozen_reason", "user_id", "low_balance"} <= ours.keys()
    assert found.user.email == customer.email  # read when it is asked for


def fields_of(row: Model) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if name != "_state"}


@pytest.mark.django_db(transaction=True)
def test_a_lock_needs_a_transaction_every_time(customer: User) -> None:
    with transaction.atomic():
        lock_account(customer.pk)

    with pytest.raises(TransactionManagementError):
        lock_account(customer.pk)


def test_an_offer_is_the_service_with_the_customers_terms(customer: User, service: Service) -> None:
    CustomerPrice.objects.create(customer=customer, service=service, rate=Decimal("1.5000001"))
    asked = Service.objects.select_related("provider", "category")
    expected = for_customer(asked, customer.pk).get(pk=service.pk)

    with CaptureQueriesContext(connection) as queries:
        found = offer(customer.pk, service.pk)
        assert found is not None
        assert found.provider.exchange_rate == expected.provider.exchange_rate
        assert found.category.title == expected.category.title
        assert rate_for(customer, found) == rate_for(customer, expected)

    assert len(queries) == 1
    theirs = fields_of(expected)
    ours = fields_of(found)
    assert ours.pop("has_rules") is False
    assert ours == {name: theirs[name] for name in ours}
    assert {"own_rate", "discount", "least_margin", "terms_of_customer"} <= ours.keys()
    assert found.description == service.description  # read when it is asked for
    assert offer(customer.pk, service.pk + 1) is None


def test_sql_is_made_once_and_asks_anew_each_time(customer: User, staff: User) -> None:
    built = []

    def people() -> Any:
        built.append(1)
        return User.objects.filter(pk=Slot("user", BigIntegerField()))

    found = Instances(people)

    for user in (customer, staff, customer):
        assert [fields_of(each) for each in found(user=user.pk)] == [
            fields_of(User.objects.get(pk=user.pk))
        ]
    customer.email = "other@example.com"
    customer.save()
    assert found(user=customer.pk)[0].email == "other@example.com"
    assert len(built) == 1
    with pytest.raises(KeyError):
        found(customer=1)


def test_values_are_never_part_of_the_sql(customer: User) -> None:
    found = Instances(lambda: User.objects.filter(name=Slot("name", CharField())))
    change = Update(
        lambda: User.objects.filter(name=Slot("name", CharField())),
        name=Slot("new", CharField()),
        time_zone="UTC",
    )
    nasty = "' OR 1=1; -- %s %(name)s"

    assert change(name=nasty, new="x") == 0
    assert change(name=customer.name, new=nasty) == 1
    assert [user.pk for user in found(name=nasty)] == [customer.pk]
    assert found(name="' OR '1'='1") == []
    customer.refresh_from_db()
    assert (customer.name, customer.time_zone) == (nasty, "UTC")


@pytest.mark.postgres
def test_postgresql_keeps_the_plan_unless_it_is_told_not_to(
    customer: User, staff: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Instances(lambda: User.objects.filter(pk=Slot("user", BigIntegerField())))

    def kept() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_prepared_statements")
            return int(cursor.fetchone()[0])

    connection.ensure_connection()
    before = kept()
    with CaptureQueriesContext(connection) as queries:
        for _ in range(7):
            assert wanted(user=customer.pk) == [customer]
    assert kept() == before + 1
    assert {query["sql"].rsplit(" = ", 1)[1] for query in queries} == {str(customer.pk)}

    monkeypatch.setattr(connection.connection, "prepare_threshold", None)
    other = Instances(lambda: User.objects.filter(pk=Slot("user", BigIntegerField())).order_by())
    for _ in range(7):
        assert [user.email for user in other(user=staff.pk)] == [staff.email]
    assert kept() == before + 1


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_in_transaction", [False, True])
def test_a_plan_that_a_migration_has_made_useless_is_given_up(is_in_transaction: bool) -> None:
    """A column gets another type in another connection, while this one goes on asking for it."""

    def asked() -> int:
        with kept_cursor(connection) as cursor:
            cursor.execute("SELECT a FROM kept_plan WHERE a <> %s", ["x"])
            return len(cursor.fetchall())

    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("CREATE TABLE kept_plan (a varchar(5))")
        for _ in range(8):
            assert asked() == 0
        with other.cursor() as cursor:
            cursor.execute("ALTER TABLE kept_plan ALTER a TYPE varchar(9)")

        if is_in_transaction:
            with pytest.raises(NotSupportedError), transaction.atomic():
                asked()
        assert [asked() for _ in range(8)] == [0] * 8
    finally:
        with other.cursor() as cursor:
            cursor.execute("DROP TABLE kept_plan")
        other.close()
        connection.close()
