"""Price rules of the whole site, and prices that not everybody pays."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline

from accounts.staff import StaffAdmin, column, figure, staff_member
from catalog import changing
from catalog.admin.rule_preview import PreviewsPrices
from catalog.history import Cause
from catalog.models import RULE_FIELDS, CustomerGroup, CustomerPrice, GroupMember, SiteRules
from catalog.pricing import CustomerRate, customer_rate, floor_rate, site_cost
from catalog.services import reprice


@admin.register(SiteRules)
class SiteRulesAdmin(PreviewsPrices, StaffAdmin):
    """The lowest layer of price rules: one page, no list."""

    fields = RULE_FIELDS

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = "1" if SiteRules.objects.exists() else None
        context = {"show_save_and_add_another": False, **(extra_context or {})}
        page: HttpResponse = self.changeform_view(request, row, "", context)
        return page

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.pk = 1
        super().save_model(request, obj, form, change)
        if form.changed_data:
            reprice(cause=Cause(actor=staff_member(request)))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request) and not SiteRules.objects.exists()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


class MemberInline(TabularInline):  # type: ignore[misc] # unfold has no types
    model = GroupMember
    extra = 1
    autocomplete_fields = ("customer",)


@admin.register(CustomerGroup)
class CustomerGroupAdmin(StaffAdmin):
    """Customers with a discount."""

    list_display = ("name", "discount_percent", "undercuts", "member_count")
    search_fields = ("name",)
    fields = ("name", "discount_percent", "may_undercut")
    inlines = (MemberInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[CustomerGroup]:
        return super().get_queryset(request).annotate(members_in_it=Count("members"))  # type: ignore[no-any-return]

    @column(_("below the minimum margin"), label={"yes": "danger", "no": "success"})
    def undercuts(self, group: CustomerGroup) -> tuple[str, Any]:
        return ("yes", _("allowed")) if group.may_undercut else ("no", _("no"))

    @column(_("members"), ordering="members_in_it")
    def member_count(self, group: Any) -> int:
        return int(group.members_in_it)


class CustomerPriceForm(forms.ModelForm[CustomerPrice]):
    """A price below the floor is refused here, unless the box is ticked."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        service, rate = cleaned.get("service"), cleaned.get("rate")
        if service is None or rate is None or cleaned.get("may_undercut"):
            return cleaned
        floor = changing.price_of(service).floor
        if rate < floor:
            self.add_error(
                "rate",
                _("Cost and minimum margin come to %(floor)s; tick the box to go below.")
                % {"floor": figure(floor)},
            )
        return cleaned


@admin.register(CustomerPrice)
class CustomerPriceAdmin(StaffAdmin):
    """One customer's price for one service."""

    form = CustomerPriceForm
    list_display = ("customer", "service", "list_price", "own_price", "mark")
    list_select_related = ("customer", "service__provider", "service__category")
    search_fields = ("customer__email", "service__name", "=service__id")
    autocomplete_fields = ("customer", "service")
    fields = ("customer", "service", "rate", "may_undercut")

    def get_queryset(self, request: HttpRequest) -> QuerySet[CustomerPrice]:
        layers = ("service", "service__category", "service__provider")
        site = SiteRules.objects.values("margin_min")[:1]
        least = Coalesce(*(f"{layer}__margin_min" for layer in layers), Subquery(site))
        queryset: QuerySet[CustomerPrice] = super().get_queryset(request)
        return queryset.defer("service__provider__api_key").annotate(least_margin=least)

    @column(_("list price"))
    def list_price(self, price: CustomerPrice) -> str:
        return figure(price.service.price_rate)

    @column(_("pays"), ordering="rate")
    def own_price(self, price: CustomerPrice) -> str:
        return figure(_paid(price).rate)

    @column(_("mark"), label={"below": "danger", "raised": "warning", "": "success"})
    def mark(self, price: CustomerPrice) -> tuple[str, Any]:
        paid = _paid(price)
        if paid.is_below_floor:
            return "below", _("below the minimum margin")
        return (
            ("raised", _("raised to the minimum margin"))
            if paid.rate > price.rate
            else ("", _("fine"))
        )


def _paid(price: Any) -> CustomerRate:
    """What the customer pays; needs `least_margin`."""
    service = price.service
    cost = site_cost(service.cost_rate, service.provider.exchange_rate)
    return customer_rate(
        list_rate=service.price_rate,
        floor=floor_rate(cost, price.least_margin),
        own=price.rate,
        own_may_undercut=price.may_undercut,
    )
