"""Lost answers are found through the real client at a simulated provider."""

import pytest

from accounts.models import User
from catalog.models import Service
from orders import reconcile
from orders.models import Attempt, Event, Order, Scan
from orders.states import Dispatch, Outcome, Status
from orders.tests.lost_orders import (
    allow_search,
    history,
    look,
    lose,
    pass_time,
    placed,
    true_id,
)
from orders.tests.worlds import assert_sound, balance_of
from upstream.simulator import Simulator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def busy(simulator: Simulator) -> Simulator:
    """The simulated provider with other customers, who take up to 40 IDs around each of ours."""
    simulator.world.change(neighbours_per_order=40)
    return simulator


def test_ten_lost_after_and_ten_lost_before_are_all_found_out_and_none_wrongly(
    busy: Simulator, customer: User, sold: Service
) -> None:
    history(customer, sold)
    orders = []
    for number in range(10):
        orders.append(lose(busy, customer, sold, 100 + number))
        placed(customer, sold, 60)
        orders.append(lose(busy, customer, sold, 200 + number, kind="lost_before"))
        placed(customer, sold, 60)
    pass_time(320)
    for _ in range(3):
        placed(customer, sold, 60)
    pass_time(320)

    report = look(40)

    assert report.placed == 10
    assert report.absent == 10
    for order in orders:
        order.refresh_from_db()
        truth = true_id(busy, order)
        if truth is None:
            assert order.dispatch == Dispatch.UNKNOWN
            assert order.attention == "absent"
        else:
            assert order.dispatch == Dispatch.ACCEPTED
            assert order.upstream_id == truth
            assert order.next_poll_at is not None
            assert order.attention == ""
    assert_sound(busy)
    scan = Scan.objects.get()
    assert scan.canary == Scan.Canary.PASSED
    assert scan.review_until is None


def test_a_found_order_is_accepted_by_its_attempt_and_the_timeline_says_so(
    busy: Simulator, customer: User, sold: Service
) -> None:
    history(customer, sold)
    order = lose(busy, customer, sold, 777)
    pass_time(310)
    placed(customer, sold)
    before = balance_of(customer)

    look(3)

    order.refresh_from_db()
    attempt = Attempt.objects.get(order=order)
    assert order.dispatch == Dispatch.ACCEPTED
    assert attempt.outcome == Outcome.ACCEPTED
    assert attempt.upstream_id == order.upstream_id == true_id(busy, order)
    found = Event.objects.get(order=order, code="found")
    assert found.values["upstream_id"] == order.upstream_id
    assert found.actor is None
    assert balance_of(customer) == before
