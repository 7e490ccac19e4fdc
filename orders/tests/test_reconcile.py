"""Lost answers are found through the real client at a simulated provider."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from catalog.models import BalanceSample, Service
from catalog.sync import refresh_balance
from orders import desk, reconcile
from orders.errors import NotPossible
from orders.fulfilment import forward, run_due, sweep
from orders.models import Attempt, Event, Order, Scan, Search, StrayOrder
from orders.services import place_order
from orders.states import Dispatch, Outcome, Status
from orders.tests.lost_orders import (
    allow_search,
    charge_of,
    history,
    look,
    lose,
    pass_time,
    placed,
    status_calls,
    true_id,
)
from orders.tests.upstream_world import due_at
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
            assert due_at(order) is not None
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


def test_an_absent_order_keeps_its_state_and_its_money_and_is_never_sent_by_itself(
    busy: Simulator, customer: User, sold: Service
) -> None:
    history(customer, sold)
    order = lose(busy, customer, sold, 777, kind="lost_before")
    pass_time(310)
    placed(customer, sold)
    sent = busy.world.truth()["received"]["add"]

    report = look(4)
    pass_time(7 * 24 * 3600)
    look()
    run_due()
    sweep()

    order.refresh_from_db()
    assert report.absent == 1
    assert order.dispatch == Dispatch.UNKNOWN
    assert order.refunded == 0
    assert order.attention == "absent"
    assert Event.objects.filter(order=order, code="absent").count() == 1
    assert Attempt.objects.get(order=order).outcome == Outcome.UNKNOWN
    assert busy.world.truth()["received"]["add"] == sent


def test_an_absent_order_is_refunded_after_the_hours_a_provider_is_set_to(
    busy: Simulator, customer: User, sold: Service
) -> None:
    history(customer, sold)
    allow_search(sold.provider, refund_absent_hours=6)
    order = lose(busy, customer, sold, 777, kind="lost_before")
    pass_time(310)
    placed(customer, sold)
    look(4)
    Search.objects.update(decided_at=timezone.now() - timedelta(hours=5, minutes=59))
    assert look().refunded == 0
    Search.objects.update(decided_at=timezone.now() - timedelta(hours=6, minutes=1))

    assert look().refunded == 1
    assert look().refunded == 0

    order.refresh_from_db()
    assert order.dispatch == Dispatch.REJECTED
    assert order.status == Status.CANCELED
    assert order.refunded == order.charge
    assert_sound(busy)


def test_what_turns_up_after_all_takes_a_proposal_back(
    busy: Simulator, customer: User, sold: Service
) -> None:
    """F34: carried out later than assumed, so "absent" was wrong; it has moved nothing."""
    history(customer, sold)
    order = lose(busy, customer, sold, 777, kind="lost_before")
    pass_time(310)
    placed(customer, sold)
    look(4)
    low, high = Search.objects.values_list("low", "high").get()
    assert low is not None
    assert high is not None
    StrayOrder.objects.create(
        provider=sold.provider,
        upstream_id=str(next(iter({*range(low + 1, high)} - _known(sold)))),
        charge=charge_of(777),
        found_at=timezone.now(),
    )

    look()

    order.refresh_from_db()
    assert order.dispatch == Dispatch.ACCEPTED
    assert order.attention == ""


def _known(service: Service) -> set[int]:
    ids = Order.objects.filter(provider=service.provider).exclude(upstream_id="")
    return {int(each) for each in ids.values_list("upstream_id", flat=True)}


def test_an_order_of_someone_else_leaves_everything_to_people_for_thirty_days(
    busy: Simulator, customer: User, sold: Service
) -> None:
    """F35."""
    history(customer, sold)
    order = lose(busy, customer, sold, 777)
    busy.world.place_by_hand("1", link="https://example.com/by-hand", quantity="5000")
    pass_time(310)
    placed(customer, sold)

    report = look(4)

    order.refresh_from_db()
    scan = Scan.objects.get()
    seen = reconcile.evidence(order)
    assert report.placed == 0
    assert order.dispatch == Dispatch.UNKNOWN
    assert scan.review_until is not None
    assert timedelta(days=29) < scan.review_until - timezone.now() <= timedelta(days=30)
    assert StrayOrder.objects.get(is_foreign=True).charge == 5
    assert seen is not None
    assert seen.searching == "review_only"
    assert seen.found == true_id(busy, order)
    assert [each.charge for each in seen.candidates] == [charge_of(777)]


def test_staff_bind_what_review_only_has_found(
    busy: Simulator, customer: User, staff: User, sold: Service
) -> None:
    history(customer, sold)
    allow_search(sold.provider, review_until=timezone.now() + timedelta(days=3))
    order = lose(busy, customer, sold, 777)
    pass_time(310)
    placed(customer, sold)
    look(2)
    seen = reconcile.evidence(order)
    assert seen is not None

    desk.bind_unknown(order_id=order.pk, upstream_id=seen.found, reason="charge fits", actor=staff)

    order.refresh_from_db()
    assert order.upstream_id == true_id(busy, order)
    assert reconcile.evidence(order) is None


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("rate_limit", {}),
        ("http_502", {}),
        ("html_page", {}),
        ("error", {"text": "Too many requests"}),
        ("string_errors", {"text": ""}),
        ("missing_ids", {}),
        ("lost_ids", {}),
        ("lost_after", {}),
    ],
)
def test_a_refusal_or_an_unusual_answer_ends_the_scan_for_ten_minutes(
    busy: Simulator, customer: User, sold: Service, fault: str, options: dict[str, str]
) -> None:
    """F37. A bare text instead of an object is the same refusal in another dress, and goes on."""
    history(customer, sold)
    allow_search(sold.provider)
    order = lose(busy, customer, sold, 777)
    pass_time(310)
    placed(customer, sold)
    before = status_calls(busy)
    busy.world.break_with("status", fault, times=None, **options)

    look(4)

    if fault == "string_errors":
        order.refresh_from_db()
        assert order.upstream_id == true_id(busy, order)
        return
    stopped = status_calls(busy)
    # The client repeats a read whose connection ended before a byte came.
    assert before < stopped <= before + 2
    pass_time(570)
    look(3, every=2)
    assert status_calls(busy) == stopped
    busy.world.heal()
    pass_time(30)
    look(2)
    order.refresh_from_db()
    assert order.upstream_id == true_id(busy, order)


def test_one_call_in_three_seconds_twenty_for_an_order_and_a_limit_for_the_day(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    history(customer, sold)
    allow_search(sold.provider)
    order = lose(simulator, customer, sold, 777, kind="lost_before")
    simulator.world.others_order(5000)
    pass_time(310)
    placed(customer, sold)
    before = status_calls(simulator)

    look(5, every=1)
    assert status_calls(simulator) - before == 2
    look(30, every=5)
    assert status_calls(simulator) - before == 20
    seen = reconcile.evidence(order)
    assert seen is not None
    assert (seen.verdict, seen.reason, seen.calls) == ("review", "budget", 20)
    assert seen.share is not None
    assert 30 < seen.share < 50

    Scan.objects.update(calls_today=299)
    reconcile.look_now(order.pk)
    pass_time(5)
    reconcile.look_now(order.pk)
    assert status_calls(simulator) - before == 21


def test_look_now_spends_a_new_budget_on_that_order(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    history(customer, sold)
    allow_search(sold.provider, calls_per_order=1)
    order = lose(simulator, customer, sold, 777, kind="lost_before")
    simulator.world.others_order(250)
    pass_time(310)
    placed(customer, sold)
    look(4)
    stopped = status_calls(simulator)

    first = reconcile.look_now(order.pk)

    assert first is not None
    assert status_calls(simulator) == stopped + 1
    assert first.calls == 1
    assert first.scanned > 99


def test_look_now_is_refused_for_an_order_that_is_not_unconfirmed(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    order = placed(customer, sold)
    with pytest.raises(NotPossible):
        reconcile.look_now(order.pk)


def test_nothing_is_asked_while_the_search_is_switched_off(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    history(customer, sold)
    allow_search(sold.provider, is_enabled=False)
    order = lose(simulator, customer, sold, 777)
    pass_time(310)
    placed(customer, sold)
    before = status_calls(simulator)

    look(3)

    seen = reconcile.evidence(order)
    assert status_calls(simulator) == before
    assert seen is not None
    assert seen.searching == "off"


def test_an_order_settled_meanwhile_is_not_adopted(
    simulator: Simulator, customer: User, staff: User, sold: Service
) -> None:
    order = lose(simulator, customer, sold, 777)
    attempt = Attempt.objects.get(order=order)
    desk.refund_unknown(order_id=order.pk, reason="customer asked", actor=staff)

    assert not reconcile.adopt(attempt.pk, "100777")

    order.refresh_from_db()
    assert order.dispatch == Dispatch.REJECTED
    assert order.upstream_id == ""


def test_an_id_that_an_order_here_has_is_not_adopted(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    first = placed(customer, sold)
    order = lose(simulator, customer, sold, 777)

    assert not reconcile.adopt(Attempt.objects.get(order=order).pk, first.upstream_id)

    order.refresh_from_db()
    assert order.dispatch == Dispatch.UNKNOWN


def test_a_refunded_unconfirmed_order_still_competes_for_what_is_found(
    simulator: Simulator, customer: User, staff: User, sold: Service
) -> None:
    """Staff refunded without knowing; what is found may be that order."""
    history(customer, sold)
    allow_search(sold.provider)
    refunded = lose(simulator, customer, sold, 777)
    order = lose(simulator, customer, sold, 777, kind="lost_before")
    desk.refund_unknown(order_id=refunded.pk, reason="customer asked", actor=staff)
    pass_time(310)
    placed(customer, sold)

    look(4)

    order.refresh_from_db()
    seen = reconcile.evidence(order)
    assert order.dispatch == Dispatch.UNKNOWN
    assert seen is not None
    assert (seen.verdict, seen.reason) == ("review", "ambiguous")


def test_parts_of_a_drip_feed_are_no_candidates(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    """A part costs as much as the lost order would; only its parent's list tells them apart."""
    history(customer, sold)
    allow_search(sold.provider)
    simulator.world.change(minute_seconds=0.01)
    parent = order_of_drip_feed(customer, sold, quantity=777, runs=2)
    lost = lose(simulator, customer, sold, 777, kind="lost_before")
    simulator.world.advance(5)
    pass_time(310)
    placed(customer, sold)
    parts = simulator.world.truth()["orders"]
    assert sum(each["parent"] == parent.upstream_id for each in parts) == 2

    look(4)

    lost.refresh_from_db()
    assert lost.dispatch == Dispatch.UNKNOWN
    assert not StrayOrder.objects.exists()
    assert lost.attention == "absent"


