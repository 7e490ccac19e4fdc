"""Panel behind panel: A buys from B, B buys from a simulated provider, and all ledgers agree."""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.migrated import put_migrated_sqlite
from tests.processes import PYTHON, free_port, manage, started
from upstream.answers import State
from upstream.client import Client
from upstream.errors import Rejected
from upstream.simulator import Simulator

KEY = "key-of-the-provider"
OPENING = Decimal(50)
SERVICES: list[dict[str, Any]] = [
    {"service": 7, "name": "Followers", "type": "Default", "category": "First", "rate": "1.00",
     "min": "10", "max": "10000", "refill": True, "cancel": True, "dripfeed": True},
    {"service": 8, "name": "Comments", "type": "Custom Comments", "category": "Second",
     "rate": "7.77", "min": "1", "max": "100", "refill": False, "cancel": False},
]  # fmt: skip


@dataclass
class Panel:
    """A running panel, and one customer of it with a key."""

    environment: dict[str, str]
    database: Path
    url: str
    client: Client

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()

    def numbers(self, query: str) -> list[Decimal]:
        """Amounts of a query, which SQLite keeps as numbers of at most 15 digits."""
        return [Decimal(str(value)).quantize(Decimal("0.000001")) for (value,) in self.rows(query)]


def run_panel(stack: ExitStack, folder: Path, name: str, *, upstream: str, key: str) -> Panel:
    """Start a panel that buys at `upstream`, with a customer who has paid in."""
    port = free_port()
    environment = {
        "VAR_DIR": str(folder / name),
        "DATABASE_URL": f"sqlite:///{folder / name}.sqlite3",
        "PORT": str(port),
        "UPSTREAM_API_URL": upstream,
        "UPSTREAM_API_KEY": key,
        "ALLOW_PRIVATE_UPSTREAM": "1",
        "POLL_YOUNG_SECONDS": "1",
        "MARKUP_PERCENT": "33.3",
    }
    put_migrated_sqlite(folder / f"{name}.sqlite3")
    process = stack.enter_context(
        started([PYTHON, "manage.py", "serve"], environment=environment, log=folder / f"{name}.log")
    )
    process.wait_until_said(f"http://127.0.0.1:{port}/")
    done(manage("sync_catalog", environment=environment))
    email = f"customer-of-{name}@example.com"
    done(manage("create_customer", email, "--balance", str(OPENING), environment=environment))
    secret = done(manage("create_api_key", email, environment=environment)).splitlines()[-1]
    assert re.fullmatch(r"[0-9a-f]{64}", secret)
    url = f"http://127.0.0.1:{port}/api/v2"
    client = stack.enter_context(Client(url=url, key=secret, allow_private=True))
    panel = Panel(environment, folder / f"{name}.sqlite3", url, client)
    panel.environment["KEY_OF_CUSTOMER"] = secret
    return panel


def done(command: Any) -> str:
    assert command.returncode == 0, command.stdout + command.stderr
    return str(command.stdout)


def wait_for(what: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.2)


@dataclass
class Chain:
    simulator: Simulator
    b: Panel
    a: Panel

    def order(self, name: str, **values: str) -> str:
        """Order at A, by the service's name there."""
        [service] = [row for row in self.a.client.services().rows if row.name == name]
        return self.a.client.add(service.service, values).order

    def reaches(self, order: str, *states: State) -> None:
        wait_for(lambda: self.a.client.status(order).state in states)

    def is_at_the_provider(self, link: str) -> bool:
        return bool(self.simulator.world.truth(link)["orders"])


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    with ExitStack() as stack:
        simulator = stack.enter_context(Simulator(SERVICES, key=KEY, balance=Decimal(1000), pace=3))
        b = run_panel(stack, tmp_path, "b", upstream=simulator.url, key=KEY)
        secret = b.environment.pop("KEY_OF_CUSTOMER")
        a = run_panel(stack, tmp_path, "a", upstream=b.url, key=secret)
        a.environment.pop("KEY_OF_CUSTOMER")
        yield Chain(simulator, b, a)


