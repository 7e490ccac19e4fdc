"""The API's actions: a form comes in, the answer's JSON value goes out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

from upstream.simulator import course
from upstream.simulator.book import Book
from upstream.simulator.forms import Refusal
from upstream.simulator.life import OPEN, Order, progress, status_of
from upstream.simulator.services import Service

Json: TypeAlias = Any
Fields: TypeAlias = Mapping[str, str]

MAX_IDS = 100
_NOT_OURS = "Incorrect order ID"
_CANCEL_TAKES = 0.1


def error(text: str) -> dict[str, str]:
    """The customary shape of a refusal."""
    return {"error": text}


def plain(amount: Decimal) -> str:
    """A Decimal as digits, without exponent or trailing zeros."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def number(order_id: str) -> int | str:
    """An ID as answers in lists and `add` have it: a number when it is one."""
    return int(order_id) if order_id.isdecimal() else order_id


def encode(value: Json) -> str:
    """JSON text; a Decimal becomes a JSON number with exactly its digits."""
    try:
        return json.dumps(value)
    except TypeError:
        return _encode(value)


def _encode(value: Json) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(str(name))}: {_encode(each)}" for name, each in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_encode, value)) + "]"
    return json.dumps(value)


def services(book: Book, _fields: Fields, _at: float) -> Json:
    """The price list, rows as they were given."""
    return [service.row for service in book.services.values()]


def balance(book: Book, _fields: Fields, _at: float) -> Json:
    """What is left on the account."""
    return {"balance": plain(book.balance), "currency": book.settings.currency}


def add(book: Book, fields: Fields, at: float) -> Json:
    """Place an order."""
    request = fields.get(book.settings.idempotency_param, "")
    if request in book.by_request:
        return {"order": number(book.by_request[request])}
    order = _place(book, fields, at)
    if request:
        book.by_request[request] = order.id
    return {"order": number(order.id)}


def _place(book: Book, fields: Fields, at: float) -> Order:
    service = book.services.get(fields.get("service", "").strip())
    if service is None:
        raise Refusal("Incorrect service ID")
    if book.settings.duplicate_link and _is_running(book, service, fields, at):
        raise Refusal(
            "You have active order with this link. Please wait until order being completed."
        )
    return course.place(book, service, fields, at)


def status(book: Book, fields: Fields, at: float) -> Json:
    """The status of one order, or of up to 100."""
    if "orders" not in fields:
        return _status(book, fields.get("order", "").strip(), at)
    return {each: _status(book, each, at) for each in _ids(fields["orders"])}


def refill(book: Book, fields: Fields, at: float) -> Json:
    """Ask for one refill, or for up to 100."""
    if "orders" not in fields:
        answer = _refill(book, fields.get("order", "").strip(), at)
        return answer if isinstance(answer, dict) else {"refill": str(answer)}
    return [
        {"order": number(each), "refill": _refill(book, each, at)}
        for each in _ids(fields["orders"])
    ]


def refill_status(book: Book, fields: Fields, at: float) -> Json:
    """The status of one refill, or of up to 100."""
    if "refills" not in fields:
        answer = _refill_status(book, fields.get("refill", "").strip(), at)
        return answer if isinstance(answer, dict) else {"status": answer}
    return [
        {"refill": number(each), "status": _refill_status(book, each, at)}
        for each in _ids(fields["refills"])
    ]


def cancel(book: Book, fields: Fields, at: float) -> Json:
    """Ask to cancel up to 100 orders; 1 means asked, not canceled."""
    if "orders" not in fields:
        raise Refusal("Incorrect request")
    return [
        {"order": number(each), "cancel": _cancel(book, each, at)}
        for each in _ids(fields["orders"])
    ]


ACTIONS: Mapping[str, Callable[[Book, Fields, float], Json]] = {
    "services": services,
    "add": add,
    "status": status,
    "refill": refill,
    "refill_status": refill_status,
    "cancel": cancel,
    "balance": balance,
}


def _ids(text: str) -> list[str]:
    ids = [each.strip() for each in text.split(",") if each.strip()]
    if len(ids) > MAX_IDS:
        raise Refusal("Maximum 100 orders")
    return ids


def _is_running(book: Book, service: Service, fields: Fields, at: float) -> bool:
    last = book.last_on_link.get((service.id, fields.get("link", "").strip()))
    return last is not None and status_of(book.orders[last], at) in OPEN


def _status(book: Book, order_id: str, at: float) -> Json:
    order = book.orders.get(order_id)
    if order is not None:
        return _describe(book, order, at)
    if book.settings.open_status and book.ids.is_foreign(order_id):
        return _describe_foreign(book, int(order_id))
    return error(_NOT_OURS)


def _describe(book: Book, order: Order, at: float) -> Json:
    now = progress(order, at)
    if order.kind == "drip-feed":
        done = sum(1 for each in order.children if book.orders[each].final)
        parent = {"status": now.status, "runs": str(done), "orders": list(order.children)}
        return parent | order.forced
    if order.kind == "subscription":
        parent = {
            "status": now.status,
            "expiry": _iso_day(order.fields.get("expiry", "")),
            "posts": str(len(order.children)),
            "orders": list(order.children),
            "old_orders": list(order.old_children),
        }
        return parent | order.forced
    charge = order.price if book.settings.show_full_charge else order.price - order.given_back
    answer = {
        "charge": plain(charge),
        "start_count": str(order.start_count),
        "status": now.status,
        "remains": str(now.remains),
        "currency": book.settings.currency,
    }
    return answer | order.forced


def _iso_day(text: str) -> str:
    """An expiry as answers have it: asked as 31/12/2030, told as 2030-12-31 at real panels."""
    return "-".join(reversed(text.strip().split("/")))


def _describe_foreign(book: Book, order_id: int) -> Json:
    return {
        "charge": plain(Decimal(order_id % 1000 + 1) / 1000),
        "start_count": str(order_id % 4999),
        "status": "In progress",
        "remains": str(order_id % 97 + 1),
        "currency": book.settings.currency,
    }


def _refill(book: Book, order_id: str, at: float) -> Json:
    order = book.orders.get(order_id)
    if order is None:
        return error(_NOT_OURS)
    if not book.known[order.service].refill:
        return error("Refill is not available for this service")
    if status_of(order, at) not in ("Completed", "Partial") or order.kind != "order":
        return error("Order not eligible for refill.")
    earlier = [book.refills[each] for each in book.refills_of.get(order.id, [])]
    if earlier and at < earlier[-1].born + book.settings.refill_wait:
        return error("Refill was requested less than 24 hours ago.")
    return number(book.open_refill(order, at).id)


def _refill_status(book: Book, refill_id: str, at: float) -> Json:
    found = book.refills.get(refill_id)
    return found.status(at) if found else error("Refill not found")


def _cancel(book: Book, order_id: str, at: float) -> Json:
    order = book.orders.get(order_id)
    if order is None:
        return error(_NOT_OURS)
    if not book.known[order.service].cancel:
        return error("You are not eligible to cancel this order.")
    if status_of(order, at) not in OPEN:
        return error("Order already completed")
    book.schedule(at + book.settings.pace * _CANCEL_TAKES, "cancel", order.id)
    return 1
