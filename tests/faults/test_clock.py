"""F29: a machine whose clock is an hour off harms no order; the database's clock decides."""

from datetime import datetime, timedelta, tzinfo
from types import SimpleNamespace
from typing import Any

import pytest
from django.db.models import ExpressionWrapper, F
from django.db.models.fields import DurationField
from django.db.models.functions import Now

from accounts.models import User
from catalog.models import Service
from orders import claims
from orders.fulfilment import forward, run_due, sweep
from orders.models import Attempt, Order
from orders.states import Dispatch
from orders.tests.conftest import simulator, sold
from orders.tests.worlds import assert_sound, order_of
from upstream.simulator import Simulator

__all__ = ["simulator", "sold"]

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


@pytest.fixture(params=[HOUR, -HOUR], ids=["ahead", "behind"])
def wrong_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> timedelta:
    """This process's clock, as Django reads it, is an hour off; the database's is right."""
    error: timedelta = request.param

    def now(tz: tzinfo | None = None) -> datetime:
        return datetime.now(tz) + error

    monkeypatch.setattr("django.utils.timezone.datetime", SimpleNamespace(now=now))
    return error


def sweep_here() -> Any:
    return sweep(wake=lambda _: True, ask=lambda _: True)


def lease_left(order: Order) -> timedelta:
    """By the database's clock."""
    left = ExpressionWrapper(F("lease_until") - Now(), output_field=DurationField())
    value = Order.objects.annotate(left=left).values_list("left", flat=True).get(pk=order.pk)
    assert isinstance(value, timedelta)
    return value


def test_an_order_placed_by_a_wrong_clock_is_sent_at_once_by_a_right_one(
    simulator: Simulator,
    customer: User,
    sold: Service,
    wrong_clock: timedelta,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = order_of(customer, sold)
    monkeypatch.undo()

    assert run_due() == 1

    order.refresh_from_db()
    assert order.dispatch == Dispatch.ACCEPTED
    assert_sound(simulator)


def test_a_wrong_clock_claims_for_the_same_time_and_ends_no_lease(
    simulator: Simulator, customer: User, sold: Service, wrong_clock: timedelta
) -> None:
    order = order_of(customer, sold)
    claimed = claims.claim(order.pk)
    assert claimed is not None

    assert timedelta(0) < lease_left(order) <= claims.CLAIM_LEASE
    assert sweep_here().queued == 0
    claims.mark(claimed)
    assert timedelta(0) < lease_left(order) <= claims.send_lease()
    assert sweep_here().unknown == 0


def test_attempts_tell_the_databases_time_whatever_the_worker_believes(
    simulator: Simulator, customer: User, sold: Service, wrong_clock: timedelta
) -> None:
    order = order_of(customer, sold)
    forward(order.pk)

    attempt = Attempt.objects.get(order=order)
    assert attempt.sending_at is not None
    assert timedelta(0) <= attempt.sending_at - attempt.claimed_at < timedelta(minutes=1)


def test_an_early_sweep_makes_an_order_unknown_and_never_sends_it_again(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    """Even the database's own clock may jump: then a lease ends early, and nothing is resent."""
    order = order_of(customer, sold)
    claimed = claims.claim(order.pk)
    assert claimed is not None
    claims.mark(claimed)
    Order.objects.filter(pk=order.pk).update(lease_until=F("lease_until") - HOUR)

    assert sweep_here().unknown == 1
    assert run_due() == 0

    order.refresh_from_db()
    assert order.dispatch == Dispatch.UNKNOWN
    assert simulator.world.counts.received["add"] == 0
