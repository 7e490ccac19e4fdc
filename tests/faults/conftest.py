"""Fixtures for faults: a panel in processes, a provider to compare with, a broker to break."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from django.conf import settings
from django.db import connection

from orders.wakeups import broker
from tests.faults.panel import Panel, SimulatedProvider, panel_with, simulated_provider
from tests.faults.servers import OwnRedis, own_redis


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[SimulatedProvider]:
    with simulated_provider(tmp_path) as running:
        yield running


@pytest.fixture
def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnRedis | None]:
    """This test's own redis-server; None on SQLite, where the panel is one process without it."""
    if connection.vendor == "sqlite":
        yield None
        return
    with own_redis(tmp_path) as server:
        own = Celery("faults", broker=server.url, set_as_current=False)
        own.conf.broker_transport_options = {
            "socket_timeout": 5, "socket_connect_timeout": 2, "max_retries": 0,
            "global_keyprefix": "panel:",
        }  # fmt: skip
        own.conf.task_default_queue = settings.CELERY_TASK_DEFAULT_QUEUE
        # Wake-ups of this process go to this server too.
        monkeypatch.setattr("orders.wakeups.current_app", own)
        broker.forgive()
        yield server
        broker.forgive()
        own.close()


@pytest.fixture
def panel(
    transactional_db: None, provider: SimulatedProvider, redis: OwnRedis | None, tmp_path: Path
) -> Iterator[Panel]:
    with panel_with(provider, tmp_path, redis) as running:
        yield running
