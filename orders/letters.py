"""What customers are told by mail about their orders; written with the change itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from accounts.mail import Kind
from accounts.models import Mail, User
from orders.models import Order
from orders.states import Status

_KINDS = {
    Status.COMPLETED: Kind.COMPLETED,
    Status.PARTIAL: Kind.PARTIAL,
    Status.CANCELED: Kind.CANCELED,
}


@dataclass(frozen=True)
class Ending:
    """An order that has just become final; amounts in the site's currency."""

    order: Order
    status: Status
    refunded: Decimal
    remains: int | None


def tell_ended(endings: Sequence[Ending]) -> None:
    """Put a mail about each into the outbox, in the caller's transaction; parts are not told."""
    endings = [each for each in endings if each.order.parent_id is None]
    if not endings:
        return
    customers = User.objects.filter(is_active=True).in_bulk(
        {each.order.customer_id for each in endings}
    )
    Mail.objects.bulk_create(
        Mail(user_id=each.order.customer_id, kind=kind, values=_values(each))
        for each in endings
        if (kind := _KINDS.get(each.status))
        and (customer := customers.get(each.order.customer_id))
        and kind not in customer.mail_off
    )


def tell_canceled(order: Order) -> None:
    """The mail about an order that ended without delivery."""
    tell_ended([Ending(order, Status.CANCELED, order.refunded, order.remains)])


def _values(ending: Ending) -> dict[str, str | int]:
    order = ending.order
    return {
        "order": order.pk,
        "link": order.link,
        "quantity": order.quantity,
        "remains": max(0, min(order.quantity, ending.remains or 0)),
        "charge": str(order.charge),
        "refunded": str(ending.refunded),
        "paid": str(order.charge - ending.refunded),
    }
