"""F30: the database restarts, is locked or is full while an order is on its way."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, connections
from django.db.utils import load_backend
from pytest_django import DjangoDbBlocker

from accounts.models import User
from catalog.models import Service
from orders.fulfilment import forward
from orders.models import Order
from orders.states import Dispatch
from orders.tests.conftest import crew, simulator, sold
from orders.tests.processes import Workers, go_on, wait_until_halted, workers
from orders.tests.worlds import assert_ledger_adds_up, assert_sound, buy_from, order_of, placed_on
from tests.faults.servers import OwnPostgres, own_postgres, postgres_programs
from upstream.simulator import Simulator
from wallet.services import top_up

__all__ = ["crew", "simulator", "sold"]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def cluster(django_db_blocker: DjangoDbBlocker) -> Iterator[OwnPostgres]:
    """Django's database is, for this test, one on a server of its own that may be restarted."""
    if postgres_programs() is None:
        pytest.skip("needs PostgreSQL's programs")
    usual = connections["default"]
    with own_postgres() as server, django_db_blocker.unblock():
        server.create("panel")
        values = {
            **usual.settings_dict,
            "HOST": "127.0.0.1", "PORT": server.port, "USER": "postgres", "PASSWORD": "",
            "NAME": "panel", "CONN_MAX_AGE": 60,
        }  # fmt: skip
        connections["default"] = load_backend(values["ENGINE"]).DatabaseWrapper(values, "default")
        try:
            call_command("migrate", verbosity=0, interactive=False)
            yield server
        finally:
            connections["default"].close()
            connections["default"] = usual


def restart(server: OwnPostgres) -> None:
    """As after a crash: nothing is flushed, every session ends."""
    server.stop("immediate")
    server.start()
    connection.close()


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("point", "settled", "placed"),
    [
        ("before_mark", Dispatch.QUEUED, 0),
        ("after_mark", Dispatch.ACCEPTED, 1),
        ("after_answer", Dispatch.ACCEPTED, 1),
        ("before_verdict", Dispatch.ACCEPTED, 1),
    ],
)
def test_a_database_that_crashes_and_comes_back_costs_no_order(
    cluster: OwnPostgres, simulator: Simulator, point: str, settled: Dispatch, placed: int
) -> None:
    """The worker is halted at the point, and goes on when the server is up again."""
    customer = User.objects.create_user("customer@example.com")
    top_up(user=customer, amount=Decimal(10), reference="fixture")
    order = order_of(customer, buy_from(simulator))
    timeouts = {f"UPSTREAM_{name}_TIMEOUT": "30" for name in ("CONNECT", "READ", "TOTAL")}
    with workers(**timeouts) as crew:
        worker = crew.start("forward", str(order.pk), stop_at=point, stop_how="stop")
        wait_until_halted(worker)
        restart(cluster)

        assert go_on(worker) == 0

    order.refresh_from_db()
    assert order.dispatch == settled
    assert len(placed_on(simulator, order.link)) == placed
    assert simulator.world.counts.received["add"] == placed
    assert_sound(simulator)


@pytest.mark.sqlite
def test_a_locked_database_delays_the_verdict_and_loses_nothing(
    crew: Workers, simulator: Simulator, customer: User, sold: Service
) -> None:
    """Somebody else holds SQLite's write lock for longer than we wait for it."""
    order = order_of(customer, sold)
    path = str(connection.settings_dict["NAME"])
    marked, locked = threading.Event(), threading.Event()

    def hold() -> None:
        marked.wait(20)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            locked.set()
            time.sleep(1)
            other.execute("ROLLBACK")

    holder = threading.Thread(target=hold)
    holder.start()
    _impatient()
    simulator.world.break_with("add", "hang_after", seconds=0.3)
    waiter = threading.Thread(target=_tell_of_add, args=(simulator, marked))
    waiter.start()

    forward(order.pk)
    holder.join()
    waiter.join()

    assert locked.is_set()
    order.refresh_from_db()
    assert order.dispatch == Dispatch.ACCEPTED
    assert_sound(simulator)


def _impatient() -> None:
    """Give up waiting for the lock after a tenth of a second instead of twenty."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 100")


def _tell_of_add(simulator: Simulator, marked: threading.Event) -> None:
    while not simulator.world.counts.received["add"]:
        time.sleep(0.01)
    marked.set()


@pytest.mark.sqlite
def test_a_full_disk_refuses_the_order_and_takes_no_money(
    crew: Workers, simulator: Simulator, customer: User, sold: Service
) -> None:
    """SQLite with no page left; on PostgreSQL a full disk ends the session, as a restart does."""
    with _no_more_pages():
        placed = _order_until_it_fails(customer, sold)
    assert Order.objects.count() == placed
    assert_ledger_adds_up()

    order = order_of(customer, sold)
    forward(order.pk)

    order.refresh_from_db()
    assert order.dispatch == Dispatch.ACCEPTED


def _order_until_it_fails(customer: User, service: Service) -> int:
    for placed in range(1000):
        try:
            order_of(customer, service, quantity=10)
        except OperationalError as error:
            assert "full" in str(error)  # noqa: PT017 - which order finds the disk full is chance
            return placed
    raise AssertionError("the disk never was full")


@contextmanager
def _no_more_pages() -> Iterator[None]:
    """The database may not grow by a single page meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA page_count")
        [pages] = cursor.fetchone()
        cursor.execute(f"PRAGMA max_page_count = {pages}")
        yield
        cursor.execute("PRAGMA max_page_count = 1073741823")
