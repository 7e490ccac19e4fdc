"""The figures that a monitor reads, and who may read them."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from accounts.models import User
from catalog.models import Service
from orders.gates import pause
from orders.models import Attempt, Gate, Order
from orders.states import Dispatch, Outcome, Status
from orders.tests.worlds import order_of
from panel.models import Job


def read(client: Client, **headers: str) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, by label."""
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


@pytest.fixture
def orders(customer: User, service: Service) -> dict[str, Order]:
    """One unsent, one unconfirmed, one sent and completed."""
    made = {name: order_of(customer, service) for name in ("unsent", "lost", "done")}
    now = timezone.now()
    minute = timedelta(minutes=1)
    rows = Order.objects
    rows.filter(pk=made["unsent"].pk).update(created_at=now - 10 * minute)
    rows.filter(pk=made["lost"].pk).update(dispatch=Dispatch.UNKNOWN, attempt_no=1)
    rows.filter(pk=made["done"].pk).update(
        dispatch=Dispatch.ACCEPTED, upstream_id="7", status=Status.COMPLETED, finished_at=now,
        created_at=now - minute, sent_at=now, charge=2, cost=Decimal("0.5"),
    )  # fmt: skip
    Attempt.objects.create(
        order=made["lost"], number=1, outcome=Outcome.UNKNOWN, sending_at=now - 30 * minute
    )
    Attempt.objects.create(
        order=made["done"], number=1, outcome=Outcome.ACCEPTED, upstream_id="7",
        sending_at=now - minute + timedelta(seconds=3),
        finished_at=now - minute + timedelta(seconds=5),
    )  # fmt: skip
    return made


def test_orders_are_counted_and_the_oldest_of_each_trouble_is_told(
    client: Client, orders: dict[str, Order]
) -> None:
    seen = read(client)

    assert seen["panel_orders_by_dispatch", "queued"] == 1
    assert seen["panel_orders_by_dispatch", "unknown"] == 1
    assert seen["panel_orders_by_status", "completed"] == 1
    assert seen["panel_orders_by_status", "canceled"] == 0
    assert (seen["panel_orders_unsent",], seen["panel_orders_unconfirmed",]) == (1, 1)
    assert seen["panel_oldest_unsent_seconds",] == pytest.approx(600, abs=60)
    assert seen["panel_oldest_unconfirmed_seconds",] == pytest.approx(1800, abs=60)


def test_the_last_hours_attempts_latency_and_margin_are_told(
    client: Client, orders: dict[str, Order]
) -> None:
    seen = read(client)

    assert seen["panel_attempts_last_hour", "", "accepted", "Upstream"] == 1
    assert seen["panel_attempts_last_hour", "", "unknown", "Upstream"] == 1
    assert seen["panel_forward_wait_seconds", "0.95"] == pytest.approx(3)
    assert seen["panel_forward_call_seconds", "0.5"] == pytest.approx(2)
    assert seen["panel_turnover_last_hour",] == 2
    assert seen["panel_margin_last_hour",] == 1.5


def test_a_canceled_order_earns_nothing(client: Client, orders: dict[str, Order]) -> None:
    Order.objects.filter(pk=orders["done"].pk).update(status=Status.CANCELED, refunded=2)

    seen = read(client)

    assert (seen["panel_turnover_last_hour",], seen["panel_margin_last_hour",]) == (0, 0)


def test_providers_and_jobs_are_told(client: Client, service: Service) -> None:
    provider = service.provider
    provider.balance = Decimal("12.5")
    provider.save()
    pause(provider.pk, reason=Gate.Pause.FUNDS)
    long_ago = timezone.now() - timedelta(hours=1)
    Job.objects.create(name="sweep", started_at=timezone.now(), succeeded=True)
    Job.objects.create(name="reconcile", started_at=long_ago, succeeded=False)

    seen = read(client)

    assert seen["panel_provider_balance", "USD", "Upstream"] == 12.5
    assert seen["panel_provider_paused", "Upstream", "funds"] == 1
    assert seen["panel_provider_paused", "Upstream", "breaker"] == 0
    assert seen["panel_job_late", "sweep"] == 0
    assert seen["panel_job_late", "reconcile"] == 1
    assert seen["panel_job_failed", "reconcile"] == 1
    assert seen["panel_job_age_seconds", "reconcile"] == pytest.approx(3600, abs=60)
    assert ("panel_job_age_seconds", "poll_orders") not in seen


@pytest.mark.parametrize(("minutes", "is_late"), [(59, 0), (24 * 60, 1)])
def test_a_job_that_runs_for_long_is_not_late_before_it_hangs(
    client: Client, db: None, minutes: int, is_late: int
) -> None:
    now = timezone.now()
    Job.objects.create(
        name="sync_catalog",
        started_at=now - timedelta(minutes=minutes),
        lease_until=now + timedelta(seconds=9),
    )
    assert read(client)["panel_job_late", "sync_catalog"] == is_late


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded"])
def test_through_a_proxy_nobody_is_local(client: Client, db: None, header: str) -> None:
    assert client.get("/metrics", headers={header: "127.0.0.1"}).status_code == 404


def test_elsewhere_there_is_no_such_page(client: Client, db: None) -> None:
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.1").status_code == 404


def test_with_a_token_only_the_token_counts(
    client: Client, db: None, settings: LazySettings
) -> None:
    settings.METRICS_TOKEN = "t" * 32

    assert client.get("/metrics").status_code == 404
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 404
    right = {"Authorization": "Bearer " + "t" * 32, "X-Forwarded-For": "192.0.2.1"}
    assert read(client, **right)
