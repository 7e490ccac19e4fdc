"""Filters of the service list."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import DropdownFilter

from catalog.models import Service
from catalog.pricing import RATE_STEP

_DAYS = (1, 7, 30, 90)
_NOISE = Decimal("0.000000000001")


def on_sale(prefix: str) -> Q:
    """What `ServiceQuerySet.on_sale` says of the service itself, reached through a relation."""
    terms = {"is_sold": True, "is_present": True, "is_held": False, "refusal": ""}
    return Q(**{f"{prefix}{name}": value for name, value in terms.items()})


class SaleFilter(DropdownFilter):  # type: ignore[misc] # unfold has no types
    """By whether, and why not, a service is on sale."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002
        return [
            ("on_sale", _("on sale")),
            ("held", _("held")),
            ("vanished", _("vanished upstream")),
            ("refused", _("not usable")),
            ("off", _("taken off sale")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Service]) -> QuerySet[Service]:  # noqa: ARG002
        chosen = {
            "on_sale": on_sale("") & Q(provider__is_enabled=True, category__is_visible=True),
            "held": Q(is_held=True),
            "vanished": Q(is_present=False),
            "refused": ~Q(refusal=""),
            "off": Q(is_sold=False),
        }.get(self.value() or "")
        return queryset if chosen is None else queryset.filter(chosen)


class MarginFilter(DropdownFilter):  # type: ignore[misc]
    """By what stays with us."""

    title = _("margin")
    parameter_name = "margin"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002
        return [
            ("none", _("no margin")),
            ("below", _("below cost")),
            ("pinned", _("pinned price")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Service]) -> QuerySet[Service]:  # noqa: ARG002
        # Comparisons to find rows by, not amounts: the figures shown are made in Decimal. Cost is
        # rounded up to a rate's last digit, and SQLite's product may be off in its sixteenth.
        rate = F("provider__exchange_rate")
        if self.value() == "none":
            return queryset.filter(price_rate__lt=F("cost_rate") * rate + RATE_STEP)
        if self.value() == "below":
            # With the cost as listed now, though it is held or was ignored.
            newest = Coalesce("listed_cost_rate", "cost_rate")
            return queryset.filter(price_rate__lt=newest * rate - _NOISE)
        if self.value() == "pinned":
            return queryset.filter(pinned_rate__isnull=False)
        return queryset


class ChangedFilter(DropdownFilter):  # type: ignore[misc]
    """By how long ago anything of a service changed."""

    title = _("changed in the last")
    parameter_name = "changed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002
        return [
            (str(days), ngettext("%(days)d day", "%(days)d days", days) % {"days": days})
            for days in _DAYS
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Service]) -> QuerySet[Service]:  # noqa: ARG002
        if self.value() not in map(str, _DAYS):
            return queryset
        since = timezone.now() - timedelta(days=int(self.value()))
        return queryset.filter(changed_at__gte=since)


class OrderTypeFilter(DropdownFilter):  # type: ignore[misc]
    """By the types that occur."""

    title = _("type")
    parameter_name = "order_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        types = Service.objects.order_by("order_type").values_list("order_type", flat=True)
        return [(each, each or "–") for each in types.distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Service]) -> QuerySet[Service]:  # noqa: ARG002
        return queryset.filter(order_type=self.value()) if self.value() else queryset
