"""How long services take, by their own latest orders, and which orders take longer than nearly all of them."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from statistics import median
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import (
    DateTimeField,
    ExpressionWrapper,
    F,
    OuterRef,
    QuerySet,
    Subquery,
    Window,
)
from django.db.models.functions import RowNumber

from orders.models import Event, Order, ServiceTimes
from orders.states import OPEN, Dispatch, Status
from orders.timeline import Code

LOOK_BACK = timedelta(days=90)
# Of each service the newest orders speak: a run holds that many rows, however many orders there are.
NEWEST = 100
# Fewer say nothing about the next order.
LEAST_SAMPLE = 10
# And fewer than these nothing about which order takes too long.
LEAST_FOR_P95 = 20


class Timed(NamedTuple):
    """When a completed order was placed, sent, first seen in progress, and finished."""

    service_id: int
    created_at: datetime
    sent_at: datetime | None
    started_at: datetime | None
    finished_at: datetime


def quantile(ordered: Sequence[timedelta], percent: int) -> timedelta:
    """The value that `percent` of the sorted values don't exceed."""
    at = max(0, -(-len(ordered) * percent // 100) - 1)
    return ordered[at]


def typical_seconds(durations: Sequence[timedelta]) -> int | None:
    """The median; None below ten."""
    if len(durations) < LEAST_SAMPLE:
        return None
    return round(median(each.total_seconds() for each in durations))


def measure(now: datetime) -> int:
    """Reckon every service's times anew; how many have enough orders to tell."""
    found = [
        times
        for number, orders in groupby(_newest(now - LOOK_BACK), key=itemgetter(0))
        if (times := _times(number, orders, now)) is not None
    ]
    with transaction.atomic():
        ServiceTimes.objects.all().delete()
        ServiceTimes.objects.bulk_create(found, batch_size=1000)
    return len(found)


def _newest(since: datetime) -> Iterator[Timed]:
    """The latest completed orders of every service, service by service."""
    place = Window(RowNumber(), partition_by="service_id", order_by="-pk")
    latest = _ordinary(Order.objects.all()).filter(
        status=Status.COMPLETED, created_at__gte=since, finished_at__isnull=False, parent=None
    )
    sampled = latest.order_by().annotate(place=place).filter(place__lte=NEWEST)
    begun = Event.objects.filter(
        order=OuterRef("pk"), code=Code.STATUS, values__status=Status.IN_PROGRESS.value
    )
    rows = (
        Order.objects.filter(pk__in=sampled.values("pk"))
        .annotate(started_at=Subquery(begun.order_by("pk").values("at")[:1]))
        .order_by("service_id")
        .values_list(*Timed._fields)
    )
    return (Timed(*row) for row in rows.iterator(chunk_size=2000))


def _ordinary(orders: QuerySet[Order]) -> QuerySet[Order]:
    """Without drip-feeds and subscriptions, which take as long as their buyers want."""
    return orders.exclude(parameters__has_key="runs").exclude(order_type="subscriptions")


def _times(number: int, orders: Iterable[Timed], now: datetime) -> ServiceTimes | None:
    """What one service's orders say; None when they are too few."""
    start: list[timedelta] = []
    finish: list[timedelta] = []
    delivery: list[timedelta] = []
    for order in orders:
        finish.append(_lasting(order.created_at, order.finished_at))
        if order.started_at:
            start.append(_lasting(order.created_at, order.started_at))
        if order.sent_at:
            delivery.append(_lasting(order.sent_at, order.finished_at))
    if len(finish) < LEAST_SAMPLE:
        return None
    return ServiceTimes(
        service_id=number,
        start_seconds=typical_seconds(start),
        start_sample=len(start),
        finish_seconds=typical_seconds(finish),
        finish_sample=len(finish),
        delivery_p95=quantile(sorted(delivery), 95) if len(delivery) >= LEAST_FOR_P95 else None,
        refreshed_at=now,
    )


def _lasting(begin: datetime, end: datetime) -> timedelta:
    # Two machines' clocks may differ a little.
    return max(timedelta(0), end - begin)


def stuck(now: datetime) -> QuerySet[Order]:
    """Orders at a provider for longer than 95 % of their service's orders took."""
    moment: DateTimeField[Any, Any] = DateTimeField()
    limit = ExpressionWrapper(F("sent_at") + F("service__times__delivery_p95"), output_field=moment)
    return (
        _ordinary(Order.objects.all())
        .filter(
            status__in=OPEN,
            dispatch=Dispatch.ACCEPTED,
            service__times__delivery_p95__isnull=False,
        )
        .alias(usual_end=limit)
        .filter(usual_end__lt=now)
    )
