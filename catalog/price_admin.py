"""Price rules, held changes, bulk changes and customers' prices in the admin."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter

from accounts.staff import (
    Dialog,
    ReadOnlyAdmin,
    StaffAdmin,
    bulk_action,
    column,
    dialog,
    figure,
    staff_member,
)
from catalog import changing, holds
from catalog.history import Cause, Fields, labels
from catalog.models import (
    BulkChange,
    CustomerGroup,
    CustomerPrice,
    GroupMember,
    HeldChange,
    SiteRules,
)
from catalog.pricing import customer_rate
from catalog.services import reprice

RULE_FIELDS = ("markup_percent", "markup_fixed", "margin_min", "rounding_step")
_ROWS_PER_PAGE = 200


def shown(value: Any) -> Any:
    """A value of the history for people."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return value


def before_and_after(fields: Fields) -> Any:
    """Each changed field on a line of its own."""
    lines = ((name, shown(before), shown(after)) for name, before, after in labels(fields))
    return format_html_join("", "<div>{}: {} → {}</div>", lines)


@admin.register(SiteRules)
class SiteRulesAdmin(StaffAdmin):
    """The lowest layer of price rules: one page, no list."""

    fields = RULE_FIELDS

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = "1" if SiteRules.objects.exists() else None
        page: HttpResponse = self.changeform_view(request, row, "", extra_context)
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


@admin.register(HeldChange)
class HeldChangeAdmin(ReadOnlyAdmin):
    """What a sync did not dare to take over by itself."""

    list_display = (
        "service",
        "provider",
        "why",
        "changes",
        "state_column",
        "found_at",
        "decided_by",
    )
    list_filter = (
        ("state", ChoicesDropdownFilter),
        ("service__provider", RelatedDropdownFilter),
    )
    list_select_related = ("service__provider", "decided_by")
    search_fields = ("service__name", "=service__upstream_id", "=service__id")
    search_help_text = _("Search by name, our ID or the provider's ID")
    fields = (
        "service",
        "provider",
        "why",
        "changes",
        "state",
        "found_at",
        ("decided_at", "decided_by"),
    )
    readonly_fields = ("provider", "why", "changes")
    actions = ("accept", "ignore")

    def get_queryset(self, request: HttpRequest) -> QuerySet[HeldChange]:
        return super().get_queryset(request).defer("service__provider__api_key")  # type: ignore[no-any-return]

    def has_decide_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return request.user.has_perm("catalog.change_heldchange")

    @column(_("provider"))
    def provider(self, held: HeldChange) -> Any:
        return held.service.provider

    @column(_("because"))
    def why(self, held: HeldChange) -> str:
        return ", ".join(str(HeldChange.Reason(each).label) for each in held.reasons)

    @column(_("before → after"))
    def changes(self, held: HeldChange) -> Any:
        return before_and_after(held.fields)

    @column(
        _("state"),
        ordering="state",
        label={"open": "warning", "accepted": "success", "ignored": "info", "outdated": "default"},
    )
    def state_column(self, held: HeldChange) -> tuple[str, Any]:
        return held.state, held.get_state_display()

    @bulk_action(
        title=_("Accept"),
        question=_("Take these changes over as the provider's list has them?"),
        permission="decide",
    )
    def accept(self, request: HttpRequest, chosen: QuerySet[HeldChange]) -> int:
        return holds.accept(chosen.values_list("pk", flat=True), staff_member(request))

    @bulk_action(
        title=_("Ignore"),
        question=_("Keep what is stored? What would be a loss is not sold all the same."),
        permission="decide",
    )
    def ignore(self, request: HttpRequest, chosen: QuerySet[HeldChange]) -> int:
        return holds.ignore(chosen.values_list("pk", flat=True), staff_member(request))


@admin.register(BulkChange)
class BulkChangeAdmin(ReadOnlyAdmin):
    """Bulk changes: planned, applied, undone. The page of one is its preview."""

    list_display = ("title", "state", "row_count", "actor", "planned_at", "applied_at")
    list_select_related = ("actor",)
    fields = (
        "title",
        ("state_text", "row_count"),
        "actor",
        ("planned_at", "applied_at", "undone_at"),
    )
    readonly_fields = ("state_text", "row_count")
    actions_detail = ("apply", "undo")
    change_form_outer_after_template = "admin/catalog/bulk_rows.html"

    def has_apply_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return request.user.has_perm("catalog.change_service")

    @column(_("state"), label={"planned": "warning", "applied": "success", "undone": "info"})
    def state(self, bulk: BulkChange) -> tuple[str, Any]:
        if bulk.undone_at:
            return "undone", _("undone")
        return ("applied", _("applied")) if bulk.applied_at else ("planned", _("planned"))

    @column(_("state"))
    def state_text(self, bulk: BulkChange) -> Any:
        return self.state(bulk)[1]

    @column(_("services"))
    def row_count(self, bulk: BulkChange) -> int:
        return len(bulk.rows)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Apply a plan, undo what was applied."""
        bulk = self.get_object(request, str(object_id))
        possible = _possible(bulk) if bulk else ""
        return [
            action
            for action in super().get_actions_detail(request, object_id)
            if action.method.original_function_name == possible
        ]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        bulk = self.get_object(request, object_id) if object_id else None
        context = {**(_pages(bulk, request) if bulk else {}), **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

    @dialog(
        Dialog(
            title=_("Apply"),
            button=_("Write these values"),
            permission="apply",
            icon="check",
            text=_("Each row is written exactly as shown; one that changed meanwhile is left out."),
            refusals={changing.AlreadyDone: lambda _exc: _("This was applied before.")},
        )
    )
    def apply(self, request: HttpRequest, form: Any, bulk: BulkChange) -> Any:  # noqa: ARG002
        done = changing.apply(bulk.pk, staff_member(request))
        return _("%(count)d services changed.") % {"count": len(done.rows)}

    @dialog(
        Dialog(
            title=_("Undo"),
            button=_("Give back the values before"),
            permission="apply",
            icon="undo",
            text=_("Services that were changed again since keep what they have."),
            refusals={changing.AlreadyDone: lambda _exc: _("There is nothing to undo.")},
        )
    )
    def undo(self, request: HttpRequest, form: Any, bulk: BulkChange) -> Any:  # noqa: ARG002
        count = changing.undo(bulk.pk, staff_member(request))
        return _("%(count)d services changed.") % {"count": count}


def _possible(bulk: BulkChange) -> str:
    if bulk.applied_at is None:
        return "apply" if bulk.rows else ""
    return "" if bulk.undone_at else "undo"


def _pages(bulk: BulkChange, request: HttpRequest) -> dict[str, Any]:
    page = Paginator(bulk.rows, _ROWS_PER_PAGE).get_page(request.GET.get("page"))
    rows = [
        [f"{pk} · {title}", before_and_after(fields), f"{before} → {after}"]
        for pk, title, fields, before, after in page.object_list
    ]
    return {
        "page": page,
        "planned": {"headers": [_("service"), _("values"), _("price per 1000")], "rows": rows},
        "problems": {"headers": [_("where"), _("why")], "rows": bulk.problems},
    }


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


def _paid(price: CustomerPrice) -> Any:
    return customer_rate(
        list_rate=price.service.price_rate,
        floor=changing.price_of(price.service).floor,
        own=price.rate,
        own_may_undercut=price.may_undercut,
    )
