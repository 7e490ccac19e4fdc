"""What can go wrong at a provider, switched on per action.

A fault either rewrites the answer's JSON (a dialect, an error text) or spoils its delivery
(see wire.py). Either may come before the request is processed, so that nothing happened, or
after it, so that the provider did what was asked.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from upstream.simulator.answers import Fields, Json
from upstream.simulator.book import Book

BEFORE, AFTER = "before", "after"


@dataclass(frozen=True)
class Fault:
    """One entry of the fault plan.

    action: an API action, "*" for each, or "connect" for before a byte is read.
    kind: one of KINDS. times: how often, None for ever. skip: let this many pass first.
    probability: chance that a matching request is hit. when: "before" or "after" the request
    is processed; empty means what is usual for the kind. seconds: of a delay, or between two
    bytes. text, status, location, size: see the table in README.md. link: only requests
    whose link contains this. order: only requests that name this order.
    """

    action: str
    kind: str
    times: int | None = 1
    probability: float = 1.0
    when: str = ""
    seconds: float = 0.0
    text: str = ""
    status: int = 0
    location: str = ""
    size: int = 0
    link: str = ""
    order: str = ""
    skip: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault kind {self.kind!r}")
        if self.when not in ("", BEFORE, AFTER):
            raise ValueError("when: before or after")

    @property
    def processes(self) -> bool:
        """Whether the provider does what it was asked."""
        return (self.when or KINDS[self.kind]) == AFTER


class FaultPlan:
    """The faults that are switched on, oldest first. The World's lock guards it."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._entries: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Switch a fault on."""
        self._entries.append(fault)

    def clear(self) -> None:
        """Switch all faults off."""
        self._entries.clear()

    def entries(self) -> list[Fault]:
        """What is on now, with the times that are left."""
        return list(self._entries)

    def take(self, action: str, fields: Fields) -> Fault | None:
        """The fault that hits this request, if any; its count falls by one."""
        for at, fault in enumerate(self._entries):
            if not _matches(fault, action, fields):
                continue
            if fault.skip:
                self._entries[at] = dataclasses.replace(fault, skip=fault.skip - 1)
                continue
            if fault.probability < 1 and self._rng.random() >= fault.probability:
                continue
            self._use(at, fault)
            return fault
        return None

    def _use(self, at: int, fault: Fault) -> None:
        if fault.times is None:
            return
        if fault.times <= 1:
            del self._entries[at]
        else:
            self._entries[at] = dataclasses.replace(fault, times=fault.times - 1)


def _matches(fault: Fault, action: str, fields: Fields) -> bool:
    # "*" is every API action; a connection has none yet.
    named = fault.action == action or (fault.action == "*" and action != "connect")
    if fault.order and fault.order not in f"{fields.get('order')},{fields.get('orders')}".split(
        ","
    ):
        return False
    return named and fault.link in fields.get("link", "")


@dataclass(frozen=True)
class Told:
    """What a rewrite may look at: the request, the books, and the last answer of the action."""

    fault: Fault
    fields: Fields
    book: Book
    last: Json


Rewrite = Callable[[Json, Told], Json]


def _each_status(change: Callable[[dict[str, Any], str, Told], Json]) -> Rewrite:
    """A rewrite of one status answer or of each in a keyed answer, errors left alone."""

    def rewrite(answer: Json, told: Told) -> Json:
        if not isinstance(answer, dict):
            return answer
        if "orders" not in told.fields:
            return _changed(answer, told.fields.get("order", ""), told)
        return {name: _changed(each, name, told) for name, each in answer.items()}

    def _changed(answer: Json, order_id: str, told: Told) -> Json:
        if not isinstance(answer, dict) or "status" not in answer:
            return answer
        return change(dict(answer), order_id, told)

    return rewrite


def _with(**values: Any) -> Rewrite:
    return _each_status(lambda answer, _id, _told: answer | values)


def _without(*names: str) -> Rewrite:
    return _each_status(
        lambda answer, _id, _told: {key: each for key, each in answer.items() if key not in names}
    )


def _as_numbers(answer: dict[str, Any], _order_id: str, _told: Told) -> Json:
    counts = {name: int(answer[name]) for name in ("start_count", "remains") if answer.get(name)}
    return answer | counts


