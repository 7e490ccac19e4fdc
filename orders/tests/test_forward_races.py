"""Many workers at once, on PostgreSQL: one attempt each, and no more under way than allowed."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from catalog.models import Service
from orders import claims, fulfilment, gates
from orders.fulfilment import forward, run_due, sweep
from orders.models import Attempt, Order
from orders.services import withdraw
from orders.states import Dispatch, Status
from orders.tests.races import at_once
from orders.tests.worlds import assert_sound, balance_of, make_due, order_of, placed_on
from upstream.simulator import Simulator
from wallet.services import top_up

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _patience(simulator: Simulator, settings: Settings) -> None:
    """A crowd on two cores needs time; and ten orders in flight do not wait for each other."""
    settings.UPSTREAM_CONNECT_TIMEOUT = Decimal(10)
    settings.UPSTREAM_READ_TIMEOUT = Decimal(10)
    settings.UPSTREAM_TOTAL_TIMEOUT = Decimal(12)


def test_eight_workers_on_one_order_make_one_attempt(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    """F11: 30 rounds."""
    for _ in range(30):
        order = order_of(customer, sold)
        results = at_once([partial(forward, order.pk)] * 8)

        assert results == [None] * 8
        assert order.attempts.count() == 1
    assert simulator.world.counts.received["add"] == 30
    assert Order.objects.filter(dispatch=Dispatch.ACCEPTED).count() == 30
    assert_sound(simulator)


def claim_without_condition(order_id: int) -> claims.Claim | None:
    """A claim as it is often written: look first, write then."""
    order = Order.objects.select_related("provider", "service").get(pk=order_id)
    if order.dispatch != Dispatch.QUEUED:
        return None
    Order.objects.filter(pk=order_id).update(
        dispatch=Dispatch.CLAIMED,
        attempt_no=F("attempt_no") + 1,
        lease_until=timezone.now() + timedelta(seconds=20),
    )
    attempt = Attempt.objects.create(order=order, number=100 + threading.get_ident() % 10**6)
    return claims.Claim(
        order_id=order.pk,
        attempt_id=attempt.pk,
        attempt_no=attempt.number,
        provider=order.provider,
        service_id=order.service_id,
        upstream_service=order.service.upstream_id,
        parameters=order.parameters,
        waited_for="",
        gate_was_clean=True,
    )


def test_without_the_conditional_claim_several_workers_send_the_order(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F13, twin of F11: claim and mark without their conditions."""
    monkeypatch.setattr(claims, "claim", claim_without_condition)
    monkeypatch.setattr(claims, "mark", lambda _: None)
    harmed = 0
    for _ in range(10):
        order = order_of(customer, sold)
        at_once([partial(forward, order.pk)] * 8)
        harmed += len(placed_on(simulator, order.link)) > 1

    assert harmed


