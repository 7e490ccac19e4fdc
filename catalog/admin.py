"""The catalogue in the admin: providers, categories, and the page on which prices are made."""

from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import Count, F, Q, QuerySet
from django.http import HttpRequest
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
from accounts.staff import (
    Dialog,
    DialogForm,
    LabelledRow,
    NotDone,
    ReadOnlyAdmin,
    Refusals,
    StaffAdmin,
    bulk_action,
    column,
    dialog,
    figure,
    staff_member,
)
from catalog.models import Category, ErrorRule, LinkRule, Provider, Service, SyncRun
from catalog.pricing import site_cost
from catalog.services import release, reprice
from catalog.sync import refresh_balance, sync_provider
from upstream.errors import Kind, NotSent, OutcomeUnknown, Rejected
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
    actions_detail: tuple[str, ...] = ("sync_now", "check_balance", "test_connection")
    fieldsets: Any = (
        (None, {"fields": ("name", "is_enabled", "url", _SEPARATE_KEY)}),
        (_("Prices"), {"fields": (("currency", "exchange_rate"), "markup_percent")}),
        (_("Catalogue"), {"fields": ("holds_new_services",)}),
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
        if change and {"exchange_rate", "markup_percent"} & set(form.changed_data):
            reprice(Service.objects.filter(provider=obj))

    @dialog(
        Dialog(
            title=_("Sync now"),
            button=_("Fetch the catalogue"),
            permission="change",
            icon="sync",
            form=SyncForm,
            refusals=UPSTREAM_REFUSALS,
            text=_(
                "Fetches the provider's services and applies what changed. It may take a minute."
            ),
        )
    )
    def sync_now(self, request: HttpRequest, form: SyncForm, provider: Provider) -> Any:  # noqa: ARG002
        run = sync_provider(provider, accepts_short=form.cleaned_data["accepts_short"])
        if run.outcome in (SyncRun.Outcome.FAILED, SyncRun.Outcome.REFUSED):
            raise NotDone(f"{run.get_outcome_display()}: {run.note}")
        counts = {
            "outcome": run.get_outcome_display(),
            "added": run.added,
            "changed": run.changed,
            "repriced": run.repriced,
            "vanished": run.vanished,
            "refused": run.refused,
        }
        said = _(
            "Catalogue %(outcome)s: %(added)d added, %(changed)d changed, %(repriced)d repriced, "
            "%(vanished)d vanished, %(refused)d not usable."
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
    fields = ("name", "own_name", "position", "is_visible", "markup_percent")
    readonly_fields = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Category]:
        return super().get_queryset(request).annotate(service_count=Count("services"))  # type: ignore[no-any-return]

    @column(_("services"), ordering="service_count")
    def service_count(self, category: Any) -> int:
        return int(category.service_count)

    def save_model(self, request: HttpRequest, obj: Category, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if "markup_percent" in form.changed_data:
            reprice(Service.objects.filter(category=obj))

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
        return [("none", _("no margin")), ("pinned", _("pinned price"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Service]) -> QuerySet[Service]:  # noqa: ARG002
        if self.value() == "none":
            # A comparison to find rows by, not an amount: the figures shown are made in Decimal.
            return queryset.filter(price_rate__lte=F("cost_rate") * F("provider__exchange_rate"))
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
    actions = ("release_held", "sell", "stop_selling")
    fieldsets = (
        (None, {"fields": ("title_column", "state_text", "own_name", "own_description", "is_sold")}),
        (_("Price per 1000"), {"fields": (("cost", "price", "margin_text"), ("pinned_rate", "markup_percent"))}),
        (
            _("As the provider gives it"),
            {
                "fields": (
                    ("provider", "upstream_id"), "category", "name", "description",
                    ("type", "order_type"), ("min_quantity", "max_quantity"),
                    ("refill", "cancel", "dripfeed"), ("created_at", "changed_at"),
                )
            },
        ),
    )  # fmt: skip
    readonly_fields = (
        "title_column", "state_text", "cost", "price", "margin_text", "provider", "upstream_id", "category",
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
        if {"pinned_rate", "markup_percent"} & set(form.changed_data):
            reprice(Service.objects.filter(pk=obj.pk))

    @bulk_action(
        title=_("Release held services"),
        question=_("Put these services on sale? Held ones are new, or came back."),
        permission="change",
    )
    def release_held(self, request: HttpRequest, services: QuerySet[Service]) -> int:
        return release(services, staff_member(request))

    @bulk_action(title=_("Sell"), question=_("Sell these services?"), permission="change")
    def sell(self, request: HttpRequest, services: QuerySet[Service]) -> int:  # noqa: ARG002
        return _sell(services, sold=True)

    @bulk_action(
        title=_("Stop selling"), question=_("Take these services off sale?"), permission="change"
    )
    def stop_selling(self, request: HttpRequest, services: QuerySet[Service]) -> int:  # noqa: ARG002
        return _sell(services, sold=False)


def _sell(services: QuerySet[Service], *, sold: bool) -> int:
    chosen = Service.objects.filter(pk__in=services.order_by().values("pk"))
    return chosen.filter(is_sold=not sold).update(is_sold=sold, changed_at=timezone.now())


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
