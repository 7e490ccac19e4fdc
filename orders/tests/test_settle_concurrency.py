"""The ledger under processes and threads, and twins that show what each guard prevents."""

import os
import random
import re
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction
from django.db.models import F

from accounts.models import User
from catalog.models import Service
from orders import desk, money, settlement
from orders.audit import Posted, account_fault, check
from orders.errors import NotPossible
from orders.models import Order
from orders.money import charge_at_once, lock_order
from orders.settlement import apply_status
from orders.states import Status
from orders.tests.test_settle_apply import make_order
from orders.tests.test_settle_rules import says
from orders.tests.test_together import pending
from upstream.answers import State
from wallet.models import Account, Entry
from wallet.services import lock_account, post, top_up

ROOT = Path(settings.BASE_DIR)


def errors() -> list[str]:
    return [str(finding) for finding in check() if finding.is_error]


def together(*acts: Callable[[], object]) -> list[BaseException | None]:
    """Run each act in a thread of its own, all started at once; what each raised."""
    start = threading.Barrier(len(acts))
    raised: list[BaseException | None] = [None] * len(acts)

    def run(number: int, act: Callable[[], object]) -> None:
        try:
            start.wait(60)
            act()
        except Exception as exc:  # noqa: BLE001 - handed to the test
            raised[number] = exc
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return raised


class Books:
    """A database that processes share: the test's own PostgreSQL, or a file with its SQLite tables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "books.sqlite3"
        if connection.vendor == "sqlite":
            with sqlite3.connect(self.file) as copy:
                connection.ensure_connection()
                connection.connection.backup(copy)
            copy.close()

    @property
    def url(self) -> str:
        if connection.vendor == "sqlite":
            return f"sqlite:///{self.file}"
        at = connection.settings_dict
        user = ":".join(part for part in (at["USER"], at["PASSWORD"]) if part)
        return f"postgres://{user}@{at['HOST']}:{at['PORT'] or 5432}/{at['NAME']}"

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        if connection.vendor == "sqlite":
            with sqlite3.connect(self.file) as copy:
                found = list(copy.execute(sql))
            copy.close()
            return found
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def fault(self, user_id: int) -> str:
        """What the audit says of the account."""
        money = "balance FROM wallet_account WHERE user_id"
        ((balance,),) = self.rows(f"SELECT {money} = {user_id}")
        rows = self.rows("SELECT amount, balance_after FROM wallet_entry ORDER BY id")
        return account_fault(
            exact(balance), [Posted(1, "", exact(a), exact(b), None) for a, b in rows]
        )


def exact(value: object) -> Decimal:
    """A stored amount; SQLite's double has 15 digits that count."""
    return Decimal(f"{value:.6f}") if isinstance(value, float) else Decimal(str(value))


def spend_together(books: Books, user: User, processes: int, mode: str) -> int:
    """How often that many processes could take 7 from the user's balance."""
    signal = books.folder / "go"
    environment = os.environ | {
        "DATABASE_URL": books.url,
        "DJANGO_SETTINGS_MODULE": "panel.settings",
        "SECRET_KEY": settings.SECRET_KEY,
    }
    command = [sys.executable, "-m", "wallet.tests.spender", str(user.pk), "7", mode, str(signal)]
    running = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    signal.touch()
    outputs = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * processes
    return sum(int(output) for output in outputs)


@pytest.fixture
def rich(db: None) -> User:
    """A customer with 1,000."""
    user = User.objects.create_user("rich@example.com", "a-Long-passw0rd")
    top_up(user=user, amount=Decimal(1000), reference="start")
    return user


@pytest.mark.django_db(transaction=True)
def test_processes_spend_one_balance_and_not_a_cent_more(rich: User, tmp_path: Path) -> None:
    books = Books(tmp_path)
    assert spend_together(books, rich, 5, "locked") == 142
    assert books.fault(rich.pk) == ""
    assert exact(books.rows("SELECT balance FROM wallet_account")[0][0]) == 6


@pytest.mark.django_db(transaction=True)
def test_without_the_lock_the_same_processes_break_the_books(rich: User, tmp_path: Path) -> None:
    books = Books(tmp_path)
    spend_together(books, rich, 2, "unlocked")
    assert books.fault(rich.pk) != ""


# Of as many, adding in SQL refuses and leaves dust on more than 25 each, as the test below shows.
ACCOUNTS = 500


