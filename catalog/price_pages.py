"""What the pages of a service and of a preview show besides their fields."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.staff import figure
from catalog import history
from catalog.changing import price_of
from catalog.charts import draw
from catalog.models import Category, Service
from catalog.preview import Preview, Row
from catalog.pricing import Layer, Rule, site_cost

_LINES = 50
# A page of more rows would be read by nobody; the counts above it are of all.
_PREVIEW_ROWS = 1000

LAYER_NAMES: dict[str, Any] = {
    Layer.SERVICE: gettext_lazy("the service"),
    Layer.CATEGORY: gettext_lazy("the category"),
    Layer.PROVIDER: gettext_lazy("the provider"),
    Layer.SITE: gettext_lazy("the whole site"),
}
_KINDS: dict[str, Any] = {
    "new": gettext_lazy("new"),
    "changed": gettext_lazy("changed"),
    "held": gettext_lazy("held"),
    "returned": gettext_lazy("returned"),
    "gone": gettext_lazy("gone"),
}


def shown(value: Any) -> Any:
    """A value of the history for people."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return value


def before_and_after(fields: history.Fields, categories: Mapping[int, str] | None = None) -> Any:
    """Each changed field on a line of its own; categories by their names if they are given."""
    names = categories or {}

    def word(name: str, value: Any) -> Any:
        return names.get(value, value) if name == "category_id" else shown(value)

    lines = (
        (label, word(name, before), word(name, after))
        for name, label, before, after in history.labels(fields)
    )
    # On a phone a cell lays its elements side by side.
    return format_html("<div>{}</div>", format_html_join("", "<div>{}: {} → {}</div>", lines))


def categories_of(changes: Iterable[history.Fields]) -> dict[int, str]:
    """The titles of the categories that these changes move services between, in one query."""
    moved = {number for fields in changes for number in fields.get("category_id", [])}
    found = Category.objects.filter(pk__in=moved) if moved else ()
    return {category.pk: category.title for category in found}


def rule_sentence(service: Service) -> str:
    """Which rules made the price, in words."""
    if not service.cost_rate:
        return "–"
    price = price_of(service)
    if price.is_pinned:
        return _("Pinned, raised to cost.") if price.is_raised else _("Pinned.")
    parts = [_markup(service, price.markup)] if price.markup else []
    if price.margin:
        parts.append(
            _("Raised to the minimum margin of %(layer)s.") % {"layer": LAYER_NAMES[price.margin]}
        )
    if price.step:
        parts.append(
            _("Rounded up to %(step)s by the rule of %(layer)s.")
            % {"step": figure(_rule(service, price.step).step), "layer": LAYER_NAMES[price.step]}
        )
    return " ".join(parts)


def _rule(service: Service, layer: Layer) -> Rule:
    rules: dict[str, Rule] = {
        Layer.SERVICE: service.rule,
        Layer.CATEGORY: service.category.rule,
        Layer.PROVIDER: service.provider.rule,
        Layer.SITE: service.provider.site_rule,
    }
    return rules[layer]


def _markup(service: Service, layer: Layer) -> str:
    rule = _rule(service, layer)
    terms = []
    if rule.percent is not None:
        terms.append(f"{figure(rule.percent, places=0)} %")
    if rule.fixed is not None:
        terms.append(figure(rule.fixed))
    return _("Markup of %(layer)s: %(terms)s.") % {
        "layer": LAYER_NAMES[layer],
        "terms": " + ".join(terms),
    }


def history_context(service: Service) -> dict[str, Any]:
    """The chart of cost and price, and the table of changes."""
    points = history.points(service)
    rate = service.provider.exchange_rate
    chart = draw(
        [
            (_("price"), "price", [(point.at, point.price) for point in points]),
            (_("cost at today's exchange rate"), "cost",
             [(point.at, site_cost(point.cost, rate)) for point in points]),
        ]
    )  # fmt: skip
    context: dict[str, Any] = {"sections": [_changes(service)], "chart": chart}
    if chart:
        context |= {
            "chart_low": figure(chart.low),
            "chart_high": figure(chart.high),
            "chart_text": _("Between %(low)s and %(high)s; the table below has each change.")
            % {"low": figure(chart.low), "high": figure(chart.high)},
        }
    return context


def _changes(service: Service) -> dict[str, Any]:
    changes = service.changes.select_related("run", "actor", "bulk")
    found = list(changes.defer("bulk__rows", "bulk__problems").order_by("-pk")[:_LINES])
    names = categories_of(change.fields for change in found)
    rows = [
        [change.at, before_and_after(change.fields, names), _who(change), change.bulk or "–"]
        for change in found
    ]
    headers = [_("when"), _("before → after"), _("who"), _("bulk change")]
    return {
        "title": _("History"),
        "table": {"headers": headers, "rows": rows or [[_("No changes yet."), "", "", ""]]},
    }


def _who(change: Any) -> Any:
    if change.actor_id:
        return change.actor
    return _("sync") if change.run_id else "–"


def preview_context(found: Preview) -> dict[str, Any]:
    """The table of a preview and the counts above it."""
    counts = [f"{name}: {found.count(what)}" for what, name in _KINDS.items() if found.count(what)]
    counts.append(_("not usable: %(count)s") % {"count": found.refused})
    headers = [_("what"), _("upstream ID"), _("name"), _("before → after"), _("cost"), _("price")]
    return {
        "found": found,
        "summary": ", ".join(counts),
        "table": {"headers": headers, "rows": [_row(row) for row in found.rows[:_PREVIEW_ROWS]]},
        "left_out": max(0, len(found.rows) - _PREVIEW_ROWS),
    }


def _row(row: Row) -> list[Any]:
    what = str(_KINDS[row.what])
    if row.reasons:
        what = f"{what}: {', '.join(row.reasons)}"
    return [
        what, row.upstream_id, row.name, before_and_after(row.fields), figure(row.cost),
        figure(row.price),
    ]  # fmt: skip
