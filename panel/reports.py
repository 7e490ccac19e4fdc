"""What was sold: revenue, refunds, cost and profit by day and by part, on a page and as a file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.staff import figure, staff_member
from catalog.charts import draw
from catalog.models import Category, Provider, Service
from catalog.sheets import csv_lines
from orders.models import DailySales
from orders.sales import Figures, Move, Report, by_day, by_part, days_before, moves

PERIODS = (7, 30, 90)
_SHOWN_ROWS = 50
_SHOWN_MOVERS = 5
HEADERS = [_("orders"), _("revenue"), _("refunds"), _("cost"), _("profit"), _("margin %")]
_MODELS: dict[str, Any] = {
    DailySales.Part.SERVICE: Service,
    DailySales.Part.CATEGORY: Category,
    DailySales.Part.PROVIDER: Provider,
    DailySales.Part.CUSTOMER: User,
}
# The order list's filter behind each part's figure; a category leads to its services instead.
_FILTERS = {"service": "service__id__exact", "provider": "provider__id__exact",
            "customer": "customer__id__exact"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for: a period, how it is divided, and perhaps one category's services."""

    days: int
    part: str
    category: Category | None
    first: date
    last: date

    def address(self, **changed: Any) -> str:
        """The page's own query with something changed."""
        given = {"days": self.days, "by": self.part, **changed}
        if self.category and "by" not in changed:
            given["category"] = self.category.pk
        return f"?{urlencode(given)}"


def sales_page(request: HttpRequest) -> HttpResponse:
    """The figures of the last 7, 30 or 90 days, for the site's days or for one part."""
    if not staff_member(request).has_perm("orders.view_dailysales"):
        raise PermissionDenied
    asked = _asked(request)
    daily = by_day(asked.first, asked.last)
    report = _divided(asked) or daily
    movers = _movers(asked, report)
    match request.GET.get("format"):
        case "csv":
            return _figures_file(report, asked)
        case "movers":
            return _movers_file(movers, asked)
    context = {
        **admin.site.each_context(request),
        "title": _("Sales of the last %(days)d days") % {"days": asked.days},
        **_ways(asked),
        "asked": asked,
        "pairs": _pairs(report.total, asked),
        "new_customers": new_customers(asked.first, asked.last),
        "new_customers_link": customers_link(asked.first, asked.last),
        "total": cells(report.total),
        "chart": _chart(daily),
        "table": _table(report, asked),
        "movers": _movers_tables(movers, asked),
        "left_out": max(0, len(report.rows) - _SHOWN_ROWS) if asked.part else 0,
    }
    return TemplateResponse(request, "admin/sales.html", context)


def _asked(request: HttpRequest) -> Asked:
    days, part = request.GET.get("days", ""), request.GET.get("by", "")
    number = int(days) if days.isdecimal() and int(days) in PERIODS else 30
    part = part if part in _MODELS else ""
    wanted = request.GET.get("category", "")
    is_number = part == DailySales.Part.SERVICE and wanted.isdecimal() and len(wanted) < 19
    category = Category.objects.filter(pk=wanted).first() if is_number else None
    return Asked(number, part, category, *period(number))


def period(days: int) -> tuple[date, date]:
    """The first and the last of the days up to now, in UTC like the figures."""
    last = timezone.now().astimezone(UTC).date()
    return last - timedelta(days=days - 1), last


def _divided(asked: Asked) -> Report | None:
    if not asked.part:
        return None
    category = asked.category.pk if asked.category else None
    return by_part(DailySales.Part(asked.part), asked.first, asked.last, category=category)


def _ways(asked: Asked) -> dict[str, Any]:
    """The links to other periods, other parts and the files: (label, address, is this one)."""
    parts = [("", _("day")), *[(each.value, each.label) for each in map(DailySales.Part, _MODELS)]]
    return {
        "periods": [
            (_("%(days)d days") % {"days": each}, asked.address(days=each), each == asked.days)
            for each in PERIODS
        ],
        "parts": [
            (label, asked.address(by=value), value == asked.part and not asked.category)
            for value, label in parts
        ],
        "file": asked.address(format="csv"),
        "movers_file": asked.address(format="movers"),
    }


def new_customers(first: date, last: date) -> int:
    """How many customers signed up on these days."""
    begin, end = _moments(first, last)
    joined = User.objects.filter(is_staff=False, date_joined__gte=begin, date_joined__lt=end)
    return joined.count()


def _moments(first: date, last: date) -> tuple[datetime, datetime]:
    """Days here are UTC's: from the first moment of the first to that of the day after the last."""
    return (
        datetime.combine(first, time(), UTC),
        datetime.combine(last + timedelta(days=1), time(), UTC),
    )


def customers_link(first: date, last: date) -> str:
    """The list of the customers who signed up on these days."""
    begin, end = (each.isoformat() for each in _moments(first, last))
    query = {"is_staff__exact": 0, "date_joined__gte": begin, "date_joined__lt": end}
    return f"{reverse('admin:accounts_user_changelist')}?{urlencode(query)}"


