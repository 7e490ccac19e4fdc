"""Fixtures for tests that forward orders to a simulated provider."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from pytest_django import Settings

from catalog.models import Service
from orders.tests.processes import Workers, file_database, workers
from orders.tests.worlds import FOLLOWERS, KEY, buy_from
from orders.wakeups import broker
from upstream.simulator import Simulator


@pytest.fixture(autouse=True)
def _broker_forgiven() -> Iterator[None]:
    broker.forgive()
    yield
    broker.forgive()


@pytest.fixture
def simulator(settings: Settings) -> Iterator[Simulator]:
    """A provider on loopback with one service and a balance of 1000.

    A busy machine may keep it waiting for seconds: a test that waits for a time-out sets a short one.
    """
    settings.ALLOW_PRIVATE_UPSTREAM = True
    settings.UPSTREAM_CONNECT_TIMEOUT = settings.UPSTREAM_READ_TIMEOUT = Decimal(30)
    settings.UPSTREAM_TOTAL_TIMEOUT = Decimal(60)
    with Simulator([FOLLOWERS], key=KEY, pace=3600) as running:
        yield running


@pytest.fixture
def sold(simulator: Simulator, db: None) -> Service:
    """The simulator's service, on sale here."""
    return buy_from(simulator)


@pytest.fixture
def crew(transactional_db: None, tmp_path: Path) -> Iterator[Workers]:
    """Worker processes on this test's database; name it before fixtures that write rows."""
    with file_database(tmp_path), workers() as started:
        yield started
