"""How long services typically take, reckoned from our own completed orders."""

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from django.db.models import F, Min, QuerySet
from django.utils import timezone

from orders.models import Event, Order, ServiceTimes
from orders.states import Status
from orders.timeline import Code

# Fewer say nothing about the next order.
LEAST_SAMPLE = 10
_LATEST = 200
_WINDOW = dt.timedelta(days=90)

Durations = dict[int, list[float]]


def typical_seconds(durations: Sequence[float]) -> int | None:
    """The median; None below ten."""
    return round(median(durations)) if len(durations) >= LEAST_SAMPLE else None


def refresh_times(now: dt.datetime | None = None) -> int:
    """Reckon all services anew from the latest orders of 90 days; gives how many have figures."""
    now = now or timezone.now()
    finished = _completed(now - _WINDOW)
    finish = _latest(finished.annotate(at=F("finished_at")), "at")
    begun = Event.objects.filter(
        code=Code.STATUS, values__status=Status.IN_PROGRESS.value, order__in=finished.values("pk")
    )
    start = _starts(begun)
    rows = [
        _times(number, start.get(number, []), durations, now)
        for number, durations in finish.items()
        if len(durations) >= LEAST_SAMPLE
    ]
    ServiceTimes.objects.exclude(service_id__in=[row.service_id for row in rows]).delete()
    ServiceTimes.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["service"],
        update_fields=[
            "start_seconds", "start_sample", "finish_seconds", "finish_sample", "refreshed_at",
        ],
    )  # fmt: skip
    return len(rows)


def _completed(since: dt.datetime) -> QuerySet[Order]:
    """Orders delivered in full; a drip-feed or a subscription takes as long as its buyer wants."""
    return (
        Order.objects.filter(status=Status.COMPLETED, finished_at__gte=since, parent=None)
        .exclude(parameters__has_key="runs")
        .exclude(order_type="subscriptions")
        .order_by("-pk")
    )


def _latest(orders: QuerySet[Order], end: str) -> Durations:
    found: Durations = defaultdict(list)
    for number, begin, ended in orders.values_list("service_id", "created_at", end).iterator():
        if len(found[number]) < _LATEST:
            found[number].append(max(0.0, (ended - begin).total_seconds()))
    return found


def _starts(begun: QuerySet[Event]) -> Durations:
    found: Durations = defaultdict(list)
    first = begun.values("order_id").annotate(first=Min("at")).order_by("-order_id")
    rows = first.values_list("order__service_id", "order__created_at", "first")
    for number, begin, at in rows.iterator():
        if len(found[number]) < _LATEST:
            found[number].append(max(0.0, (at - begin).total_seconds()))
    return found


def _times(
    number: int, start: Sequence[float], finish: Sequence[float], now: dt.datetime
) -> ServiceTimes:
    return ServiceTimes(
        service_id=number,
        start_seconds=typical_seconds(start),
        start_sample=len(start),
        finish_seconds=typical_seconds(finish),
        finish_sample=len(finish),
        refreshed_at=now,
    )
