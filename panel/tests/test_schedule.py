"""What beat is told, and what each job's name leads to."""

from datetime import timedelta

import pytest
from django.conf import settings

from panel.schedule import POLL, SUBMIT, PeriodicJob, beat_schedule, periodic_jobs

JOBS = periodic_jobs(sync_minutes=60, poll_seconds=120)


@pytest.mark.parametrize("name", sorted(JOBS))
def test_each_entry_expires_when_the_next_is_sent(name: str) -> None:
    entry = beat_schedule(JOBS)[name]

    assert entry["options"]["expires"] == entry["schedule"].total_seconds() > 0
    assert entry["args"] == (name,)
    assert entry["options"]["queue"] in {SUBMIT, POLL}


def test_a_slow_job_is_woken_often_because_the_database_knows_when_it_is_due() -> None:
    assert PeriodicJob("slow", timedelta(hours=1)).wake_every == timedelta(seconds=10)
    assert PeriodicJob("fast", timedelta(seconds=5)).wake_every == timedelta(seconds=5)


def test_only_the_sweep_shares_the_queue_of_submissions() -> None:
    assert [job.name for job in JOBS.values() if job.queue == SUBMIT] == ["sweep"]


def test_waiting_orders_are_swept_three_times_in_fifteen_seconds() -> None:
    assert JOBS["sweep"].period <= timedelta(seconds=5)


def test_the_settings_hold_this_schedule() -> None:
    assert set(settings.CELERY_BEAT_SCHEDULE) == set(settings.PERIODIC_JOBS) == set(JOBS)
