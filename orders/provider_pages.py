"""The tables under a provider in the admin."""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.staff import figure
from catalog.admin import KINDS
from catalog.models import Provider
from orders.provider_facts import Facts, facts

_READINGS = 20
_DAYS = 14


def provider_sections(provider: Provider) -> list[dict[str, Any]]:
    """How it does, its errors, its balance and its exchange rates."""
    found = facts(provider, timezone.now())
    tables = [
        (_("The last seven days"), _figures(found)),
        (_("Refusals and failures by kind"), _errors(found)),
        (_("Accounts by day"), _days(provider)),
        (_("Balance"), _balances(found)),
        (_("Exchange rates"), _rates(provider)),
    ]
    return [{"title": title, "table": table} for title, table in tables if table["rows"]]


def _figures(found: Facts) -> dict[str, Any]:
    rows = [
        [_("orders today"), found.orders_today],
        [_("accepted of the answered"), _percent(found)],
        [_("answer, median"), _seconds(found.median)],
        [_("answer, 95 %"), _seconds(found.p95)],
        [_("balance lasts (days)"), figure(found.days_left, places=1)],
    ]
    return {"headers": [_("figure"), _("value")], "rows": rows}


def _percent(found: Facts) -> str:
    if found.success_percent is None:
        return "–"
    return f"{figure(found.success_percent, places=1)} % ({found.accepted}/{found.answered})"


def _seconds(time: timedelta | None) -> str:
    if time is None:
        return "–"
    return f"{time // timedelta(milliseconds=1)} ms"


def _errors(found: Facts) -> dict[str, Any]:
    names = {str(kind): words for kind, words in KINDS}
    rows = [[names.get(kind, kind), count] for kind, count in found.errors]
    return {"headers": [_("kind"), _("attempts")], "rows": rows}


def _days(provider: Provider) -> dict[str, Any]:
    rows = [
        [day.day, figure(day.booked), figure(day.given_back), figure(day.overcharged),
         figure(day.spent), figure(day.unexplained)]
        for day in provider.days.all()[:_DAYS]
    ]  # fmt: skip
    names = [_("booked"), _("given back"), _("charged too much"), _("balance spent")]
    return {"headers": [_("day"), *names, _("unexplained")], "rows": rows}


def _balances(found: Facts) -> dict[str, Any]:
    rows = [[at, figure(amount)] for at, amount in found.balances[::-1][:_READINGS]]
    return {"headers": [_("when"), _("balance")], "rows": rows}


def _rates(provider: Provider) -> dict[str, Any]:
    changes = provider.exchange_rates.select_related("actor")[:_READINGS]
    rows = [
        [change.at, figure(change.old), figure(change.new), change.actor or "–"]
        for change in changes
    ]
    return {"headers": [_("when"), _("from"), _("to"), _("who")], "rows": rows}
