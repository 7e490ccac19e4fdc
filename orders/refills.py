"""When an order may be refilled, and what staff decide about refills that wait for them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from accounts.models import User
from catalog.models import Service
from orders.decisions import FOLLOWED
from orders.errors import NotPossible
from orders.models import Order, Request
from orders.settlement import facts_of
from orders.states import REQUEST_OPEN, RequestState, Status
from orders.timeline import Code, record

EVERY_HOURS = 24


@dataclass(frozen=True)
class Window:
    """When refills are possible: `days` after the end (0: for ever), not before `wait` after it,
    and `every` so often."""

    days: int
    wait: timedelta
    every: timedelta

    def opens(self, ended: datetime, asked: datetime | None) -> datetime:
        """From when on: after the wait, and after the pause since the last one."""
        first = ended + self.wait
        return first if asked is None else max(first, asked + self.every)

    def ends(self, ended: datetime) -> datetime | None:
        """Until when; None for ever."""
        return ended + timedelta(days=self.days) if self.days else None


def window_of(service: Service) -> Window:
    """The service's own rules, else the site's."""
    days = settings.REFILL_DAYS if service.refill_days is None else service.refill_days
    hours = EVERY_HOURS if service.refill_every_hours is None else service.refill_every_hours
    wait = timedelta(hours=settings.REFILL_WAIT_HOURS)
    return Window(days=days, wait=wait, every=timedelta(hours=hours))


def refill_refusal(order: Order, now: datetime) -> str:
    """Why this order can't be refilled now, as a sentence for its customer; empty when it can.

    Seen at real panels: completed or partial orders of services with refill, within 30 days, one
    open request, and 24 hours between two. A request the provider refused may be repeated; one that
    staff refused may be after the pause.
    """
    if not order.service.offers_refill:
        return _("This service has no refill.")
    if order.dispatch not in FOLLOWED or order.status not in (Status.COMPLETED, Status.PARTIAL):
        return _("Only a completed or partial order can be refilled.")
    if facts_of(order).shape.is_container:
        return _("Ask for the refill of its part orders.")
    if _refills(order).filter(state__in=REQUEST_OPEN).exists():
        return _("A refill is under way.")
    return _outside(window_of(order.service), order.finished_at or now, _last_asked(order), now)


def _refills(order: Order) -> "QuerySet[Request]":
    return order.requests.filter(kind=Request.Kind.REFILL)


def _last_asked(order: Order) -> datetime | None:
    counted = _refills(order).exclude(state=RequestState.REJECTED, reason="")
    return counted.order_by("-created_at").values_list("created_at", flat=True).first()


def _outside(window: Window, ended: datetime, asked: datetime | None, now: datetime) -> str:
    ends, opens = window.ends(ended), window.opens(ended, asked)
    if ends is not None and max(now, opens) > ends:
        day = date_format(timezone.localtime(ends), "j M Y")
        return _("The time for a refill ended on %(day)s.") % {"day": day}
    if now < opens:
        return _("A refill opens in %(time)s.") % {"time": _span(opens - now)}
    return ""


def _span(time: timedelta) -> str:
    """Rounded up, so that what was promised is then so."""
    minutes = -(-time // timedelta(minutes=1))
    if minutes < 60:
        return _("%(n)s min") % {"n": minutes}
    return _("%(n)s h") % {"n": -(-minutes // 60)}


@transaction.atomic
def approve_refill(*, request_id: int, is_by_hand: bool, reason: str, actor: User) -> None:
    """Let a refill that waited go to the provider; or, where staff see to it, note that they do.

    One by hand stays open until somebody settles it. Raises NotPossible when it waits no more.
    """
    now = timezone.now()
    state = RequestState.ACCEPTED if is_by_hand else RequestState.QUEUED
    _decide(request_id, state, actor, reason, not_before=now)


@transaction.atomic
def refuse_refill(*, request_id: int, reason: str, actor: User) -> None:
    """Say no; the customer reads the reason. Raises NotPossible without one, or when it waits no more."""
    if not reason.strip():
        raise NotPossible(_("Give a reason."))
    _decide(request_id, RequestState.REJECTED, actor, reason, finished_at=timezone.now())


def _decide(
    request_id: int, state: RequestState, actor: User, reason: str, **changes: datetime
) -> None:
    waiting = Request.objects.filter(pk=request_id, state=RequestState.ASKED)
    if not waiting.update(state=state, reason=reason.strip()[:300], **changes):
        raise NotPossible(_("This refill does not wait for staff any more."))
    order_id = Request.objects.values_list("order_id", flat=True).get(pk=request_id)
    record(order_id, Code.REFILL_STATE, actor=actor, state=state, reason=reason.strip() or None)
