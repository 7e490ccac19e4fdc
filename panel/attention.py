"""Everything that waits for a person, in one list with counts; each line leads to its rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.core.cache import cache
from django.db import connection
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
from orders.run_models import BulkRun
from orders.states import REQUEST_OPEN, Dispatch, RequestState
from wallet.models import Approval, TopUpRequest

# The number in the menu is on every page; it may be this old.
_BADGE_SECONDS = 15
_PLACE = "attention-counts"
_UNDER_WAY = [each for each in REQUEST_OPEN if each != RequestState.ASKED]
_REFUNDS = [Approval.Kind.REFUND, Approval.Kind.SETTLEMENT]
_CREDITS = [Approval.Kind.TOP_UP, Approval.Kind.ADJUSTMENT]
# More than this nobody needs to know exactly.
MOST = 1000


@dataclass(frozen=True)
class Kind:
    """One reason for which things wait: how many do, where they are, and who is shown it."""

    title: Any
    note: Any
    permission: str
    # The rows that wait, or their number where one statement can't tell.
    rows: Callable[[datetime], QuerySet[Any] | int]
    link: Callable[[], str]


def _many(rows: QuerySet[Any]) -> QuerySet[Any]:
    """The rows, up to MOST: what is behind a line is never counted in full."""
    return rows.order_by().values("pk")[:MOST]


def count_all(kinds: Sequence[Kind], now: datetime) -> list[int]:
    """How many wait of each kind: one statement for all that are rows."""
    found = [kind.rows(now) for kind in kinds]
    selected = [_selected(each) for each in found if not isinstance(each, int)]
    if not selected:
        return [each for each in found if isinstance(each, int)]
    # The parts are Django's own statements; their values go beside them.
    parts = ", ".join(f"(SELECT COUNT(*) FROM ({sql}) counted)" for sql, _values in selected)  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {parts}", [each for _sql, values in selected for each in values])
        counts = iter(cursor.fetchone())
    return [each if isinstance(each, int) else next(counts) for each in found]


def _selected(rows: QuerySet[Any]) -> tuple[str, tuple[Any, ...]]:
    sql, values = rows.query.sql_with_params()
    return sql, tuple(values)


def _list(name: str, query: str = "") -> Callable[[], str]:
    return lambda: f"{reverse(f'admin:{name}_changelist')}?{query}".rstrip("?")


def _other_orders(_now: datetime) -> QuerySet[Any]:
    special = Q(attention=Attention.LOSS) | Q(dispatch=Dispatch.UNKNOWN)
    return _many(Order.objects.exclude(attention="").exclude(special))


def _approvals(*kinds: Approval.Kind) -> Callable[[datetime], QuerySet[Any]]:
    return lambda _now: _many(Approval.objects.filter(state=Approval.State.OPEN, kind__in=kinds))


def _refused() -> QuerySet[Approval]:
    refused = Approval.objects.filter(state=Approval.State.REFUSED, kind__in=_REFUNDS)
    return refused.filter(seen_at__isnull=True)


def _failing(_now: datetime) -> QuerySet[Any]:
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
        _("Refills that wait for you"), _("Nothing is sent before somebody approves them."),
        "orders.decide_refill",
        lambda _now: _many(Request.objects.filter(state=RequestState.ASKED)),
        _list("orders_request", "refills=asked"),
    ),
    Kind(
        _("Refills and cancels under way"), _("Asked for, and not answered yet."),
        "orders.view_request",
        lambda _now: _many(Request.objects.filter(state__in=_UNDER_WAY)),
        _list("orders_request", f"state__in={','.join(_UNDER_WAY)}"),
    ),
    Kind(
        _("Refunds waiting for approval"), _("Above somebody's ceiling."), "wallet.view_approval",
        _approvals(*_REFUNDS), _list("wallet_approval", f"state__exact=open&kind__in={','.join(_REFUNDS)}"),
    ),
    Kind(
        _("Refused refunds"), _("A second person said no; the customer still waits."),
        "wallet.view_approval", lambda _now: _many(_refused()),
        _list("wallet_approval", f"state__exact=refused&seen_at__isnull=True&kind__in={','.join(_REFUNDS)}"),
    ),
    Kind(
        _("Top-ups waiting"), _("Customers say that they have paid."), "wallet.view_topuprequest",
        lambda _now: _many(TopUpRequest.objects.filter(state=TopUpRequest.State.OPEN)),
        _list("wallet_topuprequest", "state__exact=open"),
    ),
    Kind(
        _("Top-ups waiting for approval"), _("Above somebody's ceiling."), "wallet.view_approval",
        _approvals(*_CREDITS), _list("wallet_approval", f"state__exact=open&kind__in={','.join(_CREDITS)}"),
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
        _("Bulk actions that stand still"), _("No order of theirs had its turn for 15 minutes."),
        "orders.view_bulkrun", lambda now: _many(BulkRun.objects.stuck(now)),
        _list("orders_bulkrun", "finished_at__isnull=True"),
    ),
    Kind(
        _("Providers low on balance"), _("At the present pace it lasts less than three days."),
        "catalog.view_provider", lambda now: len(low_balances(now)), _list("catalog_provider"),
    ),
)  # fmt: skip


def waiting(user: User, now: datetime) -> list[tuple[Kind, int]]:
    """Every kind that this person may see, with how many wait."""
    seen = [kind for kind in KINDS if user.has_perm(kind.permission)]
    return list(zip(seen, count_all(seen, now), strict=True))


def badge(request: HttpRequest) -> str:
    """How many things wait for this person, for the menu; empty when nothing does.

    The counts are kept for everybody: the menus of all staff cost a few statements in 15 seconds.
    """
    user = request.user
    if not isinstance(user, User):
        return ""
    counts: list[int] | None = cache.get(_PLACE)
    if counts is None or len(counts) != len(KINDS):
        counts = count_all(KINDS, timezone.now())
        cache.set(_PLACE, counts, _BADGE_SECONDS)
    pairs = zip(KINDS, counts, strict=True)
    total = sum(count for kind, count in pairs if user.has_perm(kind.permission))
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