def orders_link(first: date, last: date, **filters: Any) -> str:
    """The list of the orders placed on these days; the runs of a drip-feed are in their order."""
    begin, end = (each.isoformat() for each in _moments(first, last))
    query = {"created_at__gte": begin, "created_at__lt": end, "parent__isnull": True, **filters}
    return f"{reverse('admin:orders_order_changelist')}?{urlencode(query)}"


def cells(figures: Figures) -> list[str]:
    """A row's figures in the order of HEADERS."""
    margin = figures.margin
    return [
        str(figures.orders), figure(figures.revenue), figure(figures.refunds), figure(figures.cost),
        figure(figures.profit), "–" if margin is None else f"{margin:.1f}",
    ]  # fmt: skip


def _pairs(total: Figures, asked: Asked) -> list[tuple[Any, str, str]]:
    """Each sum with its name and what it is made of: orders, or the rows below for one category."""
    link = "" if asked.category else orders_link(asked.first, asked.last)
    return [(name, value, link) for name, value in zip(HEADERS, cells(total), strict=True)]


def _chart(daily: Report) -> Any:
    days = [
        (datetime.combine(day, time(), UTC), row)
        for day, row in daily.rows
        if isinstance(day, date)
    ]
    return draw(
        [
            (str(_("revenue less refunds")), "price", [(at, row.net) for at, row in days]),
            (str(_("cost")), "cost", [(at, row.cost) for at, row in days]),
        ]
    )


def _table(report: Report, asked: Asked) -> dict[str, Any]:
    rows = report.rows[:_SHOWN_ROWS] if asked.part else report.rows[::-1]
    names = _names(asked.part, (key for key, _row in rows))
    head = (asked.part and DailySales.Part(asked.part).label) or _("day")
    return {
        "headers": [head, *HEADERS],
        "rows": [
            [_linked(names.get(key, key), _behind(asked, key)), *cells(row)] for key, row in rows
        ],
    }


def _names(part: str, keys: Iterable[Any]) -> dict[Any, str]:
    if not part:
        return {}
    rows = _MODELS[part].objects.filter(pk__in=list(keys))
    if part == DailySales.Part.PROVIDER:
        rows = rows.defer("api_key")
    return {row.pk: str(row) for row in rows}


def _behind(asked: Asked, key: Any, *, days: tuple[date, date] | None = None) -> str:
    """The address of what a row is made of."""
    if not asked.part:
        return orders_link(key, key)
    if asked.part == DailySales.Part.CATEGORY:
        return asked.address(by=DailySales.Part.SERVICE.value, category=key)
    return orders_link(*(days or (asked.first, asked.last)), **{_FILTERS[asked.part]: key})


def _linked(name: Any, address: str) -> Any:
    return format_html('<a class="underline" href="{}">{}</a>', address, name)


def _movers(asked: Asked, report: Report) -> list[Move]:
    if not asked.part or asked.category:
        return []
    return moves(DailySales.Part(asked.part), report, asked.first, asked.last)


def _movers_tables(movers: Sequence[Move], asked: Asked) -> list[dict[str, Any]]:
    """Who rose most and who fell most, each with what it brought now and in as many days before."""
    rose = [move for move in movers if move.change > 0][:_SHOWN_MOVERS]
    fell = [move for move in reversed(movers) if move.change < 0][:_SHOWN_MOVERS]
    names = _names(asked.part, (move.key for move in (*rose, *fell)))
    label = DailySales.Part(asked.part).label if asked.part else ""
    before = days_before(asked.first, asked.last)
    has_earlier = asked.part != DailySales.Part.CATEGORY

    def row(move: Move) -> list[Any]:
        earlier = figure(move.before.net)
        return [
            _linked(names.get(move.key, move.key), _behind(asked, move.key)),
            figure(move.now.net),
            _linked(earlier, _behind(asked, move.key, days=before)) if has_earlier else earlier,
            figure(move.change),
        ]

    headers = [
        label, _("revenue less refunds"), _("in as many days before"), _("change"),
    ]  # fmt: skip
    found = ((_("Rose most"), rose), (_("Fell most"), fell))
    return [
        {"title": title, "table": {"headers": headers, "rows": [row(move) for move in some]}}
        for title, some in found
        if some
    ]


def _figures_file(report: Report, asked: Asked) -> HttpResponse:
    names = _names(asked.part, (key for key, _row in report.rows))
    head = [asked.part or "day", "name", "orders", "revenue", "refunds", "cost", "profit"]
    rows = [
        [str(key), names.get(key, ""), row.orders, row.revenue, row.refunds, row.cost, row.profit]
        for key, row in report.rows
    ]
    return _file(f"sales-{asked.part or 'day'}-{asked.days}", [head, *rows])


def _movers_file(movers: Sequence[Move], asked: Asked) -> HttpResponse:
    names = _names(asked.part, (move.key for move in movers))
    head = [asked.part or "day", "name", "revenue_less_refunds", "before", "change"]
    rows = [
        [move.key, names.get(move.key, ""), move.now.net, move.before.net, move.change]
        for move in movers
    ]
    return _file(f"movers-{asked.part or 'day'}-{asked.days}", [head, *rows])


def _file(name: str, rows: Iterable[Sequence[Any]]) -> HttpResponse:
    answer = HttpResponse("".join(csv_lines(rows)), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return answer
