"""A customer's orders as CSV: streamed, and safe to open in a spreadsheet."""

from collections.abc import Iterable, Iterator
from datetime import tzinfo

from orders.models import Order
from wallet.spreadsheet import line, safe

HEADER = (
    "order", "placed", "service_id", "service", "link", "quantity", "start_count", "remains",
    "status", "charge", "refunded",
)  # fmt: skip


def csv_lines(orders: Iterable[Order], zone: tzinfo) -> Iterator[str]:
    """The header and one line per order; times are in `zone`, amounts with a decimal point."""
    yield line(HEADER)
    for order in orders:
        yield line(_cells(order, zone))


def _cells(order: Order, zone: tzinfo) -> tuple[object, ...]:
    return (
        order.pk,
        order.created_at.astimezone(zone).isoformat(timespec="seconds"),
        order.service_id,
        safe(order.service.title),
        safe(order.link),
        order.quantity,
        order.start_count,
        order.remains,
        order.status,
        f"{order.charge:f}",
        f"{order.refunded:f}",
    )
