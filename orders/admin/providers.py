"""Providers in the admin: the catalogue's page, with whether orders may be sent to them."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import StackedInline, TabularInline

from accounts.staff import (
    Dialog,
    DialogForm,
    NotDone,
    ReasonForm,
    SectionsAdmin,
    column,
    dialog,
    may,
)
from catalog.admin import ProviderAdmin
from catalog.models import Provider
from orders import canary, gates
from orders.admin.texts import REFUSALS
from orders.models import Gate, Scan
from orders.provider_pages import provider_sections


class GateInline(TabularInline):  # type: ignore[misc] # unfold has no types
    """Whether orders go to this provider now. Pausing is done by the page's buttons."""

    model = Gate
    extra = 0
    max_num = 1
    can_delete = False
    fields = ("max_in_flight", "pause", "pause_note", "paused_at", "open_until")
    readonly_fields = ("pause", "pause_note", "paused_at", "open_until")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """The table's heading names the field for the eye only."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None:
            field.widget.attrs["aria-label"] = str(field.label)
        return field

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


class ScanInline(StackedInline):  # type: ignore[misc] # unfold has no types
    """Whether and how lost answers are looked for at this provider."""

    model = Scan
    extra = 0
    max_num = 1
    can_delete = False
    fields = (
        "is_enabled", "canary", "canary_note", "calls_per_order", "calls_per_day", "calls_today",
        "refund_absent_hours", "review_until", "paused_until", "pause_note",
    )  # fmt: skip
    readonly_fields = ("canary", "canary_note", "calls_today", "paused_until", "pause_note")


@admin.register(Provider)
class SendingProviderAdmin(SectionsAdmin, ProviderAdmin):
    """Providers, with whether orders may be sent to them."""

    inlines = (GateInline, ScanInline)
    list_display = (*ProviderAdmin.list_display, "sending")
    list_select_related = ("gate",)
    actions_detail = (*ProviderAdmin.actions_detail, "pause", "resume", "test_search")

    @column(_("sending"), label={"on": "success", "off": "danger"})
    def sending(self, provider: Provider) -> tuple[str, Any]:
        gate = getattr(provider, "gate", None)
        if gate is None or not gate.pause:
            return "on", _("on")
        return "off", gate.get_pause_display()

    def sections_of(self, obj: Provider) -> list[dict[str, Any]]:
        return provider_sections(obj)

    has_pause_permission = may("orders.pause_gate")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Pause or resume, whichever there is to do."""
        provider = self.get_object(request, str(object_id))
        gate = Gate.objects.filter(provider=provider).first() if provider else None
        is_held = gate is not None and bool(gate.pause or gate.open_until)
        # A lack of funds ends by itself, so staff may still want a pause that stays.
        is_paused = is_held and gate is not None and gate.pause not in ("", Gate.Pause.FUNDS)
        useless = {name for name, off in (("pause", is_paused), ("resume", not is_held)) if off}
        return [
            action
            for action in super().get_actions_detail(request, object_id)
            if action.method.original_function_name not in useless
        ]

    @dialog(
        Dialog(
            title=_("Pause sending"),
            button=_("Pause"),
            permission="pause",
            icon="pause",
            form=ReasonForm,
            text=_("Orders stay in the queue until sending is resumed."),
        )
    )
    def pause(self, request: HttpRequest, form: ReasonForm, provider: Provider) -> Any:  # noqa: ARG002
        gates.pause(provider.pk, reason=Gate.Pause.MANUAL, text=form.cleaned_data["reason"])
        return _("Sending is paused.")

    @dialog(
        Dialog(
            title=_("Resume sending"),
            button=_("Resume"),
            permission="pause",
            icon="play_arrow",
            refusals=REFUSALS,
        )
    )
    def resume(self, request: HttpRequest, form: DialogForm, provider: Provider) -> Any:  # noqa: ARG002
        gates.resume(provider.pk)
        return _("Sending goes on.")

    @dialog(
        Dialog(
            title=_("Test the search for lost answers"),
            button=_("Test the search"),
            permission="pause",
            icon="radar",
            text=_("Asks for one of our orders and 20 other IDs: only ours may be told."),
        )
    )
    def test_search(self, request: HttpRequest, form: DialogForm, provider: Provider) -> Any:  # noqa: ARG002
        result = canary.run_canary(provider)
        if not result.passed:
            raise NotDone(result.note)
        return result.note