def test_workers_share_a_queue_without_meeting(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    for _ in range(40):
        order_of(customer, sold)

    at_once([run_due] * 6)
    run_due()

    assert Attempt.objects.count() == 40
    assert Order.objects.filter(dispatch=Dispatch.ACCEPTED).count() == 40
    assert_sound(simulator)


@contextmanager
def counting_flights(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Note how many orders are under way whenever one is claimed."""
    seen: list[int] = []
    real = claims.mark

    def counting(claimed: claims.Claim) -> None:
        seen.append(len(gates.in_flight(claimed.provider.pk)))
        real(claimed)

    with monkeypatch.context() as patch:
        patch.setattr(claims, "mark", counting)
        yield seen


def crowd(customer: User, sold: Service, simulator: Simulator) -> list[Callable[[], None]]:
    gate = gates.gate_of(sold.provider_id)
    gate.max_in_flight = 2
    gate.save()
    simulator.world.change(latency_ms=30.0)
    orders = [order_of(customer, sold) for _ in range(24)]
    return [partial(forward, order.pk) for order in orders]


def test_never_more_orders_are_under_way_than_the_gate_allows(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with counting_flights(monkeypatch) as seen:
        at_once(crowd(customer, sold, simulator))

    assert max(seen) == 2
    assert_sound(simulator)


def test_without_the_gates_lock_a_crowd_overshoots(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: the same count without the lock."""

    def unlocked(provider_id: int) -> gates.Held:
        return gates.Held(gate=gates.gate_of(provider_id), now=timezone.now())

    actions = crowd(customer, sold, simulator)
    monkeypatch.setattr(gates, "lock_gate", unlocked)
    with counting_flights(monkeypatch) as seen:
        at_once(actions)

    assert max(seen) > 2


def test_orders_of_one_link_go_one_after_the_other(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.world.change(latency_ms=30.0)
    orders = [order_of(customer, sold, link="https://example.com/one") for _ in range(8)]

    with counting_flights(monkeypatch) as seen:
        at_once([partial(forward, order.pk) for order in orders])

    assert max(seen) == 1


def test_an_outage_is_bounded_by_two_and_those_in_flight(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    """F22 with eight workers and 200 orders."""
    top_up(user=customer, amount=Decimal(100))
    for _ in range(200):
        order_of(customer, sold)
    simulator.world.break_with("add", "lost_after", times=None)

    at_once([run_due] * 8)

    unknown = Order.objects.filter(dispatch=Dispatch.UNKNOWN).count()
    assert 2 <= unknown <= 2 + gates.gate_of(sold.provider_id).max_in_flight
    assert Order.objects.filter(dispatch=Dispatch.QUEUED).count() == 200 - unknown


def take_back(order: Order, customer: User, *, seconds: float) -> bool:
    time.sleep(seconds)
    return withdraw(order.pk, actor=customer)


def test_a_customer_and_a_worker_never_both_win(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    withdrawn, seconds = 0, 0.001
    for _ in range(40):
        order = order_of(customer, sold)
        # Whoever won gets the worse start of the next round, so that they meet at the mark.
        actions: list[Callable[[], Any]] = [
            partial(forward, order.pk),
            partial(take_back, order, customer, seconds=seconds),
        ]
        results = at_once(actions)
        assert not [found for found in results if isinstance(found, Exception)]

        order.refresh_from_db()
        placements = placed_on(simulator, order.link)
        if order.dispatch == Dispatch.WITHDRAWN:
            withdrawn, seconds = withdrawn + 1, seconds * 1.5
            assert placements == []
        else:
            seconds /= 2
            assert order.dispatch == Dispatch.ACCEPTED
            assert len(placements) == 1
            assert order.refunded == 0
    assert 0 < withdrawn < 40  # else it was no race
    assert_sound(simulator)


def test_without_the_mark_a_withdrawn_order_is_placed(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: the customer takes the order back between claim and send."""
    order = order_of(customer, sold)
    monkeypatch.setattr(claims, "mark", lambda _: withdraw(order.pk, actor=customer))

    forward(order.pk)

    order.refresh_from_db()
    assert order.status == Status.CANCELED
    assert balance_of(customer) == 10
    assert len(placed_on(simulator, order.link)) == 1


def test_sweeps_and_workers_at_once_lose_nothing(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    for _ in range(20):
        order_of(customer, sold)
    simulator.world.break_with("add", "error", text="Too many requests", times=3)
    sweeping = partial(sweep, wake=lambda _: True, ask=lambda _: True)

    actions: list[Callable[[], Any]] = [run_due, sweeping] * 3
    results = at_once(actions)

    assert not [found for found in results if isinstance(found, Exception)]
    gates.resume(sold.provider_id)
    make_due(Order.objects.filter(dispatch=Dispatch.QUEUED))
    run_due()
    assert Order.objects.filter(dispatch=Dispatch.ACCEPTED).count() == 20
    assert_sound(simulator)


def test_a_lost_verdict_write_is_no_deadlock(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    """Refusals lock account, order and attempt while others place and withdraw: all in one order."""
    orders = [order_of(customer, sold) for _ in range(12)]
    simulator.world.break_with("add", "error", text="Bad link", times=None)
    actions: list[Callable[[], Any]] = [partial(forward, order.pk) for order in orders[:6]]
    actions += [partial(withdraw, order.pk, actor=customer) for order in orders[6:]]
    actions += [partial(order_of, customer, sold) for _ in range(4)]

    results = at_once(actions)

    assert not [found for found in results if isinstance(found, Exception)]
    assert fulfilment.run_due() == 4
    assert balance_of(customer) == 10
    assert_sound(simulator)
