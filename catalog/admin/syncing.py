"""What syncs found, and what providers' error texts mean."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter
from unfold.widgets import UnfoldAdminSelectWidget

from accounts.staff import ReadOnlyAdmin, StaffAdmin, column
from catalog.models import ErrorRule, SyncRun
from upstream.errors import Kind
from upstream.verdicts import normalise

KINDS = [
    (Kind.FUNDS, _("our balance there is short: wait and send again")),
    (Kind.DUPLICATE_LINK, _("an order runs on this link: wait behind it")),
    (Kind.RATE_LIMIT, _("too many requests: slow down and send again")),
    (Kind.UNAVAILABLE, _("maintenance, nothing was placed: send again later")),
    (Kind.SERVICE, _("no such service: refund")),
    (Kind.QUANTITY, _("wrong quantity: refund")),
    (Kind.LINK, _("wrong link: refund")),
    (Kind.ACCOUNT, _("key or account trouble: pause the provider")),
    (Kind.REQUEST, _("wrong request: refund")),
    (Kind.UNRECOGNISED, _("nothing certain: leave it to staff")),
]


class ErrorRuleForm(forms.ModelForm[ErrorRule]):
    """A text and what it means; stored as the look-up will spell it."""

    kind = forms.ChoiceField(label=_("means"), choices=KINDS, widget=UnfoldAdminSelectWidget)

    def clean_text(self) -> str:
        text = normalise(self.cleaned_data["text"])[:300]
        if not text:
            raise forms.ValidationError(_("This text has no letters to recognise it by."))
        return text


@admin.register(ErrorRule)
class ErrorRuleAdmin(StaffAdmin):
    """What a provider's error texts mean, beyond what every panel says."""

    form = ErrorRuleForm
    list_display = ("text", "provider", "meaning", "created_at")
    list_filter = (("provider", RelatedDropdownFilter),)
    list_select_related = ("provider",)
    search_fields = ("text",)
    fields = ("provider", "text", "kind")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ErrorRule]:
        return super().get_queryset(request).defer("provider__api_key")  # type: ignore[no-any-return]

    @column(_("means"), ordering="kind")
    def meaning(self, rule: ErrorRule) -> Any:
        return dict(KINDS).get(Kind(rule.kind), rule.kind)


@admin.register(SyncRun)
class SyncRunAdmin(ReadOnlyAdmin):
    """What each synchronisation found."""

    list_display = (
        "started_at", "provider", "outcome_column", "added", "changed", "repriced", "vanished",
        "returned", "refused", "note",
    )  # fmt: skip
    list_filter = (("provider", RelatedDropdownFilter), ("outcome", ChoicesDropdownFilter))
    list_select_related = ("provider",)
    fields = (
        ("provider", "outcome"), ("started_at", "finished_at"),
        ("added", "changed", "repriced"), ("vanished", "returned", "refused"), "note",
    )  # fmt: skip
    change_form_outer_after_template = "admin/catalog/refused_rows.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[SyncRun]:
        return super().get_queryset(request).defer("provider__api_key")  # type: ignore[no-any-return]

    @column(
        _("outcome"),
        ordering="outcome",
        label={
            "running": "info", "applied": "success", "unchanged": "success", "refused": "danger",
            "failed": "danger",
        },
    )  # fmt: skip
    def outcome_column(self, run: SyncRun) -> tuple[str, str]:
        return run.outcome, run.get_outcome_display()

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        run = self.get_object(request, object_id) if object_id else None
        table = {
            "headers": [_("upstream ID"), _("name"), _("not usable because")],
            "rows": run.refused_rows if run else [],
        }
        context = {"refused_rows": table, **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)
