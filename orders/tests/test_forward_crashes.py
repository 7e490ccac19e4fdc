"""A worker that dies or halts at any point places no order twice and loses none.

The workers are processes of their own; they end by `os._exit` or are halted by SIGSTOP.
"""

import time

import pytest
from django.conf import settings

from accounts.models import User
from catalog.models import Service
from orders import claims
from orders.fulfilment import forward, run_due, sweep
from orders.models import Attempt, Order
from orders.states import Dispatch, Outcome
from orders.tests.processes import Workers, go_on, wait_until, wait_until_halted
from orders.tests.worker import CRASHED, POINTS
from orders.tests.worlds import assert_sound, expire_lease, make_due, order_of, placed_on
from upstream.simulator import Simulator

# Seconds that a halted worker had for its request.
DEADLINE = 4
Q, U, A = Dispatch.QUEUED, Dispatch.UNKNOWN, Dispatch.ACCEPTED


def sweep_here() -> None:
    sweep(wake=lambda _: True, ask=lambda _: True)


def outcomes(order: Order) -> list[str]:
    return list(order.attempts.values_list("outcome", flat=True))


@pytest.mark.parametrize(
    ("point", "left", "settled", "placed"),
    [
        ("before_claim_commits", Q, A, 1),  # F01
        ("after_claim", Dispatch.CLAIMED, A, 1),  # F02
        ("before_mark", Dispatch.CLAIMED, A, 1),  # F03
        ("after_mark", Dispatch.SENDING, U, 0),  # F04
        ("after_send", Dispatch.SENDING, U, 1),  # F05
        ("after_answer", Dispatch.SENDING, U, 1),  # F06
        ("before_verdict", Dispatch.SENDING, U, 1),
        ("in_verdict", Dispatch.SENDING, U, 1),
        ("after_verdict", A, A, 1),
    ],
)
def test_a_crash_leaves_an_order_that_is_sent_once_or_never_again(
    crew: Workers,
    simulator: Simulator,
    customer: User,
    sold: Service,
    point: str,
    left: Dispatch,
    settled: Dispatch,
    placed: int,
) -> None:
    order = order_of(customer, sold)

    assert crew.run("forward", str(order.pk), stop_at=point) == CRASHED

    order.refresh_from_db()
    assert order.dispatch == left
    assert order.attempt_no == (0 if point == "before_claim_commits" else 1)
    if point == "before_mark":
        assert simulator.world.counts.connections == 1
        wait_until(lambda: simulator.world.counts.silent == 1)  # and not a byte came on it
    if placed:
        wait_until(
            lambda: left in {Q, Dispatch.CLAIMED} or len(placed_on(simulator, order.link)) == 1
        )

    for _ in range(3):
        expire_lease(order)
        sweep_here()
        make_due(order)
        forward(order.pk)
        run_due()
    order.refresh_from_db()
    assert order.dispatch == settled
    assert len(placed_on(simulator, order.link)) == placed
    assert simulator.world.counts.received["add"] == placed
    assert_sound(simulator)


def test_every_point_is_tried() -> None:
    marks = test_a_crash_leaves_an_order_that_is_sent_once_or_never_again.pytestmark  # type: ignore[attr-defined]
    rows = next(mark for mark in marks if mark.name == "parametrize").args[1]

    assert tuple(row[0] for row in rows) == POINTS


def test_a_claim_that_was_lost_is_claimed_again_with_the_next_number(
    crew: Workers, simulator: Simulator, customer: User, sold: Service
) -> None:
    """F02: attempt 2, after at most the lease and one sweep."""
    order = order_of(customer, sold)
    crew.run("forward", str(order.pk), stop_at="after_claim")
    sweep_here()
    order.refresh_from_db()
    assert order.dispatch == Dispatch.CLAIMED  # its lease is not over

    expire_lease(order)
    sweep_here()
    forward(order.pk)

    assert outcomes(order) == [Outcome.NOT_SENT, Outcome.ACCEPTED]


