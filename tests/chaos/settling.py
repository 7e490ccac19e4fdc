"""The end of a chaos run: the search for lost answers finds what it can, and is compared with the truth."""

import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta

from django.db.models import F, QuerySet

from accounts.models import User
from catalog.models import BalanceSample, Service
from orders.matching import LATEST, Verdict
from orders.models import Attempt, Order, Scan, Search
from orders.services import place_order
from orders.states import Dispatch
from tests.chaos.fleet import Fleet
from tests.chaos.shoppers import Orders
from tests.faults.oracle import Placement

# A search waits until a lost order can't be carried out any more; the faults' latest is ten seconds.
_PASSED = LATEST + timedelta(minutes=5)
_REALLY_PASSED = 12.0
_DONE = [Verdict.ABSENT, Verdict.REVIEW]


def settle(services: Sequence[Service], orders: Orders, fleet: Fleet, *, seconds: float) -> None:
    """Let the waiting times of the search pass, give it orders to go by, and wait for its ends.

    Ten minutes are put between what happened and now by setting all its times back alike; so the
    search itself, its windows, calls and budgets, is the one that customers have.
    """
    time.sleep(_REALLY_PASSED)
    _set_back(_PASSED)
    # As staff would, once the provider behaves: test again, and go on at once.
    Scan.objects.update(canary="", disorder="", paused_until=None, next_call_at=None)
    ends = time.monotonic() + seconds
    _anchor(services, orders)
    while time.monotonic() < ends and _searched().exists():
        fleet.tend()
        fleet.keep_alive()
        Scan.objects.exclude(paused_until=None).update(paused_until=None)
        time.sleep(1)


def _set_back(by: timedelta) -> None:
    for model, columns in (
        (Attempt, ("claimed_at", "sending_at", "finished_at")),
        (Order, ("sent_at",)),
        (BalanceSample, ("asked_at", "answered_at")),
    ):
        model._default_manager.update(**{column: F(column) - by for column in columns})


def _anchor(services: Sequence[Service], orders: Orders) -> None:
    """An order to each provider: what was lost has an ID below it, if it has one."""
    buyer = User.objects.filter(email="shopper3@example.com").get()
    for service in services:
        token = uuid.uuid4()
        place_order(
            customer=buyer,
            service=service,
            values={"link": f"https://example.com/{token}", "quantity": "50"},
            client_token=token,
        )
        orders.note(token, "anchors")


def _searched() -> "QuerySet[Order]":
    """Unconfirmed orders about which more may be found, and orders that are not sent yet."""
    done = Search.objects.filter(verdict__in=_DONE).values("attempt__order_id")
    return Order.objects.filter(
        dispatch__in=[Dispatch.UNKNOWN, Dispatch.QUEUED, Dispatch.CLAIMED, Dispatch.SENDING]
    ).exclude(pk__in=done)


def verdicts() -> Counter[str]:
    """How many unconfirmed orders are left, by what the search says of them."""
    left = Search.objects.filter(attempt__order__dispatch=Dispatch.UNKNOWN)
    said = Counter(f"{verdict or 'none'} {reason}".strip() for verdict, reason in
                   left.values_list("verdict", "reason"))  # fmt: skip
    without = Order.objects.filter(dispatch=Dispatch.UNKNOWN).count() - said.total()
    return said + Counter({"never looked at": without})


def tests() -> Counter[str]:
    """How many providers may be searched, and why the others may not."""
    rows = Scan.objects.values_list("canary", "disorder", "canary_note")
    return Counter(disorder or (canary if canary == "passed" else note or "untried")
                   for canary, disorder, note in rows)  # fmt: skip


def wrongly_absent(truth: Sequence[Placement]) -> Iterator[str]:
    """Orders that were found absent and are placed: such a finding must never be made."""
    placed = {placement.link: placement.upstream_id for placement in truth}
    absent = Search.objects.filter(verdict=Verdict.ABSENT).select_related("attempt__order")
    for search in absent:
        order = search.attempt.order
        if order.link in placed and order.dispatch != Dispatch.ACCEPTED:
            yield f"O7: order {order.pk} was found absent and is placed as {placed[order.link]}"
