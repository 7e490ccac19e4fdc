"""Each process of a deployment is killed and started again under a load of orders: none is lost."""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import requests
from django.db import connection
from django.utils import timezone

from orders import gates
from orders.models import Order
from orders.states import Dispatch
from panel.models import Job
from tests.faults.panel import Panel, SimulatedProvider, panel_with, wait_for
from tests.faults.servers import OwnPostgres, OwnRedis
from tests.faults.test_broker import visitor_of
from tests.faults.test_database import cluster
from tests.visitor import Visitor

__all__ = ["cluster"]

pytestmark = [pytest.mark.postgres, pytest.mark.redis, pytest.mark.timeout(400)]

# What is killed, in turn.
PROCESSES = ("web", "worker", "beat", "redis", "postgresql")


@pytest.fixture
def deployment(
    cluster: OwnPostgres, provider: SimulatedProvider, redis: OwnRedis, tmp_path: Path
) -> Iterator[Panel]:
    """Web, worker and beat on a PostgreSQL and a Redis of their own."""
    # The list was read a moment ago: the prices of this test stay what they are.
    Job.objects.create(name="sync_catalog", started_at=timezone.now(), succeeded=True)
    with panel_with(provider, tmp_path, redis) as running:
        yield running


class Buyer:
    """A customer who orders all the time, and sends a form again until it is answered."""

    def __init__(self, panel: Panel, visitor: Visitor) -> None:
        self._panel, self._visitor = panel, visitor
        self._stop = threading.Event()
        self.repeated = 0

    def run(self) -> None:
        while not self._stop.wait(0.15):
            token = uuid.uuid4()
            fields = {
                "service": str(self._panel.service.pk),
                "token": str(token),
                "link": f"https://example.com/{token}",
                "quantity": "100",
                "seen_charge": str(self._panel.service.price_rate / 10),
                "action": "place",
            }
            while not self._sent(fields):
                self.repeated += 1
                time.sleep(0.3)
            self._panel.tokens.add(token)

    def _sent(self, fields: dict[str, str]) -> bool:
        try:
            return self._visitor.send_order(fields)
        except requests.RequestException:
            return False

    @contextmanager
    def buying(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(120)
            assert not thread.is_alive(), "a form was never answered"


def restart(name: str, panel: Panel, cluster: OwnPostgres, redis: OwnRedis) -> None:
    """As after a crash: at once, and back a moment later."""
    if name == "postgresql":
        cluster.stop("immediate")
        cluster.start()
        connection.close()
    elif name == "redis":
        redis.kill()
        time.sleep(1)
        redis.start()
    else:
        panel.kill(name)
        if name == "web":
            panel.start_web()
        elif name == "worker":
            panel.start_worker()
        else:
            panel.start_beat()


def _is_one_accepted_after(number: int) -> bool:
    return Order.objects.filter(pk__gt=number, dispatch=Dispatch.ACCEPTED).exists()


def settled(panel: Panel) -> bool:
    """Whether nothing waits any more; the waits for a next try and for a breaker are over at once."""
    if panel.is_quiet():
        return True
    gates.resume(panel.service.provider_id)
    now = timezone.now()
    Order.objects.filter(dispatch=Dispatch.QUEUED, not_before__gt=now).update(not_before=now)
    time.sleep(1)
    return False


def accepted() -> int:
    return Order.objects.filter(dispatch=Dispatch.ACCEPTED).count()


def test_each_process_is_killed_in_turn_and_every_order_is_accounted_for(
    deployment: Panel, cluster: OwnPostgres, redis: OwnRedis
) -> None:
    deployment.provider.tell("settings", {"latency_ms": 100})
    deployment.start_web()
    deployment.start_worker()
    deployment.start_beat()
    buyer = Buyer(deployment, visitor_of(deployment))

    with buyer.buying():
        wait_for(lambda: accepted() >= 5, seconds=60, tell=deployment.states)
        for name in PROCESSES:
            restart(name, deployment, cluster, redis)
            # New orders go all the way again.
            before = Order.objects.latest("pk").pk
            wait_for(partial(_is_one_accepted_after, before), seconds=100, tell=deployment.states)
    wait_for(lambda: settled(deployment), seconds=120, tell=deployment.states)

    states = deployment.states()
    assert states.total() == len(deployment.tokens) > 30
    # Only what was on the wire when its worker or the database died may be unconfirmed.
    assert set(states) <= {Dispatch.ACCEPTED, Dispatch.UNKNOWN}
    assert states[Dispatch.UNKNOWN] <= 16
    assert buyer.repeated > 0
    assert deployment.violations() == []
