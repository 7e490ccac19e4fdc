"""Providers in the admin: their address and key, what their prices are made with, and their syncs."""

import uuid
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldBooleanSwitchWidget

from accounts.encryption import UnreadableSecret
from accounts.staff import (
    Dialog,
    DialogForm,
    NotDone,
    Refusals,
    StaffAdmin,
    action,
    column,
    dialog,
    figure,
    sentence,
    staff_member,
)
from catalog import chained
from catalog.admin.filters import on_sale
from catalog.history import Cause
from catalog.models import RULE_FIELDS, Provider, Service, SyncRun
from catalog.preview import preview
from catalog.price_pages import preview_context
from catalog.services import reprice
from catalog.sync import refresh_balance, sync_provider
from upstream.errors import NotSent, OutcomeUnknown, Rejected, UpstreamError

UNREADABLE_KEY = _("The stored key can't be read with today's PANEL_SECRET_KEYS; enter it again.")
UPSTREAM_REFUSALS: Refusals = {
    NotSent: lambda exc: _("The provider can't be reached: %(reason)s") % {"reason": exc},
    Rejected: lambda exc: _("The provider refused: %(reason)s") % {"reason": exc.text},
    UnreadableSecret: lambda _exc: UNREADABLE_KEY,
    OutcomeUnknown: lambda exc: (
        _("The provider gave no usable answer: %(reason)s") % {"reason": exc}
    ),
}


_SEPARATE_KEY = "new_key"


def masked(key: str) -> str:
    """The last four characters behind dots; a short key is not shown at all."""
    return f"••••{key[-4:]}" if len(key) >= 12 else "••••"


