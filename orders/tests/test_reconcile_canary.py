"""The test of a provider before its IDs are searched. F36: what makes a search unsound ends it."""

import pytest
from django.utils import timezone

from accounts.models import User
from catalog.models import Service
from orders import canary, reconcile
from orders.canary import CanaryResult
from orders.models import Attempt, Order, Scan
from orders.tests.lost_orders import history, look, lose, pass_time, placed, status_calls, true_id
from upstream.simulator import Simulator

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_provider_that_tells_only_our_orders_passes_in_one_call(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    simulator.world.change(neighbours_per_order=10)
    history(customer, sold)

    result = canary.run_canary(sold.provider)

    scan = Scan.objects.get()
    assert result.passed
    assert scan.canary == Scan.Canary.PASSED
    assert scan.foreign_text == "incorrect order id"
    assert status_calls(simulator) == 1


def test_a_provider_that_tells_everybodys_orders_is_never_searched(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    simulator.world.change(neighbours_per_order=10, open_status=True)
    history(customer, sold)
    order = lose(simulator, customer, sold, 777)
    pass_time(310)
    placed(customer, sold)

    look(5)

    order.refresh_from_db()
    seen = reconcile.evidence(order)
    assert order.dispatch == "unknown"
    assert order.attention == "unknown"
    assert status_calls(simulator) == 1
    assert seen is not None
    assert seen.searching == "canary"
    assert "not ours" in seen.note


@pytest.mark.parametrize("ids", ["random", "text"])
def test_ids_that_do_not_grow_or_are_no_numbers_are_never_searched(
    simulator: Simulator, customer: User, sold: Service, ids: str
) -> None:
    simulator.world.change(ids=ids)
    history(customer, sold)
    order = lose(simulator, customer, sold, 777)
    pass_time(310)
    placed(customer, sold)

    look(5)

    order.refresh_from_db()
    assert order.dispatch == "unknown"
    assert status_calls(simulator) == 0
    assert Scan.objects.get().canary == Scan.Canary.FAILED


def test_ids_of_an_account_of_its_own_are_found_in_one_call(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    history(customer, sold)
    order = lose(simulator, customer, sold, 777)
    pass_time(310)
    placed(customer, sold)

    look(3)

    order.refresh_from_db()
    assert order.upstream_id == true_id(simulator, order)
    # One for the test, one for the search.
    assert status_calls(simulator) == 2


def test_an_id_out_of_order_later_ends_all_searching(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    history(customer, sold)
    assert canary.run_canary(sold.provider).passed
    odd = Order.objects.order_by("pk")[10]
    Order.objects.filter(pk=odd.pk).update(upstream_id="7")
    Attempt.objects.filter(order=odd).update(upstream_id="7")
    order = lose(simulator, customer, sold, 777)
    pass_time(310)
    placed(customer, sold)

    look(3)

    order.refresh_from_db()
    assert order.dispatch == "unknown"
    assert status_calls(simulator) == 1
    assert Scan.objects.get().disorder == "order"
    # Also when that one is no witness any more, only a new test begins anew.
    Attempt.objects.filter(order=odd).update(reason="bound by staff")
    look()
    assert Scan.objects.get().disorder == "order"


def test_too_few_orders_to_judge_by_are_waited_for(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    history(customer, sold, 19)

    result = canary.run_canary(sold.provider)

    assert result.passed is None
    assert Scan.objects.get().canary == Scan.Canary.UNTRIED
    placed(customer, sold)
    assert canary.run_canary(sold.provider).passed


def test_a_provider_that_shows_other_charges_than_ours_is_never_searched(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    history(customer, sold)
    Order.objects.update(upstream_charge="0.05")
    assert canary.run_canary(sold.provider).passed
    Order.objects.update(upstream_charge="1")

    pass_time(5)
    result = canary.run_canary(sold.provider)

    assert result.passed is False
    assert Scan.objects.get().canary == Scan.Canary.FAILED


@pytest.mark.parametrize("fault", ["missing_ids", "lost_ids"])
def test_an_id_left_out_of_the_answer_is_no_refusal(
    simulator: Simulator, customer: User, sold: Service, fault: str
) -> None:
    simulator.world.change(neighbours_per_order=10)
    history(customer, sold)
    simulator.world.break_with("status", fault)
    assert canary.run_canary(sold.provider).passed is False


def test_a_test_that_fails_on_its_way_is_made_again_later(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    history(customer, sold)
    simulator.world.break_with("status", "http_502")

    first = canary.run_canary(sold.provider)
    at_once = canary.run_canary(sold.provider)
    pass_time(601)
    later = canary.run_canary(sold.provider)

    assert (first.passed, at_once.passed, later.passed) == (None, None, True)
    assert status_calls(simulator) == 2


def test_lost_orders_nearby_do_not_make_the_test_fail(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    """The IDs of lost orders answer with data too; the test keeps away from where they may be."""
    simulator.world.change(neighbours_per_order=10)
    history(customer, sold)
    for quantity in (700, 701, 702):
        lose(simulator, customer, sold, quantity)
    assert canary.run_canary(sold.provider).passed


def test_a_passed_test_is_made_again_after_thirty_days(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    history(customer, sold)
    canary.run_canary(sold.provider)
    assert not canary.is_due(Scan.objects.get(), timezone.now())
    pass_time(31 * 24 * 3600)
    assert canary.is_due(Scan.objects.get(), timezone.now())


def test_a_failed_test_waits_for_a_person(sold: Service) -> None:
    scan = Scan(provider=sold.provider, canary=Scan.Canary.FAILED)
    assert not canary.is_due(scan, timezone.now())


def test_a_result_tells_which_order_was_asked_for() -> None:
    assert CanaryResult(True, "fine", 5).own_id == 5
