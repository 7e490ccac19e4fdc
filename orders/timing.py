"""How long services take, by their own orders, and which orders take longer than nearly all of them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, QuerySet

from orders.models import Order, ServiceTiming
from orders.states import OPEN, Dispatch, Status

LOOK_BACK = timedelta(days=90)
# Fewer orders than this say nothing of a service.
LEAST_SAMPLE = 20


def quantile(ordered: Sequence[timedelta], percent: int) -> timedelta:
    """The value that `percent` of the sorted values don't exceed."""
    at = max(0, -(-len(ordered) * percent // 100) - 1)
    return ordered[at]


def measure(now: datetime) -> int:
    """Reckon every service's times anew; how many have enough orders to tell."""
    times: dict[int, list[timedelta]] = {}
    done = Order.objects.filter(
        created_at__gte=now - LOOK_BACK, status=Status.COMPLETED, sent_at__isnull=False
    )
    rows = done.order_by().values_list("service_id", "sent_at", "finished_at")
    for service_id, sent_at, finished_at in rows.iterator(chunk_size=5000):
        if sent_at and finished_at:
            times.setdefault(service_id, []).append(finished_at - sent_at)
    found = [
        _timing(service_id, sorted(values), now)
        for service_id, values in times.items()
        if len(values) >= LEAST_SAMPLE
    ]
    with transaction.atomic():
        ServiceTiming.objects.all().delete()
        ServiceTiming.objects.bulk_create(found, batch_size=1000)
    return len(found)


def _timing(service_id: int, ordered: Sequence[timedelta], now: datetime) -> ServiceTiming:
    return ServiceTiming(
        service_id=service_id,
        sample=len(ordered),
        median=quantile(ordered, 50),
        p95=quantile(ordered, 95),
        updated_at=now,
    )


def stuck(now: datetime) -> QuerySet[Order]:
    """Orders at a provider for longer than 95 % of their service's orders took."""
    moment: DateTimeField[Any, Any] = DateTimeField()
    limit = ExpressionWrapper(F("sent_at") + F("service__timing__p95"), output_field=moment)
    return (
        Order.objects.filter(
            status__in=OPEN, dispatch=Dispatch.ACCEPTED, service__timing__isnull=False
        )
        .alias(usual_end=limit)
        .filter(usual_end__lt=now)
    )
