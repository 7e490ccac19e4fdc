"""A World's books as one JSON file, so that a restart finds every order again."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

from upstream.simulator.book import Event
from upstream.simulator.life import Order, Refill
from upstream.simulator.world import World

_VERSION = 1
_ORDER_FIELDS = tuple(item.name for item in dataclasses.fields(Order))
_MONEY = ("price", "cost", "given_back")


def save(world: World, path: Path) -> None:
    """Write the books; a reader sees the old file or the new one, never a part."""
    with world.lock:
        text = json.dumps(_dump(world), default=str)
    partial = path.with_name(path.name + ".part")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def restore(world: World, path: Path) -> bool:
    """Put a saved file's books into a fresh World; False when there is no file.

    Services and settings are the World's own. Raises ValueError for another kind of file.
    """
    if not path.exists():
        return False
    saved = json.loads(path.read_text(encoding="utf-8"), parse_float=float)
    if not isinstance(saved, dict) or saved.get("version") != _VERSION:
        raise ValueError(f"{path}: not a state file of this simulator")
    with world.lock:
        _load(world, saved)
    return True


def _dump(world: World) -> dict[str, Any]:
    book = world.book
    return {
        "version": _VERSION,
        "offset": world.offset,
        "chance": book.rng.getstate(),
        "balance": str(book.balance),
        "paid_in": str(book.paid_in),
        "next_id": book.ids.next,
        "next_refill": book.next_refill,
        "neighbours": book.ids.ranges,
        "orders": [_dump_order(each) for each in book.orders.values()],
        "refills": [dataclasses.asdict(each) for each in book.refills.values()],
        "events": [dataclasses.astuple(each) for each in book.events],
    }


def _dump_order(order: Order) -> dict[str, Any]:
    # Not asdict: it copies deeply, and the World stands still meanwhile.
    facts = {name: getattr(order, name) for name in _ORDER_FIELDS}
    return facts | {name: str(facts[name]) for name in _MONEY}


def _load(world: World, saved: dict[str, Any]) -> None:
    book = world.book
    world.offset = saved["offset"]
    version, numbers, rest = saved["chance"]
    book.rng.setstate((version, tuple(numbers), rest))
    book.balance = Decimal(saved["balance"])
    book.paid_in = Decimal(saved["paid_in"])
    book.ids.next = saved["next_id"]
    book.ids.ranges = [(low, high) for low, high in saved["neighbours"]]
    book.next_refill = saved["next_refill"]
    for facts in saved["orders"]:
        order = Order(**facts | {name: Decimal(facts[name]) for name in _MONEY})
        # An order outlives the price list it was placed from.
        if order.service in book.known:
            book.orders[order.id] = order
            request = order.fields.get(book.settings.idempotency_param)
            if request:
                book.by_request[request] = order.id
            book.last_on_link[order.service, order.link] = order.id
    book.ids.never_again(book.orders)
    for facts in saved["refills"]:
        refill = Refill(**facts)
        book.refills[refill.id] = refill
        book.refills_of.setdefault(refill.order, []).append(refill.id)
    events = [_event(*each) for each in saved["events"]]
    book.events = [each for each in events if each.order in book.orders or not each.order]
    heapq.heapify(book.events)
    book.event_number = itertools.count(max((each.number for each in events), default=0) + 1)


def _event(due: float, number: int, kind: str, order: str, fields: list[list[str]]) -> Event:
    return Event(due, number, kind, order, tuple((name, value) for name, value in fields))