def random_amounts(count: int) -> Iterator[tuple[Decimal, Decimal]]:
    chance = random.Random(20)  # noqa: S311 - reproducible, no secret
    for _ in range(count):
        yield tuple(Decimal(chance.randint(1, 10**8)) / 10**5 for _ in range(2))  # type: ignore[misc]


def empty_accounts(count: int) -> list[Account]:
    users = User.objects.bulk_create(User(email=f"{n}@example.com") for n in range(count))
    return Account.objects.bulk_create(Account(user=user) for user in users)


@pytest.mark.django_db
def test_whoever_has_exactly_enough_is_never_refused_and_keeps_no_dust() -> None:
    for account, (first, second) in zip(
        empty_accounts(ACCOUNTS), random_amounts(ACCOUNTS), strict=True
    ):
        for number, amount in enumerate((first, second, -(first + second))):
            with transaction.atomic():
                post(
                    # Read again each time: what the database gives back is what is tested.
                    account=lock_account(account.user_id),
                    kind=Entry.Kind.ADJUSTMENT,
                    amount=amount,
                    reference=f"{account.pk}-{number}",
                )
    assert Account.objects.exclude(balance=0).count() == 0
    assert errors() == []


@pytest.mark.django_db
def test_adding_in_sql_would_refuse_customers_on_sqlite() -> None:
    refused = dust = 0
    for account, (first, second) in zip(
        empty_accounts(ACCOUNTS), random_amounts(ACCOUNTS), strict=True
    ):
        row = Account.objects.filter(pk=account.pk)
        row.update(balance=F("balance") + first)
        row.update(balance=F("balance") + second)
        try:
            with transaction.atomic():
                row.update(balance=F("balance") - (first + second))
        except IntegrityError:
            refused += 1
        else:
            dust += row.exclude(balance=0).count()
    if connection.vendor == "sqlite":
        assert refused > 25
        assert dust > 25
    else:
        assert (refused, dust) == (0, 0)


# The CHECKs of a refund compare columns and add nothing. PostgreSQL adds by
# `numeric`, which is exact, and `post_at_once` asks no other database.
INNOCENT = [
    ("orders/models.py", 'condition=Q(refunded__gte=0) & Q(refunded__lte=F("charge")),'),
    ("orders/models.py", 'condition=~Q(status=Status.CANCELED) | Q(refunded=F("charge")),'),
    ("wallet/services.py", '_NEW_BALANCE = F("balance") + Slot("amount", MoneyField())'),
]


def test_no_code_adds_money_in_sql() -> None:
    adding = re.compile(r"\bF\(\s*[\"'](balance|amount|refunded|charge)|\bSum\(")
    offenders = [
        (str(path.relative_to(ROOT)), line.strip())
        for app in ("accounts", "wallet", "catalog", "orders", "panel")
        for path in sorted((ROOT / app).rglob("*.py"))
        if not {"tests", "migrations"} & set(path.parts)
        for line in path.read_text().splitlines()
        if adding.search(line)
    ]
    assert sorted(offenders) == INNOCENT


@pytest.mark.sqlite
@pytest.mark.django_db(transaction=True)
def test_sqlite_is_not_asked_to_add(customer: User, service: Service) -> None:
    assert charge_at_once(pending(customer, service), customer=customer) is None
    assert not Order.objects.exists()


def test_accounts_are_locked_by_one_function_and_orders_after_them() -> None:
    """The lock order account, order, attempt: nobody else locks an account, and whoever locks an
    order in a transaction that moves money does it through `lock_order`."""
    for app in ("wallet", "catalog", "orders", "panel"):
        for path in sorted((ROOT / app).rglob("*.py")):
            if {"tests", "migrations"} & set(path.parts):
                continue
            source = path.read_text()
            name = str(path.relative_to(ROOT))
            if name != "wallet/services.py":
                assert not re.search(r"Account\.objects\.select_for_update", source), name
            if name != "orders/money.py" and "lock_account(" in source:
                assert not re.search(r"Order\.objects[^\n]*select_for_update", source), name


@pytest.fixture
def order(customer: User, service: Service) -> Order:
    return make_order(customer, service)


