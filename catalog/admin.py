"""The catalogue in the admin: providers, categories, and the page on which prices are made."""

from decimal import Decimal
from typing import Any, cast
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    DropdownFilter,
    RangeDateTimeFilter,
    RelatedDropdownFilter,
)
from unfold.widgets import (
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldBooleanSwitchWidget,
)

from accounts.encryption import UnreadableSecret
from accounts.models import User
from accounts.staff import (
    Dialog,
    DialogForm,
    LabelledRow,
    NotDone,
    ReadOnlyAdmin,
    Refusals,
    StaffAdmin,
    action,
    bulk_action,
    column,
    dialog,
    figure,
    sentence,
    staff_member,
)
from catalog import csv_list, history
from catalog.changing import chosen_services, plan
from catalog.history import Cause
from catalog.models import BulkChange, Category, ErrorRule, LinkRule, Provider, Service, SyncRun
from catalog.preview import preview
from catalog.price_admin import RULE_FIELDS
from catalog.price_forms import ImportForm, PlanForm
from catalog.price_pages import history_context, preview_context, rule_sentence
from catalog.pricing import site_cost
from catalog.services import release, reprice
from catalog.sync import refresh_balance, sync_provider
from upstream.errors import Kind, NotSent, OutcomeUnknown, Rejected, UpstreamError
from upstream.verdicts import normalise

