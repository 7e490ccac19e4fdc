"""How orders go on: progress, partial, cancel, refill, drip-feed and subscriptions."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from upstream.simulator import World
from upstream.simulator.tests.conftest import Provider, service


def test_an_order_passes_through_every_status_and_its_remains_fall(provider: Provider) -> None:
    order = provider.order()
    seen: list[tuple[str, int]] = []
    for _ in range(11):
        now = provider.status(order)
        seen.append((now["status"], int(now["remains"])))
        provider.world.advance(10)

    words = list(dict.fromkeys(status for status, _ in seen))
    remains = [left for _, left in seen]
    assert words == ["Pending", "Processing", "In progress", "Completed"]
    assert remains == sorted(remains, reverse=True)
    assert remains[0] == 100
    assert 0 < remains[6] < 100
    assert remains[-1] == 0


def test_a_status_answer_has_text_in_every_field(provider: Provider) -> None:
    now = provider.status(provider.order())

    assert set(now) == {"charge", "start_count", "status", "remains", "currency"}
    assert all(isinstance(value, str) for value in now.values())
    assert now["charge"] == "0.25"
    assert now["start_count"].isdecimal()


@pytest.mark.parametrize(
    ("word", "status", "remains", "charge"),
    [
        ("partial", "Partial", "40", "0.15"),
        ("cancel", "Canceled", "100", "0"),
        ("fail", "Fail", "100", "0"),
        ("plain", "Completed", "0", "0.25"),
    ],
)
def test_a_word_in_the_link_decides_how_an_order_ends(
    provider: Provider, word: str, status: str, remains: str, charge: str
) -> None:
    order = provider.order(link=f"https://example.com/{word}/1")
    assert provider.world.balance == Decimal("999.75")

    provider.world.advance(100)

    now = provider.status(order)
    assert (now["status"], now["remains"], now["charge"]) == (status, remains, charge)
    assert provider.world.balance == 1000 - Decimal(charge)
    assert provider.books_balance()


def test_a_slow_link_takes_ten_times_as_long(provider: Provider) -> None:
    order = provider.order(link="slow")

    provider.world.advance(999)
    assert provider.status(order)["status"] == "In progress"
    provider.world.advance(1)
    assert provider.status(order)["status"] == "Completed"


def test_weights_choose_the_outcome_where_the_link_does_not(world: World) -> None:
    world.change(weights={"Completed": 1, "Partial": 1, "Canceled": 2}, pace=1)
    for _ in range(200):
        world.place_by_hand("1", link="a", quantity="10")
    world.advance(1)

    ends = [order.final for order in world.orders]
    assert 30 < ends.count("Completed") < 70
    assert 30 < ends.count("Partial") < 70
    assert 70 < ends.count("Canceled") < 130


def test_several_orders_are_asked_at_once(provider: Provider) -> None:
    first, second = provider.order(), provider.order()

    answer = provider.call(action="status", orders=f"{first}, 7,{second}")

    assert list(answer) == [first, "7", second]
    assert answer["7"] == {"error": "Incorrect order ID"}
    assert answer[second] == provider.status(second)


def test_a_hundred_ids_are_the_most(provider: Provider) -> None:
    hundred = ",".join(map(str, range(100)))

    assert len(provider.call(action="status", orders=hundred)) == 100
    assert provider.call(action="status", orders=hundred + ",100") == {
        "error": "Maximum 100 orders"
    }


def test_an_order_canceled_before_delivery_gives_everything_back(provider: Provider) -> None:
    order = provider.order()

    assert provider.call(action="cancel", orders=order) == [{"order": int(order), "cancel": 1}]
    assert provider.status(order)["status"] == "Pending"
    provider.world.advance(10)

    assert provider.status(order)["status"] == "Canceled"
    assert provider.world.balance == 1000


def test_an_order_canceled_during_delivery_becomes_partial(provider: Provider) -> None:
    order = provider.order()
    provider.world.advance(50)
    provider.call(action="cancel", orders=order)
    provider.world.advance(10)

    now = provider.status(order)

    assert (now["status"], now["remains"], now["charge"]) == ("Partial", "50", "0.125")
    assert provider.world.balance == Decimal("999.875")
    provider.world.advance(1000)
    assert provider.status(order) == now
    assert provider.books_balance()


def test_a_cancel_that_comes_too_late_changes_nothing(provider: Provider) -> None:
    order = provider.order()
    provider.world.advance(95)
    provider.call(action="cancel", orders=order)
    provider.world.advance(50)

    assert provider.status(order)["status"] == "Completed"
    assert provider.call(action="cancel", orders=order)[0]["cancel"] == {
        "error": "Order already completed"
    }


def test_cancel_refuses_foreign_orders_and_services_without_it(provider: Provider) -> None:
    order = provider.order(2)

    answer = provider.call(action="cancel", orders=f"9,{order}")

    assert answer == [
        {"order": 9, "cancel": {"error": "Incorrect order ID"}},
        {"order": int(order), "cancel": {"error": "You are not eligible to cancel this order."}},
    ]
    assert provider.call(action="cancel", order=order) == {"error": "Incorrect request"}


def test_a_refill_runs_its_course(provider: Provider) -> None:
    order, rejected = provider.order(), provider.order(link="reject")
    provider.world.advance(100)

    assert provider.call(action="refill", order=order) == {"refill": "1"}
    answer = provider.call(action="refill", orders=f"{rejected},5")
    assert answer == [
        {"order": int(rejected), "refill": 2},
        {"order": 5, "refill": {"error": "Incorrect order ID"}},
    ]
    seen = []
    for _ in range(3):
        seen.append(provider.call(action="refill_status", refill=1)["status"])
        provider.world.advance(50)
    assert seen == ["Pending", "In progress", "Completed"]
    assert provider.call(action="refill_status", refills="2,3") == [
        {"refill": 2, "status": "Rejected"},
        {"refill": 3, "status": {"error": "Refill not found"}},
    ]


def test_a_refill_is_refused_when_it_is_not_due(provider: Provider) -> None:
    never, order = provider.order(2), provider.order()

    def asked(order_id: str) -> Any:
        return provider.call(action="refill", order=order_id)

    assert asked(never) == {"error": "Refill is not available for this service"}
    assert asked(order) == {"error": "Order not eligible for refill."}
    provider.world.advance(100)
    assert asked(order) == {"refill": "1"}
    provider.world.advance(86399)
    assert asked(order) == {"error": "Refill was requested less than 24 hours ago."}
    provider.world.advance(1)
    assert asked(order) == {"refill": "2"}


def test_a_drip_feed_order_pays_once_and_starts_a_run_per_interval(provider: Provider) -> None:
    parent = provider.order(quantity=100, runs=3, interval=5)
    assert provider.world.balance == Decimal("999.25")
    first = provider.status(parent)
    assert first == {"status": "Active", "runs": "0", "orders": ["100002"]}

    provider.world.advance(299)
    assert len(provider.status(parent)["orders"]) == 1
    provider.world.advance(301)
    now = provider.status(parent)

    assert now == {"status": "Active", "runs": "2", "orders": ["100002", "100003", "100004"]}
    child = provider.status("100003")
    assert (child["status"], child["charge"]) == ("Completed", "0.25")
    provider.world.advance(100)
    assert provider.status(parent)["status"] == "Completed"
    assert provider.world.balance == Decimal("999.25")
    assert provider.books_balance()


def test_a_protocol_minute_can_be_made_short(provider: Provider) -> None:
    provider.world.change(minute_seconds=1)
    parent = provider.order(quantity=100, runs=3, interval=5)

    provider.world.advance(10)

    assert len(provider.status(parent)["orders"]) == 3


def test_a_canceled_drip_feed_gives_back_the_runs_that_never_started(provider: Provider) -> None:
    parent = provider.order(quantity=100, runs=4, interval=5)
    provider.call(action="cancel", orders=parent)
    provider.world.advance(3600)

    now = provider.status(parent)

    assert (now["status"], now["orders"]) == ("Canceled", ["100002"])
    assert provider.world.balance == Decimal("999.75")
    assert provider.books_balance()


def _subscribe(provider: Provider, **fields: Any) -> str:
    form = {"username": "ann", "min": 10, "max": 20, "delay": 0, **fields}
    return str(provider.call(action="add", service=4, **form)["order"])


def test_a_subscription_orders_for_each_post_and_charges_the_children(
    provider: Provider,
) -> None:
    parent = _subscribe(provider, posts=2, old_posts=1, expiry="31/12/2030")
    begun = provider.status(parent)
    assert begun == {
        "status": "Active",
        "expiry": "2030-12-31",
        "posts": "0",
        "orders": [],
        "old_orders": ["100002"],
    }

    provider.world.advance(60)
    assert provider.status(parent)["orders"] == ["100003"]
    provider.world.advance(60)

    done = provider.status(parent)
    assert (done["status"], done["posts"]) == ("Completed", "2")
    truth = provider.world.truth()["orders"]
    assert truth[0]["cost"] == "0"
    assert all(10 <= order["quantity"] <= 20 for order in truth[1:])
    spent = sum(Decimal("2.5") * order["quantity"] / 1000 for order in truth[1:])
    assert provider.world.balance == 1000 - spent


def test_a_subscription_pauses_while_the_balance_is_short(provider: Provider) -> None:
    parent = _subscribe(provider, posts=1)
    provider.world.set_balance(Decimal(0))
    provider.world.advance(60)
    assert provider.status(parent)["status"] == "Paused"

    provider.world.set_balance(Decimal(5))
    provider.world.advance(60)

    assert provider.status(parent)["status"] == "Completed"
    assert provider.books_balance()


def test_a_subscription_with_only_old_posts_ends_at_once(provider: Provider) -> None:
    now = provider.status(_subscribe(provider, posts=0, old_posts=2))

    assert now["status"] == "Completed"
    assert len(now["old_orders"]) == 2


def test_a_subscription_expires_after_its_last_day(provider: Provider) -> None:
    # The test's clock stands at 15 January 2027, 08:00 UTC.
    parent = _subscribe(provider, expiry="16/01/2027")

    provider.world.advance(39 * 3600)
    assert provider.status(parent)["status"] == "Active"
    provider.world.advance(3600)
    ended = provider.status(parent)
    provider.world.advance(86400)

    assert ended["status"] == "Expired"
    assert provider.status(parent) == ended


def test_an_upfront_subscription_charges_the_most_and_returns_the_rest(
    provider: Provider,
) -> None:
    provider.world.change(subscription_upfront=True)
    assert provider.call(action="add", service=4, username="ann", min=10, max=20, delay=0) == {
        "error": "Incorrect posts"
    }
    _subscribe(provider, posts=2, old_posts=1)
    assert provider.world.balance == 1000 - Decimal("0.15")

    provider.world.advance(120)

    children = provider.world.truth()["orders"][1:]
    worth = sum(Decimal(order["price"]) for order in children)
    assert provider.world.balance == 1000 - worth
    assert {order["cost"] for order in children} == {"0"}
    assert provider.books_balance()


def test_orders_of_a_vanished_service_go_on(provider: Provider) -> None:
    order = provider.order(link="partial")
    provider.world.sell([service(9)])
    provider.world.advance(100)

    assert [row["service"] for row in provider.call(action="services")] == [9]
    assert provider.status(order)["status"] == "Partial"
    assert "refill" in provider.call(action="refill", order=order)
