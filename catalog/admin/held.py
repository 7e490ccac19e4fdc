"""Held changes in the admin: what a sync did not dare to take over by itself."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter

from accounts.staff import ReadOnlyAdmin, bulk_action, column, staff_member
from catalog import holds
from catalog.models import HeldChange
from catalog.price_pages import before_and_after


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
