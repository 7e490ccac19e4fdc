"""An order as API v2 tells it: every figure as text, in the words that panels use.

`charge` is what the customer has paid and not got back: it falls with a partial refund and is 0
for a canceled order, so that the sum of all charges is what the customer's balance is short of.
Seen at real panels: some do the same, some go on showing the first charge; clients take it as
advice.

Drip-feed orders and subscriptions are answered as containers, as real panels answer them: the
IDs of their parts in place of charge and remains. The parts are orders with a status of their own;
the charge of a part is its share of what the whole order was charged.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from django.conf import settings

from orders.decisions import Shape
from orders.models import Order, Request
from orders.settlement import facts_of
from orders.states import FINAL, RequestState, Status
from wallet.money import round_money

WORDS = {
    Status.PENDING: "Pending",
    Status.PROCESSING: "Processing",
    Status.IN_PROGRESS: "In progress",
    Status.COMPLETED: "Completed",
    Status.PARTIAL: "Partial",
    Status.CANCELED: "Canceled",
}
# What we know no more of than that it was asked for is pending.
REFILL_WORDS = {
    RequestState.ASKED: "Pending",
    RequestState.QUEUED: "Pending",
    RequestState.SENDING: "Pending",
    RequestState.UNKNOWN: "Pending",
    RequestState.ACCEPTED: "In progress",
    RequestState.COMPLETED: "Completed",
    RequestState.REJECTED: "Rejected",
}
# Added to the number of a refill's row. Seen at one real panel: every refill is answered with the
# ID 1. Clients, our own included, take that for no ID and never ask how such a refill stands.
_REFILLS_AFTER = 1000
# Words for subscriptions that our own status does not tell apart.
_SUBSCRIPTION_WORDS = {"paused": "Paused", "expired": "Expired"}


def plain(amount: Decimal) -> str:
    """An amount as digits, without exponent or trailing zeros."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def describe_all(orders: Iterable[Order]) -> dict[int, dict[str, Any]]:
    """The answer for each order, by its number; parts are fetched with one query for all."""
    rows = list(orders)
    shapes = {order.pk: facts_of(order).shape for order in rows}
    containers = [pk for pk, shape in shapes.items() if shape.is_container]
    parts: dict[int, list[Order]] = {pk: [] for pk in containers}
    if containers:
        for part in Order.objects.filter(parent_id__in=containers).order_by("pk"):
            parts[part.parent_id or 0].append(part)
    return {order.pk: _describe(order, shapes[order.pk], parts.get(order.pk, [])) for order in rows}


def _describe(order: Order, shape: Shape, parts: list[Order]) -> dict[str, Any]:
    if shape is Shape.SUBSCRIPTION:
        return _subscription(order, parts)
    if shape is Shape.DRIP_FEED and parts:
        return _drip_feed(order, parts)
    return {
        "charge": plain(_charge(order, shape)),
        "start_count": str(order.start_count or 0),
        "status": WORDS[Status(order.status)],
        "remains": str(_remains(order)),
        "currency": settings.CURRENCY,
    }


def _charge(order: Order, shape: Shape) -> Decimal:
    if shape is Shape.CHILD:
        return round_money(order.price_rate * order.quantity / 1000, up=True)
    return Decimal(order.charge - order.refunded)


def _remains(order: Order) -> int:
    if order.remains is not None:
        return order.remains
    return 0 if order.status == Status.COMPLETED else order.quantity


def _drip_feed(order: Order, parts: list[Order]) -> dict[str, Any]:
    return {
        "status": WORDS[Status(order.status)],
        "runs": str(_runs(order, parts)),
        "orders": [str(part.pk) for part in parts],
    }


def _runs(order: Order, parts: list[Order]) -> int:
    """The runs that were made, and at the end those too that were paid for without being listed:
    who buys from us must not take for undelivered what was not given back."""
    if order.status not in FINAL:
        return len(parts)
    facts = facts_of(order, parts)
    undelivered = sum(part.undelivered for part in facts.parts)
    missing = max(0, (order.remains or 0) - undelivered) // max(1, facts.per_part)
    return max(len(parts), facts.runs - missing)


def _subscription(order: Order, parts: list[Order]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "status": _subscription_word(order),
        "expiry": _iso_day(order.parameters),
        "posts": str(len(parts)),
        "orders": [str(part.pk) for part in parts],
        "old_orders": [],
    }
    if order.status in FINAL and not parts:
        # Nothing but the charge then says what was used of it.
        answer |= {
            "charge": plain(_charge(order, Shape.SUBSCRIPTION)),
            "currency": settings.CURRENCY,
        }
    return answer


def _subscription_word(order: Order) -> str:
    raw = _SUBSCRIPTION_WORDS.get(order.raw_status.casefold())
    if order.status == Status.IN_PROGRESS:
        return "Paused" if raw == "Paused" else "Active"
    if order.status == Status.COMPLETED:
        return "Expired" if raw == "Expired" else "Completed"
    return WORDS[Status(order.status)]


def _iso_day(parameters: Mapping[str, str]) -> str:
    """Seen at real panels: asked for as 31/12/2030, told as 2030-12-31."""
    return "-".join(reversed(parameters.get("expiry", "").split("/")))


def refill_number(pk: int) -> int:
    """The ID that clients know a refill by."""
    return pk + _REFILLS_AFTER


def refill_pk(number: int) -> int:
    """The row that a client's refill ID means; below 1 there is none."""
    return number - _REFILLS_AFTER


def refill_word(request: Request) -> str:
    """How a refill stands."""
    return REFILL_WORDS[RequestState(request.state)]
