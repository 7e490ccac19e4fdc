"""The truth about a simulated provider, for tests and load runs to compare with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from upstream.simulator.answers import plain
from upstream.simulator.book import Book
from upstream.simulator.life import Order, progress


@dataclass
class Counts:
    """What has come in since it started.

    connections: accepted by the API, control requests not among them; silent: those of them
    that ended without a single byte. received and processed: requests per action; refused and
    unprocessed ones are received only. bytes_in, bytes_out: of API connections.
    """

    connections: int = 0
    silent: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    received: Counter[str] = field(default_factory=Counter)
    processed: Counter[str] = field(default_factory=Counter)


def describe(book: Book, counts: Counts, at: float, link: str) -> dict[str, Any]:
    """Orders, money and counts as one JSON object; no key is in it."""
    orders = book.orders.values()
    return {
        "now": at,
        "balance": plain(book.balance),
        "paid_in": plain(book.paid_in),
        "charged": plain(sum((order.cost for order in orders), Decimal(0))),
        "given_back": plain(sum((order.given_back for order in orders), Decimal(0))),
        "orders": [_order(book, each, at) for each in orders if link in ("", each.link)],
        "refills": [
            {"refill": each.id, "order": each.order, "status": each.status(at)}
            for each in book.refills.values()
        ],
        "neighbours": [list(span) for span in book.ids.ranges],
        "waiting": len(book.events),
        "connections": counts.connections,
        "silent_connections": counts.silent,
        "bytes_in": counts.bytes_in,
        "bytes_out": counts.bytes_out,
        "received": dict(counts.received),
        "processed": dict(counts.processed),
    }


def _order(book: Book, order: Order, at: float) -> dict[str, Any]:
    now = progress(order, at)
    return {
        "order": order.id,
        "source": order.source,
        "kind": order.kind,
        "parent": order.parent,
        "service": order.service,
        "type": order.type,
        "link": order.link,
        "fields": order.fields,
        "quantity": order.quantity,
        "runs": order.runs,
        "price": plain(order.price),
        "cost": plain(order.cost),
        "given_back": plain(order.given_back),
        "status": now.status,
        "remains": now.remains,
        "shown": order.forced,
        "children": order.children,
        "old_children": order.old_children,
        "created": order.born,
        "currency": book.settings.currency,
    }
