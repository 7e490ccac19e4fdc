"""How a provider does: its balance and for how long it lasts, its answers, errors and orders."""

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Count

from catalog.models import BalanceSample, Provider
from orders.models import Attempt, Gate, Order
from orders.states import Outcome
from orders.timing import quantile
from wallet.money import ZERO

BURN_OVER = timedelta(days=7)
LOW_DAYS = 3
_LAST_ATTEMPTS = 1000


@dataclass(frozen=True, slots=True)
class Facts:
    """`days_left` at the pace of the last week, None when nothing was spent; times of an answer."""

    days_left: Decimal | None
    orders_today: int
    answered: int
    accepted: int
    median: timedelta | None
    p95: timedelta | None
    errors: list[tuple[str, int]]
    balances: list[tuple[datetime, Decimal]]

    @property
    def success_percent(self) -> Decimal | None:
        """Of the attempts that were answered one way or the other."""
        if not self.answered:
            return None
        return (Decimal(self.accepted) * 100 / self.answered).quantize(Decimal("0.1"))


def facts(provider: Provider, now: datetime) -> Facts:
    """What the last week says of a provider; times and success by its last 1,000 attempts."""
    week = now - BURN_OVER
    attempts = list(
        Attempt.objects.filter(order__provider=provider, claimed_at__gte=week)
        .order_by("-pk")
        .values_list("outcome", "sending_at", "finished_at")[:_LAST_ATTEMPTS]
    )
    decided = [each for each in attempts if each[0] in {Outcome.ACCEPTED, Outcome.REJECTED}]
    times = sorted(end - begin for _outcome, begin, end in decided if begin and end)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    samples = BalanceSample.objects.filter(provider=provider, answered_at__gte=week)
    balances = list(samples.order_by("answered_at").values_list("answered_at", "amount"))
    return Facts(
        days_left=days_left(balances),
        orders_today=Order.objects.filter(provider=provider, created_at__gte=midnight).count(),
        answered=len(decided),
        accepted=sum(outcome == Outcome.ACCEPTED for outcome, _begin, _end in decided),
        median=quantile(times, 50) if times else None,
        p95=quantile(times, 95) if times else None,
        errors=_errors(provider, week),
        balances=balances,
    )


def _errors(provider: Provider, since: datetime) -> list[tuple[str, int]]:
    failed = Attempt.objects.filter(order__provider=provider, claimed_at__gte=since)
    counted = failed.exclude(kind="").order_by().values_list("kind").annotate(count=Count("pk"))
    return sorted(counted, key=lambda row: -row[1])


def days_left(balances: list[tuple[datetime, Decimal]]) -> Decimal | None:
    """For how many days the last balance lasts, by what was spent between the readings.

    A rise is a payment and no spending.
    """
    if len(balances) < 2:
        return None
    steps = itertools.pairwise(balances)
    spent = sum((max(before[1] - after[1], ZERO) for before, after in steps), ZERO)
    span = balances[-1][0] - balances[0][0]
    if not spent or span < timedelta(hours=1):
        return None
    hours = Decimal(span // timedelta(minutes=1)) / 60
    return (balances[-1][1] / (spent / hours * 24)).quantize(Decimal("0.1"))


def low_balances(now: datetime) -> list[int]:
    """The enabled providers whose balance is short: paused for want of funds, or soon to be."""
    found = []
    short = set(Gate.objects.filter(pause=Gate.Pause.FUNDS).values_list("provider_id", flat=True))
    samples: dict[int, list[tuple[datetime, Decimal]]] = {}
    rows = BalanceSample.objects.filter(answered_at__gte=now - BURN_OVER).order_by("answered_at")
    for provider_id, at, amount in rows.values_list("provider_id", "answered_at", "amount"):
        samples.setdefault(provider_id, []).append((at, amount))
    for provider_id in Provider.objects.filter(is_enabled=True).values_list("pk", flat=True):
        left = days_left(samples.get(provider_id, []))
        if provider_id in short or (left is not None and left < LOW_DAYS):
            found.append(provider_id)
    return found
