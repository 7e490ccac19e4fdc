"""Answers that come too late, second sends that must not happen, and what the guards are for.

A test whose name says "without" takes a guard away and shows the harm that the guard prevents.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from catalog.models import Service
from orders import claims, fulfilment
from orders.fulfilment import forward, run_due, sweep
from orders.models import Attempt, Order
from orders.money import lock_order, refund_order
from orders.states import Dispatch, Outcome, Status
from orders.tests.worlds import (
    assert_sound,
    balance_of,
    expire_lease,
    make_due,
    order_of,
    placed_on,
)
from orders.timeline import Code
from upstream.simulator import Simulator

pytestmark = pytest.mark.django_db(transaction=True)


def sweep_here() -> None:
    sweep(wake=lambda _: True, ask=lambda _: True)


@contextmanager
def at(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, happening: Callable[[], None]
) -> Iterator[None]:
    """Let something happen right before a function of the worker runs, once."""
    function = getattr(module, name)
    due = [happening]

    def interrupted(*args: Any, **options: Any) -> Any:
        if due:
            due.pop()()
        return function(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, interrupted)
        yield
    assert not due


def lose_the_lease(order: Order) -> None:
    expire_lease(order)
    sweep_here()


def refund_by_staff(order: Order) -> None:
    with transaction.atomic():
        locked = lock_order(order.pk)
        refund_order(locked, amount=order.charge, reference=f"by-hand-{order.pk}")
        locked.order.dispatch, locked.order.status = Dispatch.REJECTED, Status.CANCELED
        locked.order.finished_at = timezone.now()
        locked.order.save()


def release_by_staff(order: Order) -> None:
    Attempt.objects.filter(order=order).update(outcome=Outcome.ABSENT)
    Order.objects.filter(pk=order.pk).update(dispatch=Dispatch.QUEUED)
    make_due(order)


def test_an_acceptance_after_staff_refunded_moves_no_money_and_alerts(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F10."""
    order = order_of(customer, sold)

    def meanwhile() -> None:
        lose_the_lease(order)
        refund_by_staff(order)

    with at(monkeypatch, fulfilment, "write_verdict", meanwhile):
        forward(order.pk)

    order.refresh_from_db()
    assert (order.dispatch, order.status) == (Dispatch.REJECTED, Status.CANCELED)
    assert order.attention == "placed_after_refund"
    attempt = Attempt.objects.get(order=order)
    assert [attempt.upstream_id] == placed_on(simulator, order.link)
    assert (attempt.is_late, attempt.outcome) == (True, Outcome.UNKNOWN)
    assert balance_of(customer) == 10
    assert order.events.filter(code=Code.LATE_ANSWER).count() == 1


