"""Runs a periodic job at most once at a time on any number of machines, and records how it went.

The lease is a row: taken by one conditional UPDATE with the database's clock, renewed while the work
runs, and over by itself soon after its owner died.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, close_old_connections, connection, models
from django.db.models import ExpressionWrapper, Q
from django.db.models.functions import Now

from panel.models import Job

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=12)
_RESULT_LENGTH = 300
# A tick may come a little early; it still counts for its period.
_SLACK = 0.3
_AHEAD = timedelta(minutes=1)


@dataclass(frozen=True)
class Run:
    """What a finished run leaves in its job's row."""

    succeeded: bool
    result: str


def run_job(
    name: str,
    period: timedelta,
    work: Callable[[], str],
    *,
    due_since: datetime | None = None,
    now: bool = False,
    lease: timedelta = LEASE,
) -> bool:
    """Run `work` unless another process runs it or it ran within its period; True when it ran here.

    `due_since` replaces the period by a moment: the job runs when it has not run since. With `now`
    it runs even when it is not due, but still never beside itself. What goes wrong in `work` is
    logged and recorded, not raised.
    """
    owner = uuid.uuid4().hex
    if not _take(name, owner, lease, _due(period, due_since, now=now)):
        return False
    started = time.monotonic()
    with _renewed(name, owner, lease):
        run = _guarded(name, work)
    _finish(name, owner, run, seconds=time.monotonic() - started)
    return True


def _due(period: timedelta, due_since: datetime | None, *, now: bool) -> Q:
    if now:
        return Q()
    # A run in the future was noted by a clock that has been put back since, and counts for nothing.
    never = Q(started_at__isnull=True) | Q(started_at__gt=_from_now(_AHEAD))
    if due_since is not None:
        return never | Q(started_at__lt=due_since)
    return never | Q(started_at__lte=_from_now(-period * (1 - _SLACK)))


def _from_now(delta: timedelta) -> "ExpressionWrapper[Any]":
    """A moment by the database's clock: the machines' own clocks may differ."""
    return ExpressionWrapper(Now() + delta, output_field=models.DateTimeField())


def _take(name: str, owner: str, lease: timedelta, due: Q) -> bool:
    free = Q(lease_until__isnull=True) | Q(lease_until__lte=Now())
    claim = Job.objects.filter(free & due, name=name)
    values = {
        "owner": owner,
        "lease_until": _from_now(lease),
        "started_at": Now(),
    }
    if claim.update(**values):
        return True
    if Job.objects.filter(name=name).exists():
        return False
    Job.objects.bulk_create([Job(name=name)], ignore_conflicts=True)
    return bool(claim.update(**values))


def _guarded(name: str, work: Callable[[], str]) -> Run:
    try:
        return Run(succeeded=True, result=work()[:_RESULT_LENGTH])
    except Exception as exc:
        # The boundary of a periodic job: whatever it was, the next run must take place.
        logger.exception("Job %s failed", name)
        return Run(succeeded=False, result=_sentence(exc))


def _sentence(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}".strip(": ")[:_RESULT_LENGTH]


def _finish(name: str, owner: str, run: Run, *, seconds: float) -> None:
    finished = Job.objects.filter(name=name, owner=owner).update(
        lease_until=None,
        finished_at=Now(),
        seconds=round(seconds, 3),
        succeeded=run.succeeded,
        result=run.result,
    )
    if not finished:
        logger.warning("Job %s lost its lease while it ran", name)


@contextmanager
def _renewed(name: str, owner: str, lease: timedelta) -> Iterator[None]:
    """Keep the lease alive from a thread of its own, however long the work takes."""
    over = threading.Event()
    heart = threading.Thread(
        target=_beat_until, args=(over, name, owner, lease), name=f"lease-{name}", daemon=True
    )
    heart.start()
    try:
        yield
    finally:
        over.set()
        heart.join()


def _beat_until(over: threading.Event, name: str, owner: str, lease: timedelta) -> None:
    used = False
    while not over.wait((lease / 3).total_seconds()):
        used = True
        try:
            close_old_connections()
            Job.objects.filter(name=name, owner=owner).update(lease_until=_from_now(lease))
        except DatabaseError:
            # The next beat tries again; if none succeeds the lease ends, which is what it is for.
            logger.warning("Job %s could not renew its lease", name)
    if used:
        connection.close()
