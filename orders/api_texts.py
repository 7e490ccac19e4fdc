"""The error texts that API v2 clients know; one of them for every way an order can be refused.

Seen at real panels: clients tell by these texts whether to give up, to wait or to try again.
"""

from collections.abc import Mapping

from catalog.models import Service
from orders.errors import InvalidOrder
from upstream.order_types import Units, find_type

BAD_REQUEST = "Incorrect request"
BAD_SERVICE = "Incorrect service ID"
BAD_ORDER = "Incorrect order ID"
BAD_REFILL = "Refill not found"
NO_FUNDS = "Not enough funds on balance"
SUSPENDED = "Account suspended"
TOO_MANY_REQUESTS = "Too many requests"
AWAY = "Service temporarily unavailable"
DUPLICATE = "You have active order with this link. Please wait until order being completed."
OTHER_CONTENT = "Incorrect request: this request_id belongs to another order"
NO_REFILL = "Refill is not available for this service"
NOT_REFILLABLE = "Order not eligible for refill."
NO_CANCEL = "This order has already started and cannot be cancelled."
CANCEL_LATER = "Cancelation is temporarily unavailable for this order."
NOT_CANCELABLE = "You are not eligible to cancel this order."
FINISHED = "Order already completed"

_COUNTED = {"quantity", "comments", "usernames", "min", "max"}
_MOST_DIGITS = 12


class Refused(Exception):
    """The call is answered with this error text; nothing has changed."""


def of_invalid_order(error: InvalidOrder, service: Service, values: Mapping[str, str]) -> str:
    """What the first wrong field is called in the trade."""
    name = next(iter(error.errors))
    if name == "runs" and values.get("runs", "").strip() and not service.dripfeed:
        return "Dripfeed is not supported by this service"
    if name == "min" and _is_reversed(values):
        return "Min cannot be higher than Max"
    if name in _COUNTED:
        return _about_size(name, service, values) or f"Incorrect {name}"
    return f"Incorrect {name}"


def _is_reversed(values: Mapping[str, str]) -> bool:
    low, high = _number(values.get("min", "")), _number(values.get("max", ""))
    return low is not None and high is not None and low > high


def _about_size(name: str, service: Service, values: Mapping[str, str]) -> str:
    size = _size(name, service, values)
    if not size:
        return ""
    if size < service.min_quantity:
        return f"Quantity less than minimal {service.min_quantity}"
    # Each run must reach the minimum; the maximum is for all runs together.
    runs = _number(values.get("runs", "")) if name == "quantity" else None
    if size * (runs or 1) > service.max_quantity:
        return f"Quantity more than maximum {service.max_quantity}"
    return ""


def _size(name: str, service: Service, values: Mapping[str, str]) -> int | None:
    order_type = find_type(service.order_type)
    if order_type is not None and order_type.units_by in (Units.COMMENTS, Units.USERNAMES):
        return sum(bool(line.strip()) for line in values.get(name, "").splitlines())
    return _number(values.get(name, ""))


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None
