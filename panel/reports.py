"""What was sold: revenue, refunds, cost and profit by day and by part, on a page and as a file."""

import csv
import io
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

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
from orders.models import DailySales
from orders.sales import Figures, Report, by_day, by_part

PERIODS = (7, 30, 90)
_SHOWN_ROWS = 50
_HEADERS = [_("orders"), _("revenue"), _("refunds"), _("cost"), _("profit"), _("margin %")]
_MODELS: dict[str, Any] = {
    DailySales.Part.SERVICE: Service,
    DailySales.Part.CATEGORY: Category,
    DailySales.Part.PROVIDER: Provider,
    DailySales.Part.CUSTOMER: User,
}
# The order list's filter behind each part's figure; a category has none of its own.
_FILTERS = {"service": "service__id__exact", "provider": "provider__id__exact",
            "customer": "customer__id__exact"}  # fmt: skip


def sales_page(request: HttpRequest) -> HttpResponse:
    """The figures of the last 7, 30 or 90 days, for the site's days or for one part."""
    if not staff_member(request).has_perm("orders.view_dailysales"):
        raise PermissionDenied
    days = _days(request.GET.get("days"))
    part = request.GET.get("by", "")
    part = part if part in _MODELS else ""
    last = timezone.now().astimezone(UTC).date()
    first = last - timedelta(days=days - 1)
    daily = by_day(first, last)
    report = by_part(DailySales.Part(part), first, last) if part else daily
    if request.GET.get("format") == "csv":
        return _file(report, part, days)
    context = {
        **admin.site.each_context(request),
        "title": _("Sales of the last %(days)d days") % {"days": days},
        "days": days,
        "part": part,
        "periods": PERIODS,
        "parts": [
            ("", _("day")),
            *[(each.value, each.label) for each in map(DailySales.Part, _MODELS)],
        ],
        "total": _cells(report.total),
        "names": _HEADERS,
        "pairs": list(zip(_HEADERS, _cells(report.total), strict=True)),
        "new_customers": _new_customers(first, last),
        "chart": _chart(daily),
        "table": _table(report, part, first, last),
        "left_out": max(0, len(report.rows) - _SHOWN_ROWS) if part else 0,
    }
    return TemplateResponse(request, "admin/sales.html", context)


def _days(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and int(text) in PERIODS else 30


def _new_customers(first: date, last: date) -> int:
    begin, end = datetime.combine(first, time(), UTC), datetime.combine(last, time.max, UTC)
    return User.objects.filter(is_staff=False, date_joined__range=(begin, end)).count()


def _cells(figures: Figures) -> list[str]:
    margin = figures.margin
    return [
        str(figures.orders), figure(figures.revenue), figure(figures.refunds), figure(figures.cost),
        figure(figures.profit), "–" if margin is None else f"{margin:.1f}",
    ]  # fmt: skip


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


def _table(report: Report, part: str, first: date, last: date) -> dict[str, Any]:
    rows = report.rows[:_SHOWN_ROWS] if part else report.rows[::-1]
    names = _names(part, [key for key, _row in rows])
    cells = [
        [_linked(names.get(key, key), part, key, first, last), *_cells(row)] for key, row in rows
    ]
    return {
        "headers": [(part and DailySales.Part(part).label) or _("day"), *_HEADERS],
        "rows": cells,
    }


def _names(part: str, keys: list[Any]) -> dict[Any, str]:
    if not part:
        return {}
    rows = _MODELS[part].objects.filter(pk__in=keys)
    if part == DailySales.Part.PROVIDER:
        rows = rows.defer("api_key")
    return {row.pk: str(row) for row in rows}


def _linked(name: Any, part: str, key: Any, first: date, last: date) -> Any:
    """The name, leading to the orders behind the figures."""
    if part and part not in _FILTERS:
        return name
    begin, end = (first, last) if part else (key, key)
    # Days here are UTC's, and so are the moments between which the orders are listed.
    end += timedelta(days=1)
    query = f"created_at__gte={begin}T00:00:00%2B00:00&created_at__lt={end}T00:00:00%2B00:00"
    if part:
        query += f"&{_FILTERS[part]}={key}"
    url = f"{reverse('admin:orders_order_changelist')}?{query}"
    return format_html('<a class="underline" href="{}">{}</a>', url, name)


def _file(report: Report, part: str, days: int) -> HttpResponse:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([part or "day", "name", "orders", "revenue", "refunds", "cost", "profit"])
    names = _names(part, [key for key, _row in report.rows])
    for key, row in report.rows:
        amounts = (row.revenue, row.refunds, row.cost, row.profit)
        name = names.get(key, "")
        harmless = f"'{name}" if name[:1] in "=+-@" and name else name
        writer.writerow([key, harmless, row.orders, *(f"{amount:f}" for amount in amounts)])
    answer = HttpResponse(out.getvalue(), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="sales-{part or "day"}-{days}.csv"'
    return answer
