"""How an order's states and steps are told to its customer."""

from decimal import Decimal, InvalidOperation

from django import template
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from orders.models import Order
from orders.states import Status
from orders.timeline import Code, Line
from wallet.templatetags.money import money

register = template.Library()

# One of the five colours of panel.css; the word stands beside it.
_TONES = {
    Status.PENDING: "wait",
    Status.PROCESSING: "wait",
    Status.IN_PROGRESS: "run",
    Status.COMPLETED: "done",
    Status.PARTIAL: "part",
    Status.CANCELED: "stop",
}


@register.filter
def tone(status: str) -> str:
    return _TONES.get(Status(status), "wait") if status in Status.values else "wait"


@register.filter
def percent(order: Order) -> int:
    return int(order.delivered * 100 / order.quantity)


@register.filter
def meaning(status: str) -> str:
    """A status word in a sentence."""
    return {
        Status.PENDING: _("Paid, and waiting to be sent or accepted."),
        Status.PROCESSING: _("Accepted; delivery is being prepared."),
        Status.IN_PROGRESS: _("Delivery is under way."),
        Status.COMPLETED: _("Delivered in full."),
        Status.PARTIAL: _("Delivered in part; what was not delivered is refunded."),
        Status.CANCELED: _("Not delivered; the charge is refunded."),
    }.get(Status(status), "") if status in Status.values else ""  # fmt: skip


@register.filter
def details(line: Line) -> str:
    """What a timeline line adds to its title, for the customer; provider's words stay inside."""
    if line.event.code == Code.REFUNDED:
        return _amount(line.values.get("amount"))
    if line.event.code == Code.STATUS:
        status = str(line.values.get("status") or line.values.get("to") or "")
        return str(Status(status).label) if status in Status.values else ""
    return ""


@register.filter
def duration(seconds: int) -> str:
    """A typical time in the unit that one would use in speech."""
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return ngettext("%(count)d minute", "%(count)d minutes", minutes) % {"count": minutes}
    hours = round(minutes / 60)
    if hours < 48:
        return ngettext("%(count)d hour", "%(count)d hours", hours) % {"count": hours}
    days = round(hours / 24)
    return ngettext("%(count)d day", "%(count)d days", days) % {"count": days}


def _amount(text: object) -> str:
    try:
        return money(Decimal(str(text)))
    except InvalidOperation:
        return ""
