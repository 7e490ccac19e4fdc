"""Processes that are told to stop, that run twice, or that were away."""

import signal
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from orders.models import Order
from orders.states import LEASED, Dispatch
from panel.models import Job
from tests.faults.panel import Panel, wait_for

pytestmark = pytest.mark.timeout(300)

ORDERS = 50


def test_a_panel_told_to_stop_during_50_submissions_leaves_none_unknown(panel: Panel) -> None:
    """F27, as on a deployment; on SQLite it is the one embedded process."""
    panel.provider.tell("settings", {"latency_ms": 300})
    panel.start_worker()
    panel.start_beat()
    panel.order(ORDERS)
    wait_for(lambda: panel.states()[Dispatch.ACCEPTED] >= 3, seconds=60, tell=panel.states)

    panel.send("worker", signal.SIGTERM)
    wait_for(lambda: panel.is_gone("worker"), seconds=90, tell=panel.states)

    states = panel.states()
    assert set(states) <= {Dispatch.ACCEPTED, Dispatch.QUEUED}
    assert states.total() == ORDERS
    panel.start_worker("next")
    panel.wait_until_quiet()
    assert panel.states() == {Dispatch.ACCEPTED: ORDERS}
    assert panel.violations() == []


def test_a_panel_killed_during_submissions_resends_nothing(panel: Panel) -> None:
    """F26 in small: SIGKILL leaves what was marked to its lease, and sends the rest once."""
    panel.provider.tell("settings", {"latency_ms": 300})
    panel.start_worker()
    panel.start_beat()
    panel.order(ORDERS)
    wait_for(lambda: panel.states()[Dispatch.ACCEPTED] >= 3, seconds=60, tell=panel.states)

    panel.send("worker", signal.SIGKILL)
    wait_for(lambda: panel.is_gone("worker"), seconds=60)
    panel.provider.tell("settings", {"latency_ms": 20})
    # A minute passes for what the dead worker was sending.
    past = timezone.now() - timedelta(seconds=1)
    Order.objects.filter(dispatch__in=LEASED).update(lease_until=past)
    panel.start_worker("next")

    panel.wait_until_quiet(seconds=120)
    states = panel.states()
    assert set(states) <= {Dispatch.ACCEPTED, Dispatch.UNKNOWN}
    assert states.total() == ORDERS
    assert panel.violations() == []


@pytest.mark.postgres
def test_two_beats_and_messages_left_lying_run_each_job_once(panel: Panel) -> None:
    """F28: the job's row in the database decides, whoever sends how many messages."""
    panel.start_beat("beat")
    panel.start_beat("second-beat")
    assert panel.redis is not None
    redis = panel.redis
    # Nobody listens, and two beats tick: the messages of several periods pile up.
    wait_for(lambda: redis.waiting("poll") >= 12, seconds=60, tell=lambda: redis.waiting("poll"))

    panel.start_worker()

    wait_for(lambda: _ran("refresh_balances"), seconds=60)
    before = panel.provider.received("balance")
    starts: set[datetime] = set()
    wait_for(lambda: len(_note_start("sweep", starts)) >= 3, seconds=60)
    assert before == panel.provider.received("balance") == 1


def _ran(name: str) -> bool:
    return Job.objects.filter(name=name, finished_at__isnull=False).exists()


def _note_start(name: str, seen: set[datetime]) -> set[datetime]:
    """The starts of a job that were seen so far, now one more if it ran again."""
    started = Job.objects.filter(name=name).values_list("started_at", flat=True)
    seen.update(moment for moment in started if moment is not None)
    return seen
