"""Orders through a real Celery worker and Redis."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import pytest
from celery import Celery
from django.conf import settings

from accounts.models import User
from catalog.models import Service
from orders.models import Order
from orders.states import LEASED, Dispatch
from orders.tests.processes import Workers, wait_until
from orders.tests.worlds import assert_sound, order_of
from upstream.simulator import Simulator
from wallet.services import top_up

pytestmark = [pytest.mark.redis, pytest.mark.timeout(240)]


@dataclass(frozen=True)
class Broker:
    app: Celery
    prefix: str

    def has_worker(self) -> bool:
        """Whether a worker listens; starting one takes seconds, more on a busy machine."""
        return bool(self.app.control.ping(timeout=0.5))


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """Redis with this test's messages kept apart; wake-ups of this process go there too."""
    name = f"test-{uuid.uuid4()}:"
    own = Celery("test", broker=settings.REDIS_URL, set_as_current=False)
    own.conf.task_default_queue = settings.CELERY_TASK_DEFAULT_QUEUE
    own.conf.broker_transport_options = {
        **settings.CELERY_BROKER_TRANSPORT_OPTIONS,
        "global_keyprefix": name,
    }
    monkeypatch.setattr("orders.wakeups.current_app", own)
    yield Broker(app=own, prefix=name)
    own.close()


def accepted() -> int:
    return Order.objects.filter(dispatch=Dispatch.ACCEPTED).count()


def states() -> list[tuple[str, str]]:
    """What each order became and why, for the message of a test that waits in vain."""
    return list(Order.objects.values_list("dispatch", "attempts__reason"))


def test_placed_orders_are_forwarded_by_a_worker(
    crew: Workers, broker: Broker, simulator: Simulator, customer: User, sold: Service
) -> None:
    crew.start_celery(settings.REDIS_URL, prefix=broker.prefix)
    wait_until(broker.has_worker, seconds=120)
    for _ in range(5):
        order_of(customer, sold)

    wait_until(lambda: accepted() == 5, seconds=60, tell=states)
    assert_sound(simulator)


def test_a_worker_told_to_stop_ends_what_it_sends_and_leaves_the_rest_queued(
    crew: Workers, broker: Broker, simulator: Simulator, customer: User, sold: Service
) -> None:
    """F27: SIGTERM during 50 submissions leaves none unknown."""
    top_up(user=customer, amount=Decimal(90))
    simulator.world.change(latency_ms=300.0)
    worker = crew.start_celery(settings.REDIS_URL, prefix=broker.prefix)
    wait_until(broker.has_worker, seconds=120)
    for _ in range(50):
        order_of(customer, sold)
    wait_until(lambda: accepted() >= 3, seconds=60, tell=states)

    worker.terminate()

    assert worker.wait(90) == 0
    left = Order.objects.filter(dispatch__in=[*LEASED, Dispatch.UNKNOWN])
    assert list(left.values_list("dispatch", "attempts__reason")) == []
    assert accepted() + Order.objects.filter(dispatch=Dispatch.QUEUED).count() == 50
    assert_sound(simulator)
