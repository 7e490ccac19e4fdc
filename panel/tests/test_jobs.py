"""A periodic job runs at most once at a time, when it is due, and leaves a record."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from panel.jobs import run_job
from panel.models import Job

HOUR = timedelta(hours=1)


def done() -> str:
    return "3 rows"


def fails() -> str:
    raise LookupError("no such provider")


@pytest.mark.django_db
def test_a_run_is_recorded() -> None:
    before = timezone.now() - timedelta(seconds=1)

    assert run_job("sweep", HOUR, done)

    job = Job.objects.get(name="sweep")
    assert job.started_at is not None
    assert job.finished_at is not None
    assert before <= job.started_at <= job.finished_at
    assert job.seconds is not None
    assert job.seconds >= 0
    assert (job.succeeded, job.result, job.lease_until) == (True, "3 rows", None)


@pytest.mark.django_db
def test_a_failure_is_recorded_and_logged_and_not_raised(caplog: pytest.LogCaptureFixture) -> None:
    assert run_job("sweep", HOUR, fails)

    job = Job.objects.get(name="sweep")
    assert (job.succeeded, job.result) == (False, "LookupError: no such provider")
    assert job.lease_until is None
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None


@pytest.mark.django_db
def test_a_long_result_is_cut_to_what_the_row_holds() -> None:
    assert run_job("sweep", HOUR, lambda: "x" * 5_000)

    assert Job.objects.get(name="sweep").result == "x" * 300


@pytest.mark.django_db
def test_a_job_is_not_run_again_within_its_period() -> None:
    runs: list[int] = []

    def count() -> str:
        runs.append(1)
        return ""

    assert run_job("sweep", HOUR, count)
    assert not run_job("sweep", HOUR, count)

    assert len(runs) == 1


@pytest.mark.django_db
def test_a_tick_that_comes_a_little_early_counts() -> None:
    run_job("sweep", HOUR, done)
    Job.objects.update(started_at=timezone.now() - HOUR * 0.75)

    assert run_job("sweep", HOUR, done)


@pytest.mark.django_db
@pytest.mark.parametrize("due_since", [None, timezone.now() - HOUR])
def test_a_run_that_a_wrong_clock_noted_in_the_future_keeps_nothing_waiting(
    due_since: datetime | None,
) -> None:
    run_job("sweep", HOUR, done)
    Job.objects.update(started_at=timezone.now() + 3 * HOUR)

    assert run_job("sweep", HOUR, done, due_since=due_since)
    assert not run_job("sweep", HOUR, done, due_since=due_since)


@pytest.mark.django_db
def test_run_now_does_not_wait_for_the_period() -> None:
    run_job("sweep", HOUR, done)

    assert run_job("sweep", HOUR, done, now=True)


@pytest.mark.django_db
def test_a_nightly_job_runs_once_after_its_hour() -> None:
    hour = timezone.now() - timedelta(minutes=5)

    assert run_job("check_ledger", HOUR, done, due_since=hour)
    assert not run_job("check_ledger", timedelta(0), done, due_since=hour)

    Job.objects.update(started_at=hour - timedelta(minutes=1))
    assert run_job("check_ledger", HOUR, done, due_since=hour)


@pytest.mark.django_db
def test_another_owners_lease_keeps_even_run_now_away() -> None:
    Job.objects.create(
        name="sweep", owner="elsewhere", lease_until=timezone.now() + timedelta(minutes=1)
    )

    assert not run_job("sweep", HOUR, done, now=True)


@pytest.mark.django_db
def test_the_lease_of_an_owner_that_died_ends_by_itself() -> None:
    Job.objects.create(
        name="sweep",
        owner="died",
        started_at=timezone.now() - 2 * HOUR,
        lease_until=timezone.now() - timedelta(seconds=1),
    )

    assert run_job("sweep", HOUR, done)
    assert Job.objects.get(name="sweep").succeeded


@pytest.mark.django_db
def test_who_lost_the_lease_does_not_overwrite_the_next_owners_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def is_overtaken() -> str:
        Job.objects.update(owner="next")
        return "late"

    assert run_job("sweep", HOUR, is_overtaken)

    job = Job.objects.get(name="sweep")
    assert (job.owner, job.result, job.finished_at) == ("next", "", None)
    assert "lost its lease" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_job_that_outlasts_its_lease_keeps_it() -> None:
    refused: list[bool] = []

    def outlast() -> str:
        time.sleep(2.5)
        refused.append(run_job("sweep", timedelta(0), done, now=True))
        return "long"

    assert run_job("sweep", HOUR, outlast, lease=timedelta(seconds=2))

    assert refused == [False]
    assert Job.objects.get(name="sweep").result == "long"


@pytest.mark.django_db(transaction=True)
def test_of_many_that_start_a_job_at_once_one_runs_it() -> None:
    runs: list[str] = []
    barrier = threading.Barrier(6)

    def work() -> str:
        runs.append(threading.current_thread().name)
        time.sleep(0.2)
        return "ran"

    results = in_threads(6, lambda: run_job("sync_catalog", HOUR, work), barrier)

    assert sorted(results) == [False] * 5 + [True]
    assert len(runs) == 1


def in_threads(count: int, call: Callable[[], bool], barrier: threading.Barrier) -> list[bool]:
    """Call it in `count` threads at the same moment, each with a connection of its own."""
    results: list[bool] = []

    def target() -> None:
        barrier.wait()
        try:
            results.append(call())
        finally:
            connection.close()

    threads = [threading.Thread(target=target) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
