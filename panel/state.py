"""How the panel is doing, as plain values: for /readyz, /metrics and the owner's alerts alike."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Min

from catalog.models import Provider
from orders.models import Attempt, Gate, Order
from orders.run_models import BulkRun
from orders.states import Dispatch
from panel.models import Job
from panel.schedule import PeriodicJob

# A job may miss two ticks, and a restart takes a while, before anybody is told.
_LATE_AFTER_PERIODS = 3
_LATE_AT_LEAST = timedelta(minutes=2)
_NIGHTLY_LATE = timedelta(hours=26)
# A run that hangs keeps its lease for as long as its process lives.
_LONGEST_RUN = timedelta(hours=1)


@dataclass(frozen=True)
class JobAge:
    """How long ago a job was last under way; `age` is None when it never ran."""

    name: str
    age: timedelta | None
    limit: timedelta
    succeeded: bool | None

    @property
    def is_late(self) -> bool:
        return self.age is None or self.age > self.limit


@dataclass(frozen=True)
class Waiting:
    """How many orders are in a state, and since when the oldest of them."""

    count: int
    oldest: timedelta


@dataclass(frozen=True)
class ProviderState:
    """One enabled provider: `pause` is why it gets no orders, "breaker" and all, or empty."""

    pk: int
    name: str
    currency: str
    balance: str
    pause: str


def late_limit(job: PeriodicJob) -> timedelta:
    """How old a job's last run may be."""
    if job.hour is not None:
        return _NIGHTLY_LATE
    return max(_LATE_AT_LEAST, job.period * _LATE_AFTER_PERIODS)


def job_ages(now: datetime) -> list[JobAge]:
    """Every periodic job; one that runs at this moment is 0 old, unless it has run for far too long."""
    rows = {job.name: job for job in Job.objects.all()}
    return [_age(job, rows.get(name), now) for name, job in sorted(settings.PERIODIC_JOBS.items())]


def _age(job: PeriodicJob, row: Job | None, now: datetime) -> JobAge:
    limit = late_limit(job)
    if row is None or row.started_at is None:
        return JobAge(job.name, None, limit, None)
    age = max(timedelta(0), now - row.started_at)
    is_running = row.lease_until is not None and row.lease_until > now
    if is_running and age <= max(_LONGEST_RUN, limit):
        age = timedelta(0)
    return JobAge(job.name, age, limit, row.succeeded)


def unsent(now: datetime) -> Waiting:
    """Orders that are paid for and not with the provider yet, whatever they wait for."""
    queue = Order.objects.filter(dispatch__in=[Dispatch.QUEUED, Dispatch.CLAIMED, Dispatch.SENDING])
    return Waiting(queue.count(), _since(queue.aggregate(at=Min("created_at"))["at"], now))


def unconfirmed(now: datetime) -> Waiting:
    """Orders whose answer was lost: paid for, and nobody knows yet whether they were placed."""
    lost = Attempt.objects.filter(order__dispatch=Dispatch.UNKNOWN)
    count = Order.objects.filter(dispatch=Dispatch.UNKNOWN).count()
    return Waiting(count, _since(lost.aggregate(at=Min("sending_at"))["at"], now))


def stuck_runs(now: datetime) -> Waiting:
    """Bulk actions that stand still."""
    begun = list(BulkRun.objects.stuck(now).values_list("created_at", flat=True))
    return Waiting(len(begun), _since(min(begun, default=None), now))


def _since(moment: datetime | None, now: datetime) -> timedelta:
    return max(timedelta(0), now - moment) if moment else timedelta(0)


def providers() -> list[ProviderState]:
    """Every enabled provider."""
    gates = {gate.provider_id: gate for gate in Gate.objects.all()}
    rows = Provider.objects.filter(is_enabled=True).defer("api_key")
    return [
        ProviderState(
            pk=row.pk,
            name=row.name,
            currency=row.currency,
            balance="" if row.balance is None else f"{row.balance:f}",
            pause=_pause(gates.get(row.pk)),
        )
        for row in rows
    ]


def _pause(gate: Gate | None) -> str:
    if gate is None:
        return ""
    return gate.pause or ("breaker" if gate.open_until else "")
