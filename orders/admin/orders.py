"""Orders in the admin: everything can be looked at, and changed only by the desk's own verbs."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    RelatedDropdownFilter,
)
from unfold.paginator import InfinitePaginator

from accounts.filters import PeriodFilter
from accounts.staff import SectionsAdmin, column, figure
from orders.admin.dialogs import OrderDialogs
from orders.admin.forms import left_of
from orders.admin.runs import BulkActions
from orders.admin.search import AttentionFilter, matching
from orders.admin.sections import order_sections
from orders.admin.texts import ATTENTION, DISPATCH_COLOURS, STATUS_COLOURS
from orders.models import Order
from orders.poll_models import Poll


@admin.register(Order)
class OrderAdmin(BulkActions, SectionsAdmin, OrderDialogs):
    """Orders: no page of the admin edits their state or money; dialogs call the desk's functions."""

    list_display = (
        "id", "placed", "status_column", "dispatch_column", "service_column", "customer",
        "charge_column", "cost_column", "link_column", "provider",
    )  # fmt: skip
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ("dispatch", ChoicesDropdownFilter),
        AttentionFilter,
        ("provider", RelatedDropdownFilter),
        ("service", AutocompleteSelectFilter),
        ("customer", AutocompleteSelectFilter),
        ("created_at", PeriodFilter),
    )
    # The fields are searched by `get_search_results`; this makes the search box appear.
    search_fields = ("id",)
    search_help_text = _("Search by our ID, the provider's ID, e-mail or link")
    list_fullwidth = True
    # By our ID, which is by age; any other order would sort the whole table.
    sortable_by = ("id", "placed")
    # A table of a million rows is paged without being counted.
    paginator = InfinitePaginator
    # The question after choosing an action asks whether all are meant.
    list_disable_select_all = True
    actions = (
        "bulk_check", "bulk_refill", "bulk_cancel", "bulk_refund", "bulk_counts", "bulk_settle",
    )  # fmt: skip
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("status", "dispatch"), "attention_column", ("customer", "provider"),
                    "service", "link", "parameters", ("quantity", "start_count", "remains"),
                )
            },
        ),
        (
            _("Money"),
            {
                "fields": (
                    ("charge_column", "refunded_column", "left_column"),
                    ("cost_column", "price_column", "exchange_column"),
                    ("expected_column", "upstream_column"),
                )
            },
        ),
        (
            _("At the provider"),
            {
                "fields": (
                    ("upstream_id", "raw_status"), ("asked_column", "attempt_no"),
                    ("not_before", "waiting_for"),
                )
            },
        ),
        (
            _("Dates"),
            {
                "fields": (
                    ("created_at", "sent_at"), ("finished_at", "parent"), ("source", "order_type"),
                )
            },
        ),
    )  # fmt: skip
    readonly_fields = (
        "attention_column", "charge_column", "refunded_column", "left_column", "cost_column",
        "price_column", "exchange_column", "expected_column", "upstream_column", "asked_column",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Order]:
        queryset: QuerySet[Order] = super().get_queryset(request)
        return queryset.select_related("provider", "service", "customer").defer(
            "provider__api_key", "service__description", "service__own_description"
        )

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[Order],
        search_term: str,
    ) -> tuple[QuerySet[Order], bool]:
        return (queryset.filter(matching(search_term)) if search_term.strip() else queryset), False

    @column(_("status"), ordering="status", label=STATUS_COLOURS)
    def status_column(self, order: Order) -> tuple[str, Any]:
        return order.status, order.get_status_display()

    @column(_("dispatch"), ordering="dispatch", label=DISPATCH_COLOURS)
    def dispatch_column(self, order: Order) -> tuple[str, Any]:
        return order.dispatch, order.get_dispatch_display()

    @column(_("needs attention"))
    def attention_column(self, order: Order) -> Any:
        return ATTENTION.get(order.attention, order.attention) or "–"

    @column(_("checked"))
    def asked_column(self, order: Order) -> datetime | None:
        """When its provider was last asked about it; nothing once it has ended."""
        return Poll.objects.filter(pk=order.pk).values_list("asked_at", flat=True).first()

    @column(_("service"))
    def service_column(self, order: Order) -> Any:
        title = order.service.title
        clamped = '<span class="panel-clamp" title="{}">{} · {}</span>'
        return format_html(clamped, title, order.service_id, title[:200])

    @column(_("link"))
    def link_column(self, order: Order) -> Any:
        bare = order.link.removeprefix("https://").removeprefix("www.")
        short = bare if len(bare) <= 26 else f"{bare[:25]}…"
        return format_html('<span title="{}">{}</span>', order.link, short)

    @column(_("placed"), ordering="pk")
    def placed(self, order: Order) -> str:
        at = timezone.localtime(order.created_at)
        # In two lines where there is no room for one, and "4:48 p.m." is no two words.
        time = date_format(at, "TIME_FORMAT").replace(" ", "\N{NO-BREAK SPACE}")
        return f"{date_format(at, 'SHORT_DATE_FORMAT')} {time}"

    @column(_("charge"))
    def charge_column(self, order: Order) -> str:
        return figure(order.charge)

    @column(_("cost"))
    def cost_column(self, order: Order) -> str:
        return figure(order.cost)

    @column(_("refunded"))
    def refunded_column(self, order: Order) -> str:
        return figure(order.refunded)

    @column(_("price per 1000"))
    def price_column(self, order: Order) -> str:
        return figure(order.price_rate)

    @column(_("exchange rate"))
    def exchange_column(self, order: Order) -> str:
        return figure(order.exchange_rate)

    @column(_("expected provider charge"))
    def expected_column(self, order: Order) -> str:
        return figure(order.expected_charge)

    @column(_("provider's charge"))
    def upstream_column(self, order: Order) -> str:
        return figure(order.upstream_charge)

    @column(_("left"))
    def left_column(self, order: Order) -> str:
        return figure(left_of(order))

    def sections_of(self, obj: Order) -> list[dict[str, Any]]:
        return order_sections(obj)