class ProviderForm(forms.ModelForm[Provider]):
    """A provider's settings; its key goes in and never comes out again."""

    new_key = forms.CharField(
        label=_("API key"),
        required=False,
        max_length=200,
        widget=UnfoldAdminPasswordWidget(
            render_value=False, attrs={"autocomplete": "new-password"}
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if _SEPARATE_KEY not in self.fields:
            return  # somebody who may only look
        self.fields[_SEPARATE_KEY].required = self.instance.pk is None
        if self.instance.pk:
            self.fields[_SEPARATE_KEY].help_text = self._stored()

    def _stored(self) -> Any:
        try:
            shown = masked(self.instance.api_key)
        except UnreadableSecret:
            return UNREADABLE_KEY
        return _("Stored: %(key)s. Leave empty to keep it.") % {"key": shown}

    def clean_url(self) -> str:
        url = str(self.cleaned_data["url"])
        parts = urlsplit(url)
        if parts.scheme != "https" and not settings.ALLOW_PRIVATE_UPSTREAM:
            raise forms.ValidationError(_("The address must start with https://."))
        if parts.username or parts.password:
            raise forms.ValidationError(_("The address must not hold a user name or password."))
        return url

    def clean_exchange_rate(self) -> Decimal:
        rate: Decimal = self.cleaned_data["exchange_rate"]
        if rate <= 0:
            raise forms.ValidationError(_("The exchange rate must be above 0."))
        return rate


class SyncForm(DialogForm):
    # The list of a preview, when that one and no other is to be applied.
    expected = forms.CharField(required=False, widget=forms.HiddenInput)
    accepts_short = forms.BooleanField(
        label=_("Apply the list even if it is suddenly short"),
        required=False,
        widget=UnfoldBooleanSwitchWidget,
    )


class ProviderAdmin(StaffAdmin):
    """Panels we buy from. `orders.admin.providers` registers it, with the sending part added."""

    form = ProviderForm
    list_display: tuple[str, ...] = (
        "name", "state", "balance_column", "balance_checked_at", "last_sync", "on_sale",
    )  # fmt: skip
    search_fields = ("name",)
    readonly_fields = ("balance_column", "balance_checked_at", "last_sync")
    actions_detail: tuple[str, ...] = (
        "preview_sync",
        "sync_now",
        "check_balance",
        "test_connection",
    )
    fieldsets: Any = (
        (None, {"fields": ("name", "is_enabled", "url", _SEPARATE_KEY)}),
        (
            _("Prices"),
            {
                "fields": (
                    ("currency", "exchange_rate"),
                    ("markup_percent", "markup_fixed"),
                    ("margin_min", "rounding_step"),
                    "loss_tolerance",
                )
            },
        ),
        (
            _("What a sync may do"),
            {
                "fields": (
                    ("sync_names", "sync_descriptions"),
                    ("sync_categories", "sync_limits"),
                    ("sync_flags", "holds_new_services"),
                    ("hold_cost_up", "hold_vanishing"),
                    ("hold_retyped", "hold_renamed"),
                    "hold_below_cost",
                )
            },
        ),
        (
            _("Peculiarities"),
            {
                "fields": (
                    ("error_wins", "comments_need_quantity"),
                    ("idempotency_param", "refills_by_staff"),
                    "status_calls_per_minute",
                )
            },
        ),
        (_("Now"), {"fields": (("balance_column", "balance_checked_at"), "last_sync")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        # The key is decrypted where it is needed and nowhere else.
        queryset: QuerySet[Provider] = super().get_queryset(request)
        return queryset.defer("api_key").annotate(
            sold_count=Count("services", filter=on_sale("services__"))
        )

    def has_sync_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        powers = ("catalog.sync_provider", "catalog.change_provider")
        return any(request.user.has_perm(power) for power in powers)

    def get_fieldsets(self, request: HttpRequest, obj: Provider | None = None) -> Any:
        if self.has_change_permission(request, obj):
            return super().get_fieldsets(request, obj)
        keyless = {**self.fieldsets[0][1], "fields": ("name", "is_enabled", "url")}
        return ((None, keyless), *self.fieldsets[1:])

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        # The form's own field is no field of the model, so the factory must not look for it.
        kwargs["fields"] = [
            name for name in _flat(self.get_fieldsets(request, obj)) if name != _SEPARATE_KEY
        ]
        return super().get_form(request, obj, change, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    @column(_("state"), label={"on": "success", "off": "warning"})
    def state(self, provider: Provider) -> tuple[str, Any]:
        return ("on", _("enabled")) if provider.is_enabled else ("off", _("switched off"))

    @column(_("balance"), ordering="balance")
    def balance_column(self, provider: Provider) -> str:
        if provider.balance is None:
            return "–"
        shown = f"{figure(provider.balance)} {provider.currency}"
        return f"{shown} – {provider.balance_note}" if provider.balance_note else shown

    @column(_("last catalogue sync"))
    def last_sync(self, provider: Provider) -> Any:
        run = provider.sync_runs.first()
        if run is None:
            return "–"
        return f"{run.get_outcome_display()}, {run.started_at:%Y-%m-%d %H:%M} {run.note}".strip()

    @column(_("services on sale"), ordering="sold_count")
    def on_sale(self, provider: Any) -> int:
        return int(provider.sold_count)

    def save_model(self, request: HttpRequest, obj: Provider, form: Any, change: bool) -> None:
        key = form.cleaned_data.get(_SEPARATE_KEY, "")
        if key:
            obj.api_key = key
        super().save_model(request, obj, form, change)
        if change and key:
            obj.save(update_fields=["api_key"])
        if not change or "exchange_rate" in form.changed_data:
            obj.exchange_rates.create(
                old=form.initial.get("exchange_rate") if change else None,
                new=obj.exchange_rate,
                actor=staff_member(request),
            )
        if change and {"exchange_rate", *RULE_FIELDS} & set(form.changed_data):
            reprice(Service.objects.filter(provider=obj), Cause(actor=staff_member(request)))

    @action(description=_("Preview sync"), url_path="preview", icon="preview", permissions=["sync"])
    def preview_sync(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What a sync would change; asks the provider on POST and writes nothing."""
        provider = self.get_object(request, object_id)
        if provider is None:
            raise Http404
        if not (self.has_view_permission(request) and self.has_sync_permission(request)):
            raise PermissionDenied
        context: dict[str, Any] = {}
        if request.method == "POST":
            try:
                context = preview_context(preview(provider))
            except (UpstreamError, UnreadableSecret) as exc:
                context = {"problem": sentence(UPSTREAM_REFUSALS, exc)}
        context |= {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Preview of the next sync: %(provider)s") % {"provider": provider},
            "back": reverse("admin:catalog_provider_change", args=[provider.pk]),
            "apply": reverse("admin:catalog_provider_sync_now", args=[provider.pk]),
            "token": uuid.uuid4(),
        }
        return TemplateResponse(request, "admin/catalog/preview.html", context)

    @dialog(
        Dialog(
            title=_("Sync now"),
            button=_("Fetch the catalogue"),
            permission="sync",
            icon="sync",
            form=SyncForm,
            refusals=UPSTREAM_REFUSALS,
            text=_(
                "Fetches the provider's services and applies what changed. It may take a minute."
            ),
        )
    )
    def sync_now(self, request: HttpRequest, form: SyncForm, provider: Provider) -> Any:  # noqa: ARG002
        run = sync_provider(
            provider,
            accepts_short=form.cleaned_data["accepts_short"],
            expected=form.cleaned_data["expected"],
        )
        chained.record_runs()
        if run.outcome in (SyncRun.Outcome.FAILED, SyncRun.Outcome.REFUSED):
            raise NotDone(f"{run.get_outcome_display()}: {run.note}")
        counts = {
            "outcome": run.get_outcome_display(),
            "added": run.added,
            "changed": run.changed,
            "repriced": run.repriced,
            "vanished": run.vanished,
            "held": run.held,
            "refused": run.refused,
        }
        said = _(
            "Catalogue %(outcome)s: %(added)d added, %(changed)d changed, %(repriced)d repriced, "
            "%(vanished)d vanished, %(held)d held, %(refused)d not usable."
        )
        return said % counts

    @dialog(
        Dialog(
            title=_("Check balance"),
            button=_("Ask the provider"),
            permission="change",
            icon="account_balance",
            refusals=UPSTREAM_REFUSALS,
        )
    )
    def check_balance(self, request: HttpRequest, form: Any, provider: Provider) -> Any:  # noqa: ARG002
        balance = refresh_balance(provider)
        if balance is None:
            raise NotDone(_("The provider did not tell its balance; what was known is kept."))
        if provider.balance_note:
            raise NotDone(provider.balance_note)
        return _("The balance is %(amount)s %(currency)s.") % {
            "amount": figure(balance.amount), "currency": balance.currency,
        }  # fmt: skip

    @dialog(
        Dialog(
            title=_("Test connection"),
            button=_("Test"),
            permission="change",
            icon="lan",
            text=_("Asks for the balance with the stored address and key, and writes nothing."),
            refusals=UPSTREAM_REFUSALS,
        )
    )
    def test_connection(self, request: HttpRequest, form: Any, provider: Provider) -> Any:  # noqa: ARG002
        with provider.client() as client:
            balance = client.balance()
        return _("The address and the key work; the balance is %(amount)s %(currency)s.") % {
            "amount": figure(balance.amount), "currency": balance.currency,
        }  # fmt: skip


def _flat(fieldsets: Any) -> list[str]:
    names: list[str] = []
    for _title, options in fieldsets:
        for entry in options["fields"]:
            names.extend([entry] if isinstance(entry, str) else entry)
    return names