def test_an_acceptance_after_staff_released_the_order_stops_the_second_send(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_of(customer, sold)

    def meanwhile() -> None:
        lose_the_lease(order)
        release_by_staff(order)

    with at(monkeypatch, fulfilment, "write_verdict", meanwhile):
        forward(order.pk)

    run_due()
    order.refresh_from_db()
    assert order.dispatch == Dispatch.ACCEPTED
    assert Attempt.objects.get(order=order).is_late
    assert_sound(simulator)


def test_an_acceptance_while_the_next_attempt_connects_takes_its_claim_away(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_of(customer, sold)
    lost: list[partial[None]] = []
    real = fulfilment.write_verdict
    with monkeypatch.context() as patch:
        patch.setattr(fulfilment, "write_verdict", lambda *told: lost.append(partial(real, *told)))
        forward(order.pk)  # its answer is still on the way to the database
    lose_the_lease(order)
    release_by_staff(order)

    with at(monkeypatch, claims, "mark", lost[0]):
        forward(order.pk)

    order.refresh_from_db()
    assert order.dispatch == Dispatch.ACCEPTED
    outcomes = list(order.attempts.values_list("outcome", flat=True))
    assert outcomes == [Outcome.ACCEPTED, Outcome.NOT_SENT]
    assert_sound(simulator)


def test_an_acceptance_after_a_second_send_is_kept_and_shown(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Staff took the risk and released it; both were placed, and nothing hides that."""
    order = order_of(customer, sold)

    def meanwhile() -> None:
        lose_the_lease(order)
        release_by_staff(order)
        forward(order.pk)

    with at(monkeypatch, fulfilment, "write_verdict", meanwhile):
        forward(order.pk)

    order.refresh_from_db()
    first, second = order.attempts.all()
    assert (order.dispatch, order.attention) == (Dispatch.ACCEPTED, "placed_again")
    assert order.upstream_id == second.upstream_id
    assert sorted([first.upstream_id, second.upstream_id]) == placed_on(simulator, order.link)


def test_a_refusal_that_comes_late_still_refunds_once(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_of(customer, sold)
    simulator.world.break_with("add", "error", text="Bad link")

    with at(monkeypatch, fulfilment, "write_verdict", partial(lose_the_lease, order)):
        forward(order.pk)

    order.refresh_from_db()
    assert order.dispatch == Dispatch.REJECTED
    assert_sound(simulator)


def test_a_refusal_after_staff_refunded_pays_nothing_more(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_of(customer, sold)
    simulator.world.break_with("add", "error", text="Bad link")

    def meanwhile() -> None:
        lose_the_lease(order)
        refund_by_staff(order)

    with at(monkeypatch, fulfilment, "write_verdict", meanwhile):
        forward(order.pk)

    order.refresh_from_db()
    assert (order.refunded, order.attention) == (order.charge, "unknown")
    assert balance_of(customer) == 10
    assert_sound(simulator)


def requeue_by_mistake(order: Order) -> None:
    """What a careless hand in SQL, or a bug, does to an order whose answer was lost."""
    Order.objects.filter(pk=order.pk).update(dispatch=Dispatch.QUEUED)
    make_due(order)


def test_an_order_queued_again_by_mistake_is_stopped_at_the_mark(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    """F12."""
    order = order_of(customer, sold)
    simulator.world.break_with("add", "lost_after")
    forward(order.pk)
    for _ in range(2):
        requeue_by_mistake(order)
        forward(order.pk)

    order.refresh_from_db()
    assert (order.dispatch, order.attention) == (Dispatch.UNKNOWN, "resend_refused")
    assert simulator.world.counts.received["add"] == 1
    outcomes = list(order.attempts.values_list("outcome", flat=True))
    assert outcomes == [Outcome.UNKNOWN, Outcome.NOT_SENT, Outcome.NOT_SENT]
    assert_sound(simulator)


@contextmanager
def without_unique_attempts() -> Iterator[None]:
    """Drop the index that allows one attempt which may have reached the provider."""
    guard = next(
        each for each in Attempt._meta.constraints if each.name == "attempt_one_may_have_reached"
    )
    with connection.schema_editor() as editor:
        editor.remove_constraint(Attempt, guard)
    try:
        yield
    finally:
        # Rows that the missing guard let in would keep it from coming back.
        Attempt.objects.update(outcome=Outcome.NOT_SENT)
        with connection.schema_editor() as editor:
            editor.add_constraint(Attempt, guard)


def test_without_the_index_a_mistake_places_the_order_twice(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    """F13, twin of F12."""
    order = order_of(customer, sold)
    simulator.world.break_with("add", "lost_after")
    forward(order.pk)
    with without_unique_attempts():
        requeue_by_mistake(order)
        forward(order.pk)

        assert len(placed_on(simulator, order.link)) == 2


def mark_without_fence(claimed: claims.Claim) -> None:
    Order.objects.filter(pk=claimed.order_id).update(
        dispatch=Dispatch.SENDING, lease_until=timezone.now() + timedelta(seconds=60)
    )


def pass_to_another_worker(order: Order) -> None:
    lose_the_lease(order)
    forward(order.pk)


def test_a_worker_whose_claim_went_on_without_it_sends_nothing(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F07 without processes."""
    order = order_of(customer, sold)

    with at(monkeypatch, claims, "mark", partial(pass_to_another_worker, order)):
        forward(order.pk)

    outcomes = list(order.attempts.values_list("outcome", flat=True))
    assert outcomes == [Outcome.NOT_SENT, Outcome.ACCEPTED]
    assert simulator.world.counts.received["add"] == 1
    assert_sound(simulator)


def test_without_the_fence_two_workers_place_the_order_twice(
    simulator: Simulator,
    customer: User,
    sold: Service,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> None:
    """F13, twin of F07; the first worker's deadline must outlast the second on a busy machine."""
    settings.UPSTREAM_READ_TIMEOUT = settings.UPSTREAM_TOTAL_TIMEOUT = Decimal(20)
    order = order_of(customer, sold)
    due = [partial(pass_to_another_worker, order)]

    def unfenced(claimed: claims.Claim) -> None:
        if due:
            due.pop()()
        mark_without_fence(claimed)

    monkeypatch.setattr(claims, "mark", unfenced)
    forward(order.pk)

    assert len(placed_on(simulator, order.link)) == 2


def test_without_unknown_a_lost_answer_is_placed_again(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F13, twin of F05: a sweep that queues marked orders again, as common rescuers do."""
    order = order_of(customer, sold)
    monkeypatch.setattr(fulfilment, "write_verdict", lambda *_: None)  # the worker dies here
    forward(order.pk)
    monkeypatch.undo()

    def rescue() -> None:
        Order.objects.update(dispatch=Dispatch.QUEUED, lease_until=None)
        Attempt.objects.update(outcome=Outcome.NOT_SENT)

    rescue()
    make_due(order)
    run_due()

    assert len(placed_on(simulator, order.link)) == 2


def test_a_verdict_is_written_when_the_database_comes_back(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F30."""
    order = order_of(customer, sold)
    real, failures = fulfilment.write_verdict, [OperationalError("database is locked")] * 4

    def failing(*told: Any) -> None:
        if failures:
            raise failures.pop()
        real(*told)

    monkeypatch.setattr(fulfilment, "write_verdict", failing)
    monkeypatch.setattr(fulfilment, "VERDICT_RETRIES", (0.0,) * 4)
    forward(order.pk)

    order.refresh_from_db()
    assert order.dispatch == Dispatch.ACCEPTED
    assert_sound(simulator)


def test_a_verdict_that_can_not_be_written_is_left_to_the_lease(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F30: tried five times, then unknown; never sent again."""
    order = order_of(customer, sold)
    tries = []

    def failing(*told: Any) -> None:
        tries.append(told)
        raise OperationalError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(fulfilment, "write_verdict", failing)
        patch.setattr(fulfilment, "VERDICT_RETRIES", (0.0,) * 4)
        forward(order.pk)

    assert len(tries) == 5
    order.refresh_from_db()
    assert order.dispatch == Dispatch.SENDING
    lose_the_lease(order)
    run_due()
    order.refresh_from_db()
    assert order.dispatch == Dispatch.UNKNOWN
    assert_sound(simulator)


def test_a_verdict_written_twice_changes_nothing_the_second_time(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit went through and its confirmation was lost."""
    for fault in ["", "Bad link", "Not enough funds", "who knows"]:
        order = order_of(customer, sold)
        if fault:
            simulator.world.break_with("add", "error", text=fault)
        real = fulfilment.write_verdict

        def twice(*told: Any, real: Callable[..., None] = real) -> None:
            real(*told)
            real(*told)

        with monkeypatch.context() as patch:
            patch.setattr(fulfilment, "write_verdict", twice)
            forward(order.pk)

        codes = list(order.events.values_list("code", flat=True))
        assert len(codes) == len(set(codes)), codes
        assert not order.attempts.filter(is_late=True).exists()
    assert_sound(simulator)


def test_a_mark_that_fails_in_the_database_sends_nothing(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_of(customer, sold)

    def failing(_claimed: claims.Claim) -> None:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(claims, "_mark", failing)
    forward(order.pk)

    order.refresh_from_db()
    assert (order.dispatch, order.waiting_for) == (Dispatch.QUEUED, "not_sent")
    assert simulator.world.counts.received["add"] == 0
    assert_sound(simulator)


def test_a_mark_whose_commit_is_in_doubt_sends_nothing_and_comes_back(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_of(customer, sold)
    real = claims.mark

    def in_doubt(claimed: claims.Claim) -> None:
        real(claimed)
        raise OperationalError("connection lost while committing")

    with monkeypatch.context() as patch:
        patch.setattr(claims, "mark", in_doubt)
        forward(order.pk)

    order.refresh_from_db()
    assert order.dispatch == Dispatch.QUEUED
    assert simulator.world.counts.received["add"] == 0
    make_due(order)
    forward(order.pk)
    assert_sound(simulator)
    assert len(placed_on(simulator, order.link)) == 1


def test_a_gate_that_can_not_be_written_does_not_cost_the_verdict(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_of(customer, sold)
    simulator.world.break_with("add", "error", text="Bad link")

    def failing(*_: Any) -> None:
        raise OperationalError("lock timeout")

    monkeypatch.setattr("orders.gates.note", failing)
    monkeypatch.setattr("orders.gates.View.is_clean", False)
    forward(order.pk)

    order.refresh_from_db()
    assert order.dispatch == Dispatch.REJECTED


def test_the_database_refuses_acceptance_without_an_id(customer: User, sold: Service) -> None:
    order = order_of(customer, sold)

    with pytest.raises(DatabaseError), transaction.atomic():
        Order.objects.filter(pk=order.pk).update(dispatch=Dispatch.ACCEPTED)
    order.refresh_from_db()
    assert (order.dispatch, order.charge) == (Dispatch.QUEUED, Decimal("0.2"))