def staff_refund(order: Order, staff: User, token: uuid.UUID | None = None) -> Callable[[], Entry]:
    return lambda: desk.refund(
        order_id=order.pk,
        amount=Decimal("1.2"),
        reason="both at once",
        actor=staff,
        token=token or uuid.uuid4(),
    )


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_60_percent_twice_at_once_is_paid_once(order: Order, staff: User) -> None:
    raised = together(staff_refund(order, staff), staff_refund(order, staff))
    assert sorted(type(each).__name__ for each in raised) == ["NoneType", "NotPossible"]
    order.refresh_from_db()
    assert order.refunded == Decimal("1.2")
    assert errors() == []


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_the_same_button_pressed_eight_times_at_once_pays_once(order: Order, staff: User) -> None:
    token = uuid.uuid4()
    assert together(*[staff_refund(order, staff, token)] * 8) == [None] * 8
    order.refresh_from_db()
    assert order.refunded == Decimal("1.2")
    assert errors() == []


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("state", [State.CANCELED, State.PARTIAL])
def test_a_refund_by_staff_and_one_by_status_meet(order: Order, staff: User, state: State) -> None:
    answer = says(state, remains=700)
    acts: list[Callable[[], object]] = [lambda: apply_status(order.pk, answer)] * 4
    raised = together(staff_refund(order, staff), *acts)
    assert all(each is None or isinstance(each, NotPossible) for each in raised)
    order.refresh_from_db()
    assert order.refunded <= order.charge
    assert order.status in (Status.CANCELED, Status.PARTIAL)
    assert errors() == []


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_without_the_lock_two_statuses_would_pay_twice(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin in a pair: the row lock off and the unique reference off."""
    read = threading.Barrier(2)

    def unlocked(order_id: int) -> money.Locked:
        found = Order.objects.get(pk=order_id)
        account = Account.objects.get(user_id=found.customer_id)
        read.wait(60)
        return money.Locked(account=account, order=found)

    honest = money.refund_order

    def unreferenced(locked: money.Locked, *, reference: str, **rest: Any) -> Entry:
        return honest(locked, reference=f"{reference}-{uuid.uuid4()}", **rest)

    monkeypatch.setattr(settlement, "lock_order", unlocked)
    monkeypatch.setattr(settlement, "refund_order", unreferenced)

    def act() -> None:
        apply_status(order.pk, says(State.CANCELED))

    assert together(act, act) == [None, None]
    assert Entry.objects.filter(kind=Entry.Kind.REFUND).count() == 2
    assert errors() != []


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_locks_in_one_order_never_deadlock(customer: User, service: Service, staff: User) -> None:
    orders = [make_order(customer, service, charge=Decimal("0.5")) for _ in range(8)]

    def act(order: Order) -> Callable[[], object]:
        return lambda: apply_status(order.pk, says(State.PARTIAL, remains=500))

    assert together(*[act(order) for order in orders]) == [None] * 8
    assert errors() == []


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_locks_in_the_other_order_deadlock_and_cost_no_money(order: Order) -> None:
    """The twin: order before account against `lock_order`; the database ends one of the two."""
    held = threading.Barrier(2)

    def wrong_way() -> None:
        with transaction.atomic():
            Order.objects.select_for_update(no_key=True).get(pk=order.pk)
            held.wait(60)
            lock_account(order.customer_id)

    def right_way() -> None:
        with transaction.atomic():
            lock_account(order.customer_id)
            held.wait(60)
            lock_order(order.pk)

    raised = together(wrong_way, right_way)
    assert sum(isinstance(each, OperationalError) for each in raised) == 1
    apply_status(order.pk, says(State.CANCELED))
    assert errors() == []


CHANGES = ["UPDATE wallet_entry SET amount = 99", "DELETE FROM wallet_entry"]


def assert_append_only() -> None:
    truncate = ["TRUNCATE wallet_entry CASCADE"] if connection.vendor == "postgresql" else []
    for statement in CHANGES + truncate:
        with (
            pytest.raises(DatabaseError, match="never changed"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)


@pytest.mark.django_db(transaction=True)
def test_an_entry_is_never_changed_or_deleted(customer: User) -> None:
    assert_append_only()
    (entry,) = Entry.objects.all()
    assert entry.amount == 10


@pytest.mark.django_db(transaction=True)
def test_the_guard_is_there_again_after_a_migration_rebuilt_the_table(customer: User) -> None:
    if connection.vendor == "sqlite":
        with connection.schema_editor() as editor:
            editor._remake_table(Entry)  # type: ignore[attr-defined]  # what AlterField does there
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM sqlite_master "
                "WHERE type = 'trigger' AND tbl_name = 'wallet_entry'"
            )
            assert cursor.fetchone() == (0,), "the trap is real"
    else:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER wallet_entry_no_change ON wallet_entry")
            cursor.execute("DROP TRIGGER wallet_entry_no_truncate ON wallet_entry")
    call_command("migrate", verbosity=0)
    assert_append_only()