@pytest.mark.timeout(300)
def test_orders_pass_through_two_panels_and_both_ledgers_agree_to_the_cent(chain: Chain) -> None:
    link = "https://example.com/"
    whole = chain.order("Followers", link=f"{link}whole", quantity="1001")
    partial = chain.order("Followers", link=f"{link}partial", quantity="777")
    failed = chain.order("Followers", link=f"{link}fail", quantity="333")
    dripped = chain.order("Followers", link=f"{link}drip", quantity="50", runs="2", interval="1")
    comments = chain.order("Comments", link=f"{link}comments", comments="one\ntwo\nthree")
    chain.reaches(whole, State.COMPLETED)
    chain.reaches(partial, State.PARTIAL)
    chain.reaches(failed, State.CANCELED)
    chain.reaches(comments, State.COMPLETED)
    chain.simulator.world.advance(200)
    chain.reaches(dripped, State.COMPLETED)

    chain.simulator.world.change(pace=3600)
    canceled = chain.order("Followers", link=f"{link}long", quantity="500")
    wait_for(lambda: chain.is_at_the_provider(f"{link}long"))
    wait_for(lambda: not refused(chain, canceled))
    wait_for(lambda: passed_on(chain.b, "cancel", "accepted"))
    chain.simulator.world.advance(400)
    chain.reaches(canceled, State.CANCELED, State.PARTIAL)

    refill = chain.a.client.refill(whole)
    wait_for(lambda: passed_on(chain.a, "refill", "accepted"))
    assert chain.a.client.refill_status(refill).raw_status == "In progress"
    wait_for(lambda: passed_on(chain.b, "refill", "accepted"))
    with pytest.raises(Rejected):
        chain.a.client.refill(comments)

    check_money(chain)


def refused(chain: Chain, order: str) -> bool:
    """Ask A to cancel; it may have to wait until B has told A the order's ID."""
    return chain.a.client.cancel([order])[order] is not None


def passed_on(panel: Panel, kind: str, state: str) -> bool:
    found = panel.rows("SELECT kind, state FROM orders_request")
    return bool({(kind, state), (kind, "completed")} & set(found))


def check_money(chain: Chain) -> None:
    """What B told A of its charges is what B booked, and each ledger adds up."""
    booked = dict(
        chain.b.rows("SELECT id, charge - refunded FROM orders_order WHERE parent_id IS NULL")
    )
    heard = dict(
        chain.a.rows(
            "SELECT CAST(upstream_id AS INTEGER), upstream_charge FROM orders_order"
            " WHERE parent_id IS NULL AND upstream_charge IS NOT NULL"
        )
    )
    # An order with parts may have been told without a charge.
    parents = {pk for (pk,) in chain.b.rows("SELECT DISTINCT parent_id FROM orders_order")}
    assert set(booked) - parents <= set(heard)
    assert {pk: cents(charge) for pk, charge in heard.items()} == {
        pk: cents(booked[pk]) for pk in heard
    }
    spent = sum(
        chain.b.numbers("SELECT charge - refunded FROM orders_order WHERE parent_id IS NULL"),
        Decimal(0),
    )
    [left] = chain.b.numbers("SELECT balance FROM wallet_account")
    assert left == OPENING - spent
    # A asks for its balance at B as for any provider's.
    with Client(url=chain.b.url, key=key_of(chain.a), allow_private=True) as as_a:
        assert as_a.balance().amount == left
    for panel in (chain.a, chain.b):
        done(manage("check_ledger", environment=panel.environment))
        balance = panel.client.balance().amount
        orders = panel.numbers("SELECT charge - refunded FROM orders_order")
        assert balance == OPENING - sum(orders, Decimal(0))


def key_of(panel: Panel) -> str:
    return panel.environment["UPSTREAM_API_KEY"]


def cents(value: Any) -> Decimal:
    return Decimal(str(value)).quantize(Decimal("0.00001"))
