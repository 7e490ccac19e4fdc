"""The admin's first page: what happens today, and what needs a person. Only figures that are real."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.timesince import timesince
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.staff import figure
from catalog.models import Provider, SyncRun
from orders.models import Gate, Order
from orders.sales import by_day
from orders.states import Dispatch, Status
from panel import reports
from panel.models import Job
from wallet.models import Account, TopUpRequest

# An order that waits longer than this for its first sending is worth a look.
SLOW_SENDING = timedelta(minutes=5)


@dataclass(frozen=True)
class Tile:
    """One figure, where it comes from, and whether it is fine as it is."""

    title: Any
    value: Any
    link: str
    note: Any = ""
    is_fine: bool = True

    @property
    def word(self) -> Any:
        """Colour is never the only sign."""
        return _("fine") if self.is_fine else _("look at this")


def add_figures(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the index page what the viewer may see."""
    now = timezone.now()
    user = request.user
    if not isinstance(user, User):
        return context
    context["tiles"] = _tiles(user, now)
    context["sales"] = _sales() if user.has_perm("orders.view_dailysales") else None
    context["today"] = _orders_today(now) if user.has_perm("orders.view_order") else None
    context["providers"] = _providers(now) if user.has_perm("catalog.view_provider") else None
    context["jobs"] = _jobs(now) if user.has_perm("panel.view_job") else None
    return context


def _sales() -> dict[str, Any]:
    """Each period with its sums; its name leads to the report, its new customers to their list."""
    rows = []
    for days in reports.PERIODS:
        first, last = reports.period(days)
        count = reports.new_customers(first, last)
        rows.append(
            [
                _link(f"{reverse('sales')}?days={days}", _("%(days)d days") % {"days": days}),
                *reports.cells(by_day(first, last).total),
                _link(reports.customers_link(first, last), count),
            ]
        )
    return {"headers": [_("period"), *reports.HEADERS, _("new customers")], "rows": rows}


def _link(address: str, text: Any) -> Any:
    return format_html('<a class="underline" href="{}">{}</a>', address, text)


def _tiles(user: User, now: datetime) -> list[Tile]:
    tiles = []
    if user.has_perm("orders.view_order"):
        tiles += [_unconfirmed(), _attention(), _oldest_unsent(now)]
    if user.has_perm("catalog.view_syncrun"):
        tiles.append(_failed_syncs(now))
    if user.has_perm("wallet.view_account"):
        tiles.append(_frozen())
    if user.has_perm("wallet.view_topuprequest"):
        tiles.append(_open_top_ups())
    return tiles


def _unconfirmed() -> Tile:
    count = Order.objects.filter(dispatch=Dispatch.UNKNOWN).count()
    return Tile(
        title=_("Unconfirmed orders"),
        value=count,
        link=_orders("attention=unknown"),
        note=_("Sent, and the answer was lost; the money is held."),
        is_fine=count == 0,
    )


def _attention() -> Tile:
    count = Order.objects.exclude(attention="").count()
    return Tile(
        title=_("Orders needing attention"),
        value=count,
        link=_orders("attention=any"),
        is_fine=count == 0,
    )


def _oldest_unsent(now: datetime) -> Tile:
    # Queued orders are few and have their own index; by age there is none.
    queued = Order.objects.filter(dispatch=Dispatch.QUEUED).order_by("created_at")
    placed = queued.values_list("created_at", flat=True).first()
    return Tile(
        title=_("Oldest unsent order"),
        value=timesince(placed, now) if placed else _("none"),
        link=_orders(f"dispatch__exact={Dispatch.QUEUED}"),
        note=_("Paid, and waiting to be sent."),
        is_fine=placed is None or now - placed < SLOW_SENDING,
    )


def _open_top_ups() -> Tile:
    count = TopUpRequest.objects.filter(state=TopUpRequest.State.OPEN).count()
    return Tile(
        title=_("Top-ups to check"),
        value=count,
        link=f"{reverse('admin:wallet_topuprequest_changelist')}?state__exact=open",
        note=_("Customers say that they paid."),
        is_fine=count == 0,
    )


def _failed_syncs(now: datetime) -> Tile:
    bad = [SyncRun.Outcome.FAILED, SyncRun.Outcome.REFUSED]
    count = SyncRun.objects.filter(outcome__in=bad, started_at__gte=now - timedelta(days=1)).count()
    return Tile(
        title=_("Failed syncs in 24 hours"),
        value=count,
        link=reverse("admin:catalog_syncrun_changelist"),
        is_fine=count == 0,
    )


def _frozen() -> Tile:
    count = Account.objects.exclude(frozen_reason="").count()
    return Tile(
        title=_("Frozen wallets"),
        value=count,
        link=reverse("admin:wallet_account_changelist"),
        is_fine=count == 0,
    )


def _orders_today(now: datetime) -> dict[str, Any]:
    midnight = timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0)
    counted = (
        Order.objects.filter(created_at__gte=midnight)
        .order_by()
        .values_list("status")
        .annotate(count=Count("pk"))
    )
    counts = dict(counted)
    return {
        "headers": [_("status"), _("orders today")],
        "rows": [[status.label, counts.get(status.value, 0)] for status in Status],
    }


def _providers(now: datetime) -> dict[str, Any]:
    providers = Provider.objects.defer("api_key").select_related("gate")
    return {
        "headers": [_("provider"), _("balance"), _("checked"), _("sending")],
        "rows": [
            [
                provider.name,
                "–" if provider.balance is None else f"{figure(provider.balance)} {provider.currency}",
                _ago(provider.balance_checked_at, now),
                _sending(provider),
            ]
            for provider in providers
        ],
    }  # fmt: skip


def _sending(provider: Provider) -> Any:
    if not provider.is_enabled:
        return _("switched off")
    gate: Gate | None = getattr(provider, "gate", None)
    if gate is None or not gate.pause:
        return _("on")
    return gate.get_pause_display()


def _jobs(now: datetime) -> dict[str, Any]:
    words = {True: _("succeeded"), False: _("failed"), None: _("never ended")}
    return {
        "headers": [_("job"), _("last run"), _("outcome"), _("seconds"), _("result")],
        "rows": [
            [
                job.name,
                _ago(job.started_at, now),
                words[job.succeeded],
                "–" if job.seconds is None else round(job.seconds, 1),
                job.result or "–",
            ]
            for job in Job.objects.all()
        ],
    }


def _ago(moment: datetime | None, now: datetime) -> Any:
    if moment is None:
        return _("never")
    return _("%(time)s ago") % {"time": timesince(moment, now)}


def _orders(query: str) -> str:
    return f"{reverse('admin:orders_order_changelist')}?{query}"
