"""An account that others hold locked: the call waits, tries again, and ends without doubt."""

import logging
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from accounts.models import ApiKey, User
from catalog.models import Service
from orders import api
from orders.busy import Busy, is_lock_timeout
from orders.models import Order
from orders.tests.api_world import URL, Program
from orders.tests.worlds import assert_ledger_adds_up, balance_of
from upstream.client import Client
from upstream.errors import Kind, OutcomeUnknown, Rejected
from wallet.services import lock_account

LINK = {"link": "https://example.com/p", "quantity": "100"}


@pytest.fixture
def program(transactional_db: None, customer: User) -> Iterator[Program]:
    """Waits a tenth of a second for a lock instead of five or twenty."""
    is_sqlite = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 100" if is_sqlite else "SET lock_timeout = 100")
    yield Program(customer)
    connection.close()


@contextmanager
def locked(user: User, release: threading.Event) -> Iterator[None]:
    """Another transaction holds the account until it is released, or the block ends."""
    held = threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                lock_account(user.pk)
                held.set()
                release.wait(60)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        assert held.wait(30)
        try:
            yield
        finally:
            release.set()
            holding.result(30)


class ReleaseAtFirstWarning(logging.Handler):
    """Lets the lock go as soon as a call says that it waits."""

    def __init__(self, release: threading.Event) -> None:
        super().__init__()
        self.release_lock = release

    def emit(self, record: logging.LogRecord) -> None:
        assert "waits for a lock" in record.getMessage()
        self.release_lock.set()


def test_a_call_that_met_a_lock_is_placed_once_the_lock_is_gone(
    program: Program, service: Service
) -> None:
    program("balance")  # the key's use is noted
    release = threading.Event()
    handler = ReleaseAtFirstWarning(release)
    logging.getLogger("orders.api_add").addHandler(handler)
    try:
        with locked(program.user, release):
            answer = program.add(service.pk)
            was_met = release.is_set()
    finally:
        logging.getLogger("orders.api_add").removeHandler(handler)

    assert was_met
    assert answer == {"order": Order.objects.get().pk}
    assert_ledger_adds_up()


def test_a_call_that_never_gets_the_lock_says_that_nothing_was_placed(
    program: Program, service: Service
) -> None:
    program("balance")
    form = {"key": program.secret, "action": "add", "service": service.pk, **LINK}
    with locked(program.user, threading.Event()):
        response = program.client.post(URL, form)

    assert response.status_code == 429
    assert response.json() == {"error": "Too many requests"}
    assert int(response["Retry-After"]) > 0
    assert not Order.objects.exists()
    assert balance_of(program.user) == 10
    assert program.add(service.pk) == {"order": Order.objects.get().pk}
    assert_ledger_adds_up()


@pytest.mark.sqlite
def test_a_key_that_cannot_be_looked_up_has_done_nothing(
    program: Program, service: Service
) -> None:
    """On SQLite the note of a key's first use waits for the writer like everything else."""
    form = {"key": program.secret, "action": "add", "service": service.pk, **LINK}
    with locked(program.user, threading.Event()):
        response = program.client.post(URL, form)

    assert (response.status_code, Order.objects.count()) == (429, 0)


def broken(_key: ApiKey, _fields: Any) -> Any:
    raise OperationalError("server closed the connection unexpectedly")


def test_a_database_that_goes_away_meanwhile_leaves_a_documented_doubt(
    customer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "ACTIONS", {**api.ACTIONS, "add": broken})
    program = Program(customer)

    response = program.client.post(URL, {"key": program.secret, "action": "add"})

    assert response.status_code == 503
    assert response.json() == {"error": "Service temporarily unavailable"}
    assert int(response["Retry-After"]) > 0


def test_our_own_client_tells_the_two_apart(
    live_server: Any, customer: User, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program(customer)

    def busy(_key: ApiKey, _fields: Any) -> Any:
        raise Busy

    with Client(url=f"{live_server.url}/api/v2", key=program.secret, allow_private=True) as client:
        monkeypatch.setattr(api, "ACTIONS", {**api.ACTIONS, "add": busy})
        with pytest.raises(Rejected) as refused:
            client.add(str(service.pk), LINK)
        monkeypatch.setattr(api, "ACTIONS", {**api.ACTIONS, "add": broken})
        with pytest.raises(OutcomeUnknown):
            client.add(str(service.pk), LINK)

    assert refused.value.kind == Kind.RATE_LIMIT


def caused_by(cause: BaseException) -> OperationalError:
    error = OperationalError(str(cause))
    error.__cause__ = cause
    return error


class PostgresError(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


def of_sqlite(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("x")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("cause", "is_lock"),
    [
        (PostgresError("55P03"), True),
        (PostgresError("40P01"), True),
        (PostgresError("57P01"), False),
        (PostgresError(None), False),
        (of_sqlite(sqlite3.SQLITE_BUSY), True),
        (of_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT), True),
        (of_sqlite(sqlite3.SQLITE_FULL), False),
        (sqlite3.OperationalError("without a code"), False),
    ],
    ids=repr,
)
def test_only_locks_are_taken_for_locks(cause: Exception, is_lock: bool) -> None:
    assert is_lock_timeout(caused_by(cause)) is is_lock


def test_an_error_without_a_cause_is_no_lock() -> None:
    assert not is_lock_timeout(OperationalError("lock"))
