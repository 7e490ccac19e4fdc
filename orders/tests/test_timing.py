"""Typical times: from our own completed orders, and only when there are enough."""

import copy
import datetime as dt
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from catalog.models import Service
from orders.models import Event, Order, ServiceTimes
from orders.states import Dispatch, Status
from orders.templatetags.orders import duration
from orders.timing import NEWEST, measure, stuck, typical_seconds

NOW = timezone.now()
MINUTE = dt.timedelta(minutes=1)


def completed(
    customer: User, service: Service, minutes: int, *, begun: int | None = None, **fields: object
) -> Order:
    values: dict[str, object] = {
        "customer": customer,
        "service": service,
        "provider": service.provider,
        "order_type": "default",
        "quantity": 100,
        "price_rate": 2,
        "charge": 1,
        "cost": 1,
        "exchange_rate": 1,
        "expected_charge": 1,
        "dispatch": Dispatch.ACCEPTED,
        "upstream_id": uuid.uuid4().hex,
        "status": Status.COMPLETED,
        "created_at": NOW - dt.timedelta(days=1),
        "finished_at": NOW - dt.timedelta(days=1) + minutes * MINUTE,
    }
    order = Order.objects.create(**(values | fields))
    if begun is not None:
        at = order.created_at + begun * MINUTE
        Event.objects.create(order=order, code="status", values={"status": "in_progress"}, at=at)
    return order


def test_below_ten_nothing_is_said() -> None:
    assert typical_seconds([MINUTE] * 9) is None
    assert typical_seconds([MINUTE] * 9 + [MINUTE * 9999]) == 60


def test_times_are_the_medians_of_completed_orders(customer: User, service: Service) -> None:
    for minutes in range(1, 12):
        completed(customer, service, minutes * 10, begun=minutes)
    canceled = completed(customer, service, 9999)
    Order.objects.filter(pk=canceled.pk).update(status=Status.PARTIAL)
    completed(customer, service, 9999, parameters={"runs": "5"})
    completed(customer, service, 9999, order_type="subscriptions")
    completed(
        customer, service, 9999, created_at=NOW - dt.timedelta(days=200),
        finished_at=NOW - dt.timedelta(days=100),
    )  # fmt: skip

    assert measure(NOW) == 1

    times = ServiceTimes.objects.get(service=service)
    assert (times.finish_seconds, times.finish_sample) == (3600, 11)
    assert (times.start_seconds, times.start_sample) == (360, 11)


def test_figures_are_renewed_and_go_when_they_are_too_old(customer: User, service: Service) -> None:
    for _ in range(10):
        completed(customer, service, 10)
    measure(NOW)
    assert ServiceTimes.objects.get().start_seconds is None
    measure(NOW)
    assert ServiceTimes.objects.count() == 1

    measure(NOW + dt.timedelta(days=100))

    assert not ServiceTimes.objects.exists()


def test_the_form_shows_them_with_their_sample(
    client: Client, customer: User, service: Service
) -> None:
    client.force_login(customer)
    address = f"/orders/new/?service={service.pk}"
    assert "Typically done" not in client.get(address).content.decode()
    for _ in range(12):
        completed(customer, service, 180)
    measure(NOW)

    page = client.get(address).content.decode()

    assert "3 hours" in page
    assert "of 12 orders" in page
    assert "Typical start" not in page


def test_only_the_newest_orders_of_each_service_speak_in_one_query(
    customer: User, service: Service
) -> None:
    other = Service.objects.create(
        provider=service.provider, category=service.category, upstream_id="2", name="Slow",
        type="Default", order_type="default", cost_rate=1, price_rate=2, min_quantity=1,
        max_quantity=100,
    )  # fmt: skip
    for minutes, sold, count in ((9999, service, 60), (30, other, 20), (5, service, NEWEST)):
        one = completed(customer, sold, minutes)
        one.sent_at = one.created_at + MINUTE
        one.save(update_fields=["sent_at"])
        copies = [copy.copy(one) for _ in range(count - 1)]
        for each in copies:
            each.pk, each.upstream_id, each.client_token = None, uuid.uuid4().hex, uuid.uuid4()
        Order.objects.bulk_create(copies)

    with CaptureQueriesContext(connection) as queries:
        assert measure(NOW) == 2

    assert len([each for each in queries if "orders_order" in each["sql"]]) == 1
    times = service.times
    assert (times.finish_sample, times.finish_seconds) == (NEWEST, 300)
    assert times.delivery_p95 == 4 * MINUTE
    assert other.times.finish_sample == 20


def test_a_drip_feed_is_not_stuck_because_its_buyer_wants_it_slow(
    customer: User, service: Service
) -> None:
    ServiceTimes.objects.create(service=service, delivery_p95=MINUTE)
    slow: dict[str, Any] = {
        "status": Status.IN_PROGRESS,
        "finished_at": None,
        "sent_at": NOW - 5 * MINUTE,
    }
    late = completed(customer, service, 0, **slow)
    completed(customer, service, 0, **slow, parameters={"runs": "5"})
    completed(customer, service, 0, **slow, order_type="subscriptions")
    completed(customer, service, 0, **{**slow, "sent_at": NOW})

    assert list(stuck(NOW)) == [late]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1, "1 minute"),
        (600, "10 minutes"),
        (5400, "2 hours"),
        (3600, "1 hour"),
        (400_000, "5 days"),
    ],
)
def test_a_time_is_said_in_its_unit(seconds: int, said: str) -> None:
    assert duration(seconds) == said