def order_of_drip_feed(customer: User, service: Service, *, quantity: int, runs: int) -> Order:
    order = place_order(
        customer=customer,
        service=service,
        values={
            "link": "https://example.com/drip",
            "quantity": str(quantity),
            "runs": str(runs),
            "interval": "1",
        },
        client_token=uuid.uuid4(),
    )
    forward(order.pk)
    order.refresh_from_db()
    assert order.upstream_id
    return order


def test_balance_readings_before_and_after_testify(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    history(customer, sold)
    allow_search(sold.provider, review_until=timezone.now() + timedelta(days=3))
    refresh_balance(sold.provider)
    pass_time(60)
    gone = lose(simulator, customer, sold, 777)
    kept = lose(simulator, customer, sold, 555, kind="lost_before")
    pass_time(310)
    refresh_balance(sold.provider)
    pass_time(5)
    placed(customer, sold)

    look(3)

    first, second = reconcile.evidence(gone), reconcile.evidence(kept)
    assert first is not None
    assert second is not None
    assert (first.balance_says_placed, second.balance_says_placed) == (True, False)
    assert first.balance_spent == charge_of(777)


def test_balance_readings_are_forgotten_after_ninety_days(
    simulator: Simulator, sold: Service
) -> None:
    refresh_balance(sold.provider)
    pass_time(91 * 24 * 3600)
    refresh_balance(sold.provider)
    assert BalanceSample.objects.count() == 1


def test_the_evidence_tells_age_window_and_budget(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    history(customer, sold)
    order = lose(simulator, customer, sold, 777)
    pass_time(100)

    seen = reconcile.evidence(order)

    assert seen is not None
    assert timedelta(seconds=100) <= seen.age < timedelta(seconds=130)
    assert seen.expected == charge_of(777)
    assert (seen.searching, seen.calls, seen.calls_most) == ("untested", 0, 20)
    assert (seen.share, seen.verdict) == (None, "")
