"""/metrics: the panel's figures in Prometheus' text format, read from the database when asked for."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from orders.models import Attempt, Gate, Order
from orders.states import Dispatch, Outcome, Status
from panel import state

# Counts that grow for ever would have to be read from all rows; these look back this far.
WINDOW = timedelta(hours=1)
_LOOPBACK = {"127.0.0.1", "::1"}


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For whoever may see it; for everybody else there is no such page."""
    if not may_see(request):
        return HttpResponseNotFound()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PanelCollector(timezone.now()))
    return HttpResponse(
        generate_latest(registry),
        content_type=CONTENT_TYPE_PLAIN_0_0_4,
        headers={"Cache-Control": "no-store"},
    )


def may_see(request: HttpRequest) -> bool:
    """Whether the request carries METRICS_TOKEN, or comes from this machine and through no proxy."""
    given = request.headers.get("Authorization", "")
    if settings.METRICS_TOKEN:
        return constant_time_compare(given, f"Bearer {settings.METRICS_TOKEN}")
    forwarded = {"X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "X-Real-Ip"}
    if any(name in request.headers for name in forwarded):
        return False
    return request.META.get("REMOTE_ADDR") in _LOOPBACK


class PanelCollector(Collector):
    """Everything there is to say at the moment `now`.

    The format knows floats only, so amounts become some here, at the very end: for curves, not books.
    """

    def __init__(self, now: datetime) -> None:
        self._now = now

    def collect(self) -> Iterator[Metric]:
        yield from self._orders()
        yield from self._waiting()
        yield from self._providers()
        yield from self._jobs()
        yield from self._lately()
        yield from self._margin()

    def _orders(self) -> Iterator[Metric]:
        for column, values in (("dispatch", Dispatch.values), ("status", Status.values)):
            counted = dict(Order.objects.order_by().values_list(column).annotate(Count("pk")))
            metric = GaugeMetricFamily(
                f"panel_orders_by_{column}", f"Orders by {column}", labels=[column]
            )
            for value in values:
                metric.add_metric([value], counted.get(value, 0))
            yield metric
        attention = Order.objects.exclude(attention="").count()
        yield GaugeMetricFamily(
            "panel_orders_needing_attention", "Orders staff should look at", attention
        )

    def _waiting(self) -> Iterator[Metric]:
        for name, waiting, meaning in (
            ("unsent", state.unsent(self._now), "paid for and not with the provider yet"),
            ("unconfirmed", state.unconfirmed(self._now), "whose answer was lost"),
        ):
            yield GaugeMetricFamily(f"panel_orders_{name}", f"Orders {meaning}", waiting.count)
            yield GaugeMetricFamily(
                f"panel_oldest_{name}_seconds",
                f"Age of the oldest order {meaning}",
                waiting.oldest.total_seconds(),
            )

    def _providers(self) -> Iterator[Metric]:
        balance = GaugeMetricFamily(
            "panel_provider_balance", "Our balance there", labels=["provider", "currency"]
        )
        paused = GaugeMetricFamily(
            "panel_provider_paused",
            "1: gets no orders, for this reason",
            labels=["provider", "reason"],
        )
        for row in state.providers():
            if row.balance:
                balance.add_metric([row.name, row.currency], float(row.balance))
            for reason in [*Gate.Pause.values, "breaker"]:
                paused.add_metric([row.name, reason], int(row.pause == reason))
        yield balance
        yield paused

    def _jobs(self) -> Iterator[Metric]:
        age = GaugeMetricFamily("panel_job_age_seconds", "Since the last run began", labels=["job"])
        late = GaugeMetricFamily("panel_job_late", "1: it should have run", labels=["job"])
        failed = GaugeMetricFamily("panel_job_failed", "1: its last run failed", labels=["job"])
        for job in state.job_ages(self._now):
            if job.age is not None:
                age.add_metric([job.name], job.age.total_seconds())
            late.add_metric([job.name], int(job.is_late))
            failed.add_metric([job.name], int(job.succeeded is False))
        yield from (age, late, failed)

    def _lately(self) -> Iterator[Metric]:
        columns = [
            "order__provider__name",
            "outcome",
            "kind",
            "order__created_at",
            "sending_at",
            "finished_at",
        ]
        recent = Attempt.objects.filter(sending_at__gte=self._now - WINDOW).order_by()
        outcomes: Counter[tuple[str, str, str]] = Counter()
        waits: list[float] = []
        calls: list[float] = []
        for provider, outcome, kind, placed, sending, finished in recent.values_list(
            *columns
        ).iterator():
            outcomes[provider, outcome, kind] += 1
            if outcome == Outcome.ACCEPTED and finished:
                waits.append((sending - placed).total_seconds())
                calls.append((finished - sending).total_seconds())
        metric = GaugeMetricFamily(
            "panel_attempts_last_hour", "Tries at sending, by outcome and kind of error",
            labels=["provider", "outcome", "kind"],
        )  # fmt: skip
        for labels, count in sorted(outcomes.items()):
            metric.add_metric(list(labels), count)
        yield metric
        yield _quantiles("panel_forward_wait_seconds", "From placing to sending, last hour", waits)
        yield _quantiles(
            "panel_forward_call_seconds", "From sending to the answer, last hour", calls
        )

    def _margin(self) -> Iterator[Metric]:
        done = Order.objects.filter(finished_at__gte=self._now - WINDOW).order_by()
        turnover, margin = Decimal(0), Decimal(0)
        amounts = done.values_list("status", "charge", "refunded", "cost")
        for status, charge, refunded, cost in amounts.iterator():
            kept = charge - refunded
            # The provider gives back the share that we give back.
            paid = Decimal(0) if status == Status.CANCELED or not charge else cost * kept / charge
            turnover += kept
            margin += kept - paid
        for name, amount in (("turnover", turnover), ("margin", margin)):
            yield GaugeMetricFamily(
                f"panel_{name}_last_hour", f"Of orders that ended in the last hour, in {settings.CURRENCY}",
                float(amount),
            )  # fmt: skip


def _quantiles(name: str, meaning: str, values: list[float]) -> Metric:
    metric = GaugeMetricFamily(name, meaning, labels=["quantile"])
    ordered = sorted(values)
    for quantile in (0.5, 0.95, 1.0):
        if ordered:
            at = min(len(ordered) - 1, int(quantile * len(ordered)))
            metric.add_metric([str(quantile)], ordered[at])
    return metric