def test_a_worker_halted_before_the_mark_sends_nothing_when_it_goes_on(
    crew: Workers, simulator: Simulator, customer: User, sold: Service
) -> None:
    """F07: another worker has placed the order meanwhile."""
    order = order_of(customer, sold)
    worker = crew.start("forward", str(order.pk), stop_at="before_mark", stop_how="stop")
    wait_until_halted(worker)
    expire_lease(order)
    sweep_here()
    forward(order.pk)

    assert go_on(worker) == 0

    order.refresh_from_db()
    assert order.dispatch == A
    assert outcomes(order) == [Outcome.NOT_SENT, Outcome.ACCEPTED]
    assert simulator.world.counts.received["add"] == 1
    assert_sound(simulator)


def test_a_worker_halted_before_the_mark_sends_nothing_of_a_withdrawn_order(
    crew: Workers, simulator: Simulator, customer: User, sold: Service
) -> None:
    order = order_of(customer, sold)
    worker = crew.start("forward", str(order.pk), stop_at="before_mark", stop_how="stop")
    wait_until_halted(worker)
    assert crew.run("withdraw", str(order.pk)) == 0

    assert go_on(worker) == 0

    order.refresh_from_db()
    assert order.dispatch == Dispatch.WITHDRAWN
    assert simulator.world.counts.received["add"] == 0
    assert_sound(simulator)


@pytest.mark.parametrize("swept", [False, True])
def test_a_worker_halted_after_the_mark_beyond_its_deadline_sends_nothing(
    crew: Workers, simulator: Simulator, customer: User, sold: Service, swept: bool
) -> None:
    """F08: its own proof that nothing was sent brings the order back, out of unknown too."""
    order = order_of(customer, sold)
    crew.environment["UPSTREAM_TOTAL_TIMEOUT"] = str(DEADLINE)
    worker = crew.start("forward", str(order.pk), stop_at="after_mark", stop_how="stop")
    wait_until_halted(worker)
    halted = time.monotonic()
    if swept:
        expire_lease(order)
        sweep_here()
        order.refresh_from_db()
        assert order.dispatch == U
    wait_until(lambda: time.monotonic() > halted + DEADLINE + 0.1)

    assert go_on(worker) == 0

    order.refresh_from_db()
    assert (order.dispatch, order.waiting_for) == (Q, "not_sent")
    attempt = Attempt.objects.get(order=order)
    assert (attempt.outcome, attempt.is_late) == (Outcome.NOT_SENT, swept)
    assert simulator.world.counts.received["add"] == 0
    make_due(order)
    forward(order.pk)
    assert_sound(simulator)
    assert len(placed_on(simulator, order.link)) == 1


def test_a_halted_worker_leaves_alone_what_staff_settled_meanwhile(
    crew: Workers, simulator: Simulator, customer: User, sold: Service
) -> None:
    """F08, second half."""
    order = order_of(customer, sold)
    crew.environment["UPSTREAM_TOTAL_TIMEOUT"] = str(DEADLINE)
    worker = crew.start("forward", str(order.pk), stop_at="after_mark", stop_how="stop")
    wait_until_halted(worker)
    halted = time.monotonic()
    Order.objects.filter(pk=order.pk).update(
        dispatch=A, upstream_id="bound-by-staff", lease_until=None
    )
    wait_until(lambda: time.monotonic() > halted + DEADLINE + 0.1)

    go_on(worker)

    order.refresh_from_db()
    assert (order.dispatch, order.upstream_id) == (A, "bound-by-staff")
    assert simulator.world.counts.received["add"] == 0


def test_an_answer_after_the_sweep_still_settles_the_order(
    crew: Workers, simulator: Simulator, customer: User, sold: Service
) -> None:
    """F09."""
    order = order_of(customer, sold)
    worker = crew.start("forward", str(order.pk), stop_at="after_answer", stop_how="stop")
    wait_until_halted(worker)
    expire_lease(order)
    sweep_here()
    order.refresh_from_db()
    assert (order.dispatch, order.attention) == (U, "unknown")

    go_on(worker)

    order.refresh_from_db()
    assert (order.dispatch, order.attention) == (A, "")
    attempt = Attempt.objects.get(order=order)
    assert (attempt.outcome, attempt.is_late) == (Outcome.ACCEPTED, True)
    assert_sound(simulator)


def test_leases_are_longer_than_any_exchange_can_take() -> None:
    assert claims.send_lease().total_seconds() > settings.UPSTREAM_TOTAL_TIMEOUT + 20
