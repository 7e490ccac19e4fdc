"""What a provider takes from our balance, against what our orders explain."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts.models import User
from catalog.models import Provider, Service
from catalog.sync import refresh_balance
from orders.following import check_now
from orders.fulfilment import forward
from orders.models import Order, ProviderDay
from orders.reckoning import Placed, Reckoning, reckon, reckon_all, reckon_day
from orders.states import Status
from orders.tests.worlds import order_of
from upstream.simulator import Simulator

D = Decimal


def today() -> date:
    return timezone.now().astimezone(UTC).date()


def placed(status: str = Status.COMPLETED, **facts: object) -> Placed:
    usual = {"expected": D("0.5"), "reported": None, "quantity": 1000, "remains": 0}
    return Placed(**{**usual, "status": status, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("order", "due"),
    [
        (placed(), "0.5"),
        (placed(Status.IN_PROGRESS, remains=900), "0.5"),
        (placed(Status.CANCELED, remains=1000), "0"),
        (placed(Status.PARTIAL, remains=400), "0.3"),
        (placed(Status.PARTIAL, remains=-5), "0.5"),
        (placed(Status.PARTIAL, remains=5000), "0"),
        (placed(Status.PARTIAL, remains=None), "0.5"),
    ],
)
def test_what_an_order_may_cost_in_the_end(order: Placed, due: str) -> None:
    assert order.due == D(due)


def test_what_a_provider_charges_beyond_what_is_due_is_told() -> None:
    ended = [placed(reported=D("0.7")), placed(Status.CANCELED, reported=D("0.1")), placed()]

    found = reckon([], ended)

    assert found.overcharged == D("0.3")
    assert found.given_back == D("0.5")


def test_a_balance_that_was_not_read_explains_nothing() -> None:
    assert reckon([placed()], []).unexplained is None
    assert Reckoning(booked=D(3), given_back=D(1), spent=D(5)).unexplained == D(3)


@pytest.fixture
def provider(sold: Service) -> Provider:
    refresh_balance(sold.provider)
    return sold.provider


@pytest.mark.django_db(transaction=True)
def test_orders_of_every_end_explain_the_balance_to_the_last_digit(
    simulator: Simulator, provider: Provider, sold: Service, customer: User
) -> None:
    ends = {"Completed": 0, "Partial": 40, "Canceled": 100, "In progress": 70}
    for status, remains in ends.items():
        order = order_of(customer, sold)
        forward(order.pk)
        order.refresh_from_db()
        simulator.world.force(order.upstream_id, status=status, remains=remains)
        check_now(order.pk)
    refresh_balance(provider)

    found = reckon_day(provider, today())

    assert found.booked == D("0.4")
    assert found.given_back == D("0.14")
    assert found.overcharged == 0
    assert found.spent == D("0.26")
    assert found.unexplained == 0


@pytest.mark.django_db(transaction=True)
def test_what_someone_else_orders_on_the_account_is_shown_in_money(
    simulator: Simulator, provider: Provider, sold: Service, customer: User
) -> None:
    forward(order_of(customer, sold).pk)
    simulator.world.place_by_hand("1", link="https://example.com/by-hand", quantity="5000")
    refresh_balance(provider)

    assert reckon_all(timezone.now()) == 1
    assert ProviderDay.objects.get(provider=provider, day=today()).unexplained == 5


@pytest.mark.django_db(transaction=True)
def test_days_are_kept_apart_and_written_once(
    provider: Provider, sold: Service, customer: User
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    order = order_of(customer, sold)
    forward(order.pk)
    Order.objects.filter(pk=order.pk).update(sent_at=yesterday)
    reckon_all(timezone.now())
    reckon_all(timezone.now())

    assert reckon_day(provider, yesterday.date()).booked == D("0.1")
    assert reckon_day(provider, today()).booked == 0
    assert ProviderDay.objects.filter(provider=provider).count() == 4
