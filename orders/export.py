"""A customer's orders as CSV: streamed, and safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import tzinfo

from orders.models import Order

HEADER = (
    "order", "placed", "service_id", "service", "link", "quantity", "start_count", "remains",
    "status", "charge", "refunded",
)  # fmt: skip
# What makes a spreadsheet take a cell for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_lines(orders: Iterable[Order], zone: tzinfo) -> Iterator[str]:
    """The header and one line per order; times are in `zone`, amounts with a decimal point."""
    yield _line(HEADER)
    for order in orders:
        yield _line(_cells(order, zone))


def _cells(order: Order, zone: tzinfo) -> tuple[object, ...]:
    return (
        order.pk,
        order.created_at.astimezone(zone).isoformat(timespec="seconds"),
        order.service_id,
        _safe(order.service.title),
        _safe(order.link),
        order.quantity,
        order.start_count,
        order.remains,
        order.status,
        f"{order.charge:f}",
        f"{order.refunded:f}",
    )


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _line(cells: Iterable[object]) -> str:
    written = io.StringIO()
    csv.writer(written).writerow(cells)
    return written.getvalue()
