"""Everything that waits for a person, in one list with counts; each line leads to its rows."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.core.cache import cache
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.staff import staff_member
from catalog.models import HeldChange, Service
from orders import timing
from orders.attention import Attention
from orders.models import Gate, Order, Request
from orders.provider_facts import low_balances
from orders.states import REQUEST_OPEN, Dispatch
from wallet.models import Approval

# The number in the menu is on every page; it may be this old.
_BADGE_SECONDS = 15
# More than this nobody needs to know exactly.
MOST = 1000


@dataclass(frozen=True)
class Kind:
    """One reason for which things wait: how many do, where they are, and who is shown it."""

    title: Any
    note: Any
    permission: str
    count: Callable[[datetime], int]
    link: Callable[[], str]


def _many(rows: QuerySet[Any]) -> int:
    """How many rows there are, up to MOST: what is behind a line is never counted in full."""
    return len(rows.order_by().values_list("pk", flat=True)[:MOST])


def _list(name: str, query: str = "") -> Callable[[], str]:
    return lambda: f"{reverse(f'admin:{name}_changelist')}?{query}".rstrip("?")


def _other_orders(_now: datetime) -> int:
    special = Q(attention=Attention.LOSS) | Q(dispatch=Dispatch.UNKNOWN)
    return _many(Order.objects.exclude(attention="").exclude(special))


def _approvals(*kinds: Approval.Kind) -> Callable[[datetime], int]:
    return lambda _now: _many(Approval.objects.filter(state=Approval.State.OPEN, kind__in=kinds))


def _failing(_now: datetime) -> int:
    return _many(Gate.objects.filter(~Q(pause="") | Q(open_until__isnull=False)))


KINDS = (
    Kind(
        _("Unconfirmed orders"), _("Sent, and the answer was lost; the money is held."),
        "orders.view_order",
        lambda _now: _many(Order.objects.filter(dispatch=Dispatch.UNKNOWN)),
        _list("orders_order", "attention=unknown"),
    ),
    Kind(
        _("Orders held back"), _("Their cost has reached their price."), "orders.view_order",
        lambda _now: _many(Order.objects.exclude(attention="").filter(attention=Attention.LOSS)),
        _list("orders_order", "attention=loss"),
    ),
    Kind(
        _("Orders with odd answers"), _("The provider said something that needs a look."),
        "orders.view_order", _other_orders, _list("orders_order", "attention=any"),
    ),
    Kind(
        _("Stuck orders"), _("Running longer than 95 % of their service's orders."),
        "orders.view_order", lambda now: _many(timing.stuck(now)),
        _list("orders_order", "attention=stuck"),
    ),
    Kind(
        _("Refills and cancels under way"), _("Asked for, and not answered yet."),
        "orders.view_request",
        lambda _now: _many(Request.objects.filter(state__in=REQUEST_OPEN)),
        _list("orders_request", "finished_at__isnull=True"),
    ),
    Kind(
        _("Refunds waiting for approval"), _("Above somebody's ceiling."), "wallet.view_approval",
        _approvals(Approval.Kind.REFUND), _list("wallet_approval", "state__exact=open&kind__exact=refund"),
    ),
    Kind(
        _("Top-ups waiting for approval"), _("Above somebody's ceiling."), "wallet.view_approval",
        _approvals(Approval.Kind.TOP_UP, Approval.Kind.ADJUSTMENT),
        _list("wallet_approval", "state__exact=open"),
    ),
    Kind(
        _("Held price changes"), _("A provider's list crosses a threshold."),
        "catalog.view_heldchange", lambda _now: _many(HeldChange.objects.filter(state="open")),
        _list("catalog_heldchange", "state__exact=open"),
    ),
    Kind(
        _("Held services"), _("New or returned, and not on sale until someone releases them."),
        "catalog.change_service",
        lambda _now: _many(Service.objects.filter(is_held=True, is_present=True)),
        _list("catalog_service", "state=held"),
    ),
    Kind(
        _("Providers that take no orders"), _("Paused, or failing."), "catalog.view_provider",
        _failing, _list("catalog_provider"),
    ),
    Kind(
        _("Providers low on balance"), _("At the present pace it lasts less than three days."),
        "catalog.view_provider", lambda now: len(low_balances(now)), _list("catalog_provider"),
    ),
)  # fmt: skip


def waiting(user: User, now: datetime) -> list[tuple[Kind, int]]:
    """Every kind that this person may see, with how many wait."""
    return [(kind, kind.count(now)) for kind in KINDS if user.has_perm(kind.permission)]


def badge(request: HttpRequest) -> str:
    """How many things wait for this person, for the menu; empty when nothing does."""
    user = request.user
    if not isinstance(user, User):
        return ""
    place = f"attention-{user.pk}"
    total: int | None = cache.get(place)
    if total is None:
        total = sum(count for _kind, count in waiting(user, timezone.now()))
        cache.set(place, total, _BADGE_SECONDS)
    return str(total) if total else ""


def page(request: HttpRequest) -> HttpResponse:
    """The list."""
    rows = [
        {
            "title": kind.title,
            "note": kind.note,
            "link": kind.link(),
            "count": count,
            "is_more": count >= MOST,
        }
        for kind, count in waiting(staff_member(request), timezone.now())
    ]
    context = {**admin.site.each_context(request), "title": _("Needs attention"), "kinds": rows}
    return TemplateResponse(request, "admin/attention.html", context)