UNREADABLE_KEY = _("The stored key can't be read with today's PANEL_SECRET_KEYS; enter it again.")
UPSTREAM_REFUSALS: Refusals = {
    NotSent: lambda exc: _("The provider can't be reached: %(reason)s") % {"reason": exc},
    Rejected: lambda exc: _("The provider refused: %(reason)s") % {"reason": exc.text},
    UnreadableSecret: lambda _exc: UNREADABLE_KEY,
    OutcomeUnknown: lambda exc: (
        _("The provider gave no usable answer: %(reason)s") % {"reason": exc}
    ),
}

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
    """Panels we buy from. `orders.admin` registers it, with the sending part added."""

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
            {"fields": ("error_wins", "comments_need_quantity", "idempotency_param")},
        ),
        (_("Now"), {"fields": (("balance_column", "balance_checked_at"), "last_sync")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        # The key is decrypted where it is needed and nowhere else.
        queryset: QuerySet[Provider] = super().get_queryset(request)
        return queryset.defer("api_key").annotate(
            sold_count=Count("services", filter=_on_sale("services__"))
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


def _on_sale(prefix: str) -> Q:
    """What `ServiceQuerySet.on_sale` says of the service itself, reached through a relation."""
    terms = {"is_sold": True, "is_present": True, "is_held": False, "refusal": ""}
    return Q(**{f"{prefix}{name}": value for name, value in terms.items()})


@admin.register(Category)
class CategoryAdmin(StaffAdmin):
    """Headings of the catalogue; a sync makes them, the shop arranges them."""

    list_display = ("name", "own_name", "position", "is_visible", "markup_percent", "service_count")
    list_editable = ("own_name", "position", "is_visible", "markup_percent")
    list_filter = ("is_visible",)
    search_fields = ("name", "own_name")
    fields = (
        "name", "own_name", ("position", "is_visible"), ("markup_percent", "markup_fixed"),
        ("margin_min", "rounding_step"),
    )  # fmt: skip
    readonly_fields = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Category]:
        return super().get_queryset(request).annotate(service_count=Count("services"))  # type: ignore[no-any-return]

    @column(_("services"), ordering="service_count")
    def service_count(self, category: Any) -> int:
        return int(category.service_count)

    def save_model(self, request: HttpRequest, obj: Category, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if set(RULE_FIELDS) & set(form.changed_data):
            reprice(Service.objects.filter(category=obj), Cause(actor=staff_member(request)))

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


class PriceRules:
    """What holds for a price wherever it is typed."""

    cleaned_data: dict[str, Any]
    instance: Service

    def clean_pinned_rate(self) -> Decimal | None:
        pinned: Decimal | None = self.cleaned_data.get("pinned_rate")
        if pinned is None:
            return None
        cost = cost_of(self.instance)
        if pinned < cost or pinned <= 0:
            raise forms.ValidationError(
                _("A pinned price can't be below the cost of %(cost)s.") % {"cost": figure(cost)}
            )
        return pinned


class ServiceForm(PriceRules, forms.ModelForm[Service]):
    """One service."""


class ServiceRow(PriceRules, LabelledRow):
    """One service in the list."""


def cost_of(service: Service) -> Decimal:
    """What 1,000 units (or the package) cost us, in the site's currency."""
    return site_cost(service.cost_rate, service.provider.exchange_rate)


def margin_percent(cost: Decimal, price: Decimal) -> Decimal:
    """How much of the price stays with us, in percent of the price; 0 when there is no price."""
    if price <= 0:
        return Decimal(0)
    return ((price - cost) / price * 100).quantize(Decimal("0.1"))


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
            "on_sale": _on_sale("") & Q(provider__is_enabled=True, category__is_visible=True),
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
        if self.value() == "none":
            # A comparison to find rows by, not an amount: the figures shown are made in Decimal.
            return queryset.filter(price_rate__lte=F("cost_rate") * F("provider__exchange_rate"))
        if self.value() == "below":
            # With the cost as listed now, though it is held or was ignored.
            newest = Coalesce("listed_cost_rate", "cost_rate")
            return queryset.filter(price_rate__lt=newest * F("provider__exchange_rate"))
        if self.value() == "pinned":
            return queryset.filter(pinned_rate__isnull=False)
        return queryset


class OrderTypeFilter(DropdownFilter):  # type: ignore[misc]
    """By the types that occur."""

    title = _("type")
    parameter_name = "order_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        types = Service.objects.order_by("order_type").values_list("order_type", flat=True)
        return [(each, each or "–") for each in types.distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Service]) -> QuerySet[Service]:  # noqa: ARG002
        return queryset.filter(order_type=self.value()) if self.value() else queryset


@admin.register(Service)
class ServiceAdmin(StaffAdmin):
    """Where prices are made: each row is edited in place, and shows what is earned with it."""

    form = ServiceForm
    list_display = (
        "title_column", "state", "cost", "price", "margin", "pinned_rate", "markup_percent",
        "is_sold", "limits", "provider", "changed_on",
    )  # fmt: skip
    list_fullwidth = True
    list_display_links = ("title_column",)
    list_editable = ("pinned_rate", "markup_percent", "is_sold")
    list_filter = (
        SaleFilter,
        MarginFilter,
        OrderTypeFilter,
        ("provider", RelatedDropdownFilter),
        ("category", AutocompleteSelectFilter),
        ("refusal", ChoicesDropdownFilter),
        ("changed_at", RangeDateTimeFilter),
    )
    search_fields = ("name", "own_name", "=upstream_id", "=id")
    search_help_text = _("Search by name, our ID or the provider's ID")
    actions = ("plan_change", "release_held")
    actions_list = ("export_list", "import_list")
    change_form_outer_after_template = "admin/catalog/service_history.html"
    fieldsets = (
        (None, {"fields": ("title_column", "state_text", "own_name", "own_description", "is_sold")}),
        (_("Price per 1000"), {"fields": (("cost", "price", "margin_text"), "rule_text", ("pinned_rate", "markup_percent"), ("markup_fixed", "margin_min"), "rounding_step")}),
        (
            _("As the provider gives it"),
            {
                "fields": (
                    ("provider", "upstream_id"), ("category", "keeps_category"), "name", "description",
                    ("type", "order_type"), ("min_quantity", "max_quantity"),
                    ("refill", "cancel", "dripfeed"), ("created_at", "changed_at"),
                )
            },
        ),
    )  # fmt: skip
    readonly_fields = (
        "title_column", "state_text", "cost", "price", "margin_text", "rule_text", "provider", "upstream_id", "category",
        "name", "description", "type", "order_type", "min_quantity", "max_quantity", "refill",
        "cancel", "dripfeed", "created_at", "changed_at",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Service]:
        queryset: QuerySet[Service] = super().get_queryset(request)
        return queryset.select_related("provider", "category").defer(
            "provider__api_key", "description", "own_description"
        )

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        return super().get_changelist_form(request, form=ServiceRow, **kwargs)

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    @column(_("service"), ordering="name")
    def title_column(self, service: Service) -> Any:
        return format_html('<span class="panel-clamp">{} · {}</span>', service.pk, service.title)

    @column(
        _("state"),
        label={
            "on": "success", "off": "warning", "held": "info", "vanished": "danger",
            "refused": "danger",
        },
    )  # fmt: skip
    def state(self, service: Service) -> tuple[str, Any]:
        if service.refusal:
            return "refused", service.get_refusal_display()
        if not service.is_present:
            return "vanished", _("vanished")
        if service.is_held:
            return "held", _("held")
        return ("on", _("on sale")) if service.is_sold else ("off", _("off sale"))

    @column(_("cost"), ordering="cost_rate")
    def cost(self, service: Service) -> str:
        return figure(cost_of(service))

    @column(_("price"), ordering="price_rate")
    def price(self, service: Service) -> str:
        return figure(service.price_rate)

    @column(_("margin"), label={"good": "success", "thin": "warning", "none": "danger"})
    def margin(self, service: Service) -> tuple[str, str]:
        percent = margin_percent(cost_of(service), service.price_rate)
        word = "none" if percent <= 0 else "thin" if percent < 10 else "good"
        words = {"none": _("none"), "thin": _("thin"), "good": _("good")}
        return word, f"{figure(percent, places=1)} % {words[word]}"

    @column(_("state"))
    def state_text(self, service: Service) -> Any:
        return self.state(service)[1]

    @column(_("margin"))
    def margin_text(self, service: Service) -> str:
        return str(self.margin(service)[1])

    @column(_("changed"), ordering="changed_at")
    def changed_on(self, service: Service) -> str:
        return date_format(timezone.localtime(service.changed_at), "SHORT_DATE_FORMAT")

    @column(_("limits"), ordering="min_quantity")
    def limits(self, service: Service) -> str:
        return f"{service.min_quantity:,} – {service.max_quantity:,}".replace(",", " ")

    def save_model(self, request: HttpRequest, obj: Service, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        edited = self.edited_fields(form)
        if not edited:
            return
        cause = Cause(actor=staff_member(request))
        history.note(obj, {name: form.initial.get(name) for name in edited}, cause)
        Service.objects.filter(pk=obj.pk).update(changed_at=timezone.now())
        if {"pinned_rate", *RULE_FIELDS} & set(edited):
            reprice(Service.objects.filter(pk=obj.pk), cause)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        service = self.get_object(request, object_id) if object_id else None
        context = {**(history_context(service) if service else {}), **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

    @column(_("made by"))
    def rule_text(self, service: Service) -> str:
        return rule_sentence(service)

    @bulk_action(
        title=_("Release held services"),
        question=_("Put these services on sale? Held ones are new, or came back."),
        permission="change",
    )
    def release_held(self, request: HttpRequest, services: QuerySet[Service]) -> int:
        return release(services, staff_member(request))

    @action(description=_("Change the chosen services"), permissions=["change"])
    def plan_change(self, request: HttpRequest, services: QuerySet[Service]) -> HttpResponse:
        """Ask what to do with the chosen services, write it down as a plan, and show that."""
        form = PlanForm(request.POST if request.POST.get("planned") else None)
        if form.is_bound and form.is_valid():
            edits = form.edits(chosen_services(services))
            return _to_plan(request, plan(form.title(), edits, staff_member(request)))
        context = {
            "title": _("Change the chosen services"),
            "question": _("Nothing is written before you have seen each service before and after."),
            "button": _("Show each service"),
            "form": form,
            "back": reverse("admin:catalog_service_changelist"),
            "checkbox": ACTION_CHECKBOX_NAME,
            "chosen": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "action": "plan_change",
            "select_across": request.POST.get("select_across", "0"),
        }
        return self._form_page(request, context)

    def _form_page(self, request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
        full = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        return TemplateResponse(request, "admin/catalog/plan.html", full)

    @action(
        description=_("Export as CSV"), url_path="export", icon="download", permissions=["view"]
    )
    def export_list(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002
        """The whole price list as a file."""
        rows = chosen_services(Service.objects.order_by("pk"))
        answer = StreamingHttpResponse(
            csv_list.write(rows.iterator(chunk_size=2000)), content_type="text/csv; charset=utf-8"
        )
        answer["Content-Disposition"] = 'attachment; filename="services.csv"'
        return cast("HttpResponse", answer)

    @action(description=_("Import CSV"), url_path="import", icon="upload", permissions=["change"])
    def import_list(self, request: HttpRequest) -> HttpResponse:
        """Read a price list and write down as a plan what it would change."""
        is_post = request.method == "POST"
        form = ImportForm(request.POST, request.FILES) if is_post else ImportForm()
        if is_post and form.is_valid():
            try:
                return _to_plan(
                    request, _imported(form.cleaned_data["file"], staff_member(request))
                )
            except csv_list.NotACsvFile as exc:
                form.add_error("file", str(exc))
        context = {
            "title": _("Import a price list"),
            "question": _("Export the list, change its last columns, and bring it back here."),
            "button": _("Show what it would change"),
            "form": form,
            "back": reverse("admin:catalog_service_changelist"),
        }
        return self._form_page(request, context)


def _to_plan(request: HttpRequest, bulk: BulkChange) -> HttpResponse:
    if not bulk.rows:
        messages.warning(request, _("Nothing would change."))
    return redirect("admin:catalog_bulkchange_change", bulk.pk)


def _imported(file: Any, actor: User) -> BulkChange:
    wanted, problems = csv_list.read(file.read())
    services = chosen_services(Service.objects.filter(pk__in=wanted))
    edits = [(service, wanted[service.pk]) for service in services]
    unknown = wanted.keys() - {service.pk for service, _values in edits}
    problems += [[str(pk), str(_("There is no such service."))] for pk in sorted(unknown)]
    return plan(str(_("Import of %(file)s") % {"file": file.name}), edits, actor, problems)


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


@admin.register(LinkRule)
class LinkRuleAdmin(StaffAdmin):
    """What is refused in orders, and what the customer is told."""

    list_display = ("text", "kind", "message", "is_on")
    list_filter = ("kind", "is_on")
    search_fields = ("text", "message")
    fields = ("kind", "text", "message", "is_on")
