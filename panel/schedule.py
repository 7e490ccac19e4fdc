"""What runs periodically, how often and in which queue; nothing but declarations.

Beat only wakes the jobs. Whether one is due, and that it never overlaps itself, is decided in the
database by `panel.jobs`, so a second beat, a lost message or a restart does no harm.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

SUBMIT = "submit"
POLL = "poll"

# Beat wakes a slow job this often, and the job's own record says whether its period is over: a
# restarted beat forgets when it last ran something, the database does not.
_WAKE_AT_LEAST = timedelta(seconds=10)


@dataclass(frozen=True)
class PeriodicJob:
    """A job's name, its period, its queue, and for a nightly one the UTC hour it waits for."""

    name: str
    period: timedelta
    queue: str = POLL
    hour: int | None = None

    @property
    def wake_every(self) -> timedelta:
        """How often beat sends a message for it."""
        return min(self.period, _WAKE_AT_LEAST)


def periodic_jobs(*, sync_minutes: int, poll_seconds: int) -> dict[str, PeriodicJob]:
    """Every periodic job by name."""
    jobs = [
        PeriodicJob("sweep", timedelta(seconds=5), queue=SUBMIT),
        PeriodicJob("poll_orders", timedelta(seconds=min(5, poll_seconds))),
        PeriodicJob("send_requests", timedelta(seconds=5)),
        PeriodicJob("poll_requests", timedelta(seconds=min(30, poll_seconds))),
        PeriodicJob("bulk_runs", timedelta(seconds=5)),
        PeriodicJob("reconcile", timedelta(seconds=5)),
        PeriodicJob("sync_catalog", timedelta(minutes=sync_minutes)),
        PeriodicJob("refresh_balances", timedelta(minutes=5)),
        PeriodicJob("refresh_times", timedelta(hours=1)),
        PeriodicJob("send_mails", timedelta(seconds=10)),
        PeriodicJob("roll_up_sales", timedelta(minutes=5)),
        PeriodicJob("reckon_providers", timedelta(hours=1)),
        PeriodicJob("heal_sales", timedelta(days=1), hour=4),
        PeriodicJob("prune_history", timedelta(days=1), hour=5),
        PeriodicJob("send_callbacks", timedelta(seconds=5)),
        PeriodicJob("forget_old", timedelta(hours=1)),
        PeriodicJob("apply_retention", timedelta(hours=1)),
        PeriodicJob("send_alerts", timedelta(minutes=1)),
        PeriodicJob("check_ledger", timedelta(days=1), hour=3),
        PeriodicJob("check_audit", timedelta(days=1), hour=2),
    ]
    return {job.name: job for job in jobs}


def beat_schedule(jobs: dict[str, PeriodicJob]) -> dict[str, dict[str, Any]]:
    """Celery's CELERY_BEAT_SCHEDULE: a message expires when the next one is due."""
    return {
        job.name: {
            "task": "panel.run_periodic",
            "schedule": job.wake_every,
            "args": (job.name,),
            "options": {"expires": job.wake_every.total_seconds(), "queue": job.queue},
        }
        for job in jobs.values()
    }
