"""What customers are told by mail about their orders; written with the change itself."""

from collections.abc import Collection

from accounts.mail import Kind
from accounts.models import Mail
from orders.models import Order
from orders.states import Status

_KINDS = {
    Status.COMPLETED: Kind.COMPLETED,
    Status.PARTIAL: Kind.PARTIAL,
    Status.CANCELED: Kind.CANCELED,
}


def tell_ended(order_ids: Collection[int]) -> None:
    """Put a mail about each into the outbox, in the transaction that has just ended the orders.

    Two statements whatever their number; the parts of an order are not told.
    """
    if not order_ids:
        return
    ended = Order.objects.filter(pk__in=order_ids, parent=None, customer__is_active=True)
    Mail.objects.bulk_create(
        Mail(user_id=order.customer_id, kind=kind, values=_values(order))
        for order in ended.select_related("customer").order_by("pk")
        if (kind := _KINDS.get(Status(order.status))) and kind not in order.customer.mail_off
    )


def _values(order: Order) -> dict[str, str | int]:
    return {
        "order": order.pk,
        "link": order.link,
        "quantity": order.quantity,
        "remains": max(0, min(order.quantity, order.remains or 0)),
        "charge": str(order.charge),
        "refunded": str(order.refunded),
        "paid": str(order.charge - order.refunded),
    }
