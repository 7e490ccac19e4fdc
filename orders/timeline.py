"""The lines of an order's timeline: what can happen to it, and the sentence that tells it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import models
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from orders.models import Event, Order
from wallet.prepared import Insert


class Code(models.TextChoices):
    """What happened. Values are stored, so a name changes only with a migration."""

    PLACED = "placed", _("Order placed and paid")
    SENDING = "sending", _("Sending")
    NOT_SENT = "not_sent", _("Not sent; it will be tried again")
    ACCEPTED = "accepted", _("Accepted")
    REJECTED = "rejected", _("Refused by the provider")
    UNKNOWN = "unknown", _("Sent, and the answer was lost; it is being checked")
    WAITING = "waiting", _("Waiting to be sent")
    STATUS = "status", _("Status changed")
    REFUNDED = "refunded", _("Refunded")
    WITHDRAWN = "withdrawn", _("Cancelled before it was sent")
    CONTRARY = "contrary", _("The provider changed a final status")
    ODD_ANSWER = "odd_answer", _("The provider's answer needs a look")
    CHILD = "child", _("The provider created a part order")
    REFILL_REQUESTED = "refill_requested", _("Refill requested")
    REFILL_STATE = "refill_state", _("Refill changed")
    CANCEL_REQUESTED = "cancel_requested", _("Cancel requested")
    CANCEL_STATE = "cancel_state", _("Cancel request changed")
    FOUND = "found", _("Found at the provider")
    ABSENT = "absent", _("Found not to be at the provider")
    RESOLVED = "resolved", _("Settled by staff")
    LATE_ANSWER = "late_answer", _("An answer arrived late")
    NOTE = "note", _("Note")
    HELD_BACK = "held_back", _("Not sent: its cost has reached its price")


# What only staff see: it names providers' answers, attempts or people.
STAFF_ONLY = {
    Code.NOT_SENT,
    Code.CONTRARY,
    Code.ODD_ANSWER,
    Code.FOUND,
    Code.ABSENT,
    Code.RESOLVED,
    Code.LATE_ANSWER,
    Code.NOTE,
    Code.HELD_BACK,
}


@dataclass(frozen=True)
class Line:
    """One line as a page shows it."""

    event: Event
    title: str | Promise
    values: dict[str, Any]


def record(
    order: Order | int, code: Code, *, actor: User | None = None, **values: str | int | None
) -> Event:
    """Add a line. Values are plain text or numbers (amounts as text); never a key or an answer."""
    event = Event(
        order_id=order if isinstance(order, int) else order.pk,
        code=code,
        values={name: value for name, value in values.items() if value is not None},
        actor=actor,
    )
    insert([event])
    return event


def placed_line(order: Order, *, actor: User) -> Event:
    """The first line of an order's timeline, to be written with the order."""
    values = {"charge": str(order.charge)}
    return Event(order_id=order.pk, code=Code.PLACED, values=values, actor_id=actor.pk)


def record_placed(orders: Iterable[Order], *, actor: User) -> None:
    """Begin the timelines of many orders in one statement."""
    insert([placed_line(order, actor=actor) for order in orders])


insert = Insert(Event)


def lines(order: Order, *, for_staff: bool) -> list[Line]:
    """The timeline, oldest first; a customer's leaves out what only staff see."""
    return [
        Line(event=event, title=Code(event.code).label, values=event.values)
        for event in order.events.select_related("actor")
        if for_staff or event.code not in STAFF_ONLY
    ]
