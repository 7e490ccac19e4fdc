"""`add` from many threads at once: never more than the money, never an order twice."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection

from accounts.models import User
from catalog.models import Service
from orders.models import Order
from orders.tests.api_world import Program
from orders.tests.worlds import assert_ledger_adds_up, balance_of
from wallet.services import top_up


@pytest.fixture
def program(transactional_db: None, customer: User, settings: LazySettings) -> Program:
    settings.API_REQUESTS_PER_MINUTE = 0
    return Program(customer)


def at_once(calls: int, call: Callable[[int], Any], threads: int = 20) -> list[Any]:
    """Make the calls from threads that start together."""
    gate = threading.Barrier(threads)

    def run(first: int) -> list[Any]:
        gate.wait(30)
        try:
            return [call(number) for number in range(first, calls, threads)]
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        return [answer for answers in pool.map(run, range(threads)) for answer in answers]


def test_a_hundred_calls_with_money_for_sixty_make_exactly_sixty_orders(
    program: Program, service: Service
) -> None:
    # 10 are there; each order is charged 0.2.
    top_up(user=program.user, amount=Decimal(2), reference="to twelve")

    answers = at_once(
        100, lambda number: program.add(service.pk, link=f"https://example.com/{number}")
    )

    outcomes = Counter(answer.get("error", "placed") for answer in answers)
    assert outcomes == {"placed": 60, "Not enough funds on balance": 40}
    assert Order.objects.count() == 60
    assert len({answer["order"] for answer in answers if "order" in answer}) == 60
    assert balance_of(program.user) == 0
    assert_ledger_adds_up()


def test_one_request_id_from_twenty_threads_is_one_order(
    program: Program, service: Service
) -> None:
    answers = at_once(40, lambda _number: program.add(service.pk, request_id="r-1"))

    assert answers == [{"order": Order.objects.get().pk}] * 40
    assert balance_of(program.user) == Decimal("9.8")


def test_one_order_from_twenty_threads_without_a_request_id_is_placed_once(
    program: Program, service: Service
) -> None:
    answers = at_once(20, lambda _number: program.add(service.pk))

    assert sum("order" in answer for answer in answers) == 1
    assert (
        sum(answer.get("error", "").startswith("You have active order") for answer in answers) == 19
    )
    assert Order.objects.count() == 1