def _too_many_remain(answer: dict[str, Any], order_id: str, told: Told) -> Json:
    order = told.book.orders.get(order_id)
    return answer | {"remains": str((order.quantity if order else 0) + 1)}


def _start_counter(answer: dict[str, Any], _order_id: str, _told: Told) -> Json:
    answer["start_counter"] = answer.pop("start_count", None)
    return answer


def _listed(answer: Json, told: Told) -> Json:
    if "orders" not in told.fields or not isinstance(answer, dict):
        return answer
    found = ((name, each) for name, each in answer.items() if "status" in each)
    return [{"order": int(name) if name.isdecimal() else name} | each for name, each in found]


def _string_errors(answer: Json, _told: Told) -> Json:
    if not isinstance(answer, dict) or "error" in answer:
        return answer
    return {
        name: each["error"] if isinstance(each, dict) and "error" in each else each
        for name, each in answer.items()
    }


def _missing_ids(answer: Json, told: Told) -> Json:
    if "orders" not in told.fields or not isinstance(answer, dict):
        return answer
    return {name: each for name, each in answer.items() if "error" not in each}


def _lost_ids(answer: Json, told: Told) -> Json:
    if "orders" not in told.fields or not isinstance(answer, dict):
        return answer
    return dict(list(answer.items())[1::2])


def _error(_answer: Json, told: Told) -> Json:
    return {"error": told.fault.text or "Something went wrong, try again"}


def _both(answer: Json, told: Told) -> Json:
    order = answer.get("order", 32) if isinstance(answer, dict) else 32
    return {"error": told.fault.text or "low balance", "order": order}


def _short_list(answer: Json, told: Told) -> Json:
    if not isinstance(answer, list):
        return answer
    return answer[: told.fault.size or len(answer) // 2]


REWRITES: Mapping[str, Rewrite] = {
    "error": _error,
    "error_after": _error,
    "status_error": lambda _answer, told: {
        "status": "error",
        "message": told.fault.text or "Invalid Interval in minutes",
    },
    "no_order_object": lambda _answer, _told: {"status": "success"},
    "json_string": lambda _answer, told: told.fault.text or "ok",
    "both_error_and_order": _both,
    "text_order_id": lambda answer, _told: (
        answer | {"order": str(answer["order"])} if "order" in answer else answer
    ),
    "zero_order_id": lambda _answer, _told: {"order": 0},
    "repeat_answer": lambda answer, told: answer if told.last is None else told.last,
    "listed_status": _listed,
    "string_errors": _string_errors,
    "missing_ids": _missing_ids,
    "lost_ids": _lost_ids,
    "numbers": _each_status(_as_numbers),
    "null_start_count": _with(start_count=None),
    "empty_start_count": _with(start_count=""),
    "start_counter": _each_status(_start_counter),
    "no_charge": _without("charge", "currency"),
    "no_remains": _without("remains"),
    "negative_remains": _with(remains="-5"),
    "remains_above_quantity": _each_status(_too_many_remain),
    "stale": _with(status="Pending"),
    "status_word": _each_status(
        lambda answer, _id, told: answer | {"status": told.fault.text or "Outdated"}
    ),
    "empty_list": lambda _answer, _told: [],
    "short_list": _short_list,
    "wrapped": lambda answer, _told: {"data": answer},
    "empty_data": lambda _answer, _told: {"status": "success", "data": "Empty Data"},
}

_DELIVERED: Mapping[str, str] = {
    "lost_before": BEFORE,
    "lost_after": AFTER,
    "hang_before": BEFORE,
    "hang_after": AFTER,
    "late": BEFORE,
    "http_500": AFTER,
    "http_502": AFTER,
    "http_504": AFTER,
    "html_page": AFTER,
    "cut_json": AFTER,
    "cut_status_line": AFTER,
    "short_body": AFTER,
    "bad_chunk": AFTER,
    "bad_gzip": AFTER,
    "garbage": AFTER,
    "drip_body": AFTER,
    "drip_header": AFTER,
    "huge_body": AFTER,
    "redirect": BEFORE,
    "rate_limit": BEFORE,
    "empty_body": AFTER,
    "double_body": AFTER,
}

KINDS: Mapping[str, str] = {
    **dict.fromkeys(REWRITES, AFTER),
    "error": BEFORE,
    "status_error": BEFORE,
    **_DELIVERED,
}
"""Every kind of fault, and whether it usually comes before or after processing."""
