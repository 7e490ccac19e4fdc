"""The page on which prices are made: each service with its cost, price and margin."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
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
    RelatedDropdownFilter,
)

from accounts.filters import PeriodFilter
from accounts.models import User
from accounts.staff import (
    LabelledRow,
    StaffAdmin,
    action,
    bulk_action,
    column,
    figure,
    staff_member,
)
from catalog import history, price_file
from catalog.admin.filters import ChangedFilter, MarginFilter, OrderTypeFilter, SaleFilter
from catalog.changing import chosen_services, plan, services_by_number
from catalog.history import Cause
from catalog.models import RULE_FIELDS, BulkChange, Service
from catalog.price_forms import ImportForm, PlanForm
from catalog.price_pages import history_context, rule_sentence
from catalog.pricing import site_cost
from catalog.services import forget_lists, lock_providers, release, reprice
from catalog.sheets import XLSX, UnreadableFile, csv_lines, xlsx_file


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


@admin.register(Service)
class ServiceAdmin(StaffAdmin):
    """Where prices are made: each row is edited in place, and shows what is earned with it."""

    form = ServiceForm
    list_display = (
        "title_column", "state", "cost", "price", "margin", "pinned_rate", "markup_percent",
        "markup_fixed", "is_sold", "provider", "changed_on",
    )  # fmt: skip
    list_fullwidth = True
    list_display_links = ("title_column",)
    list_editable = ("pinned_rate", "markup_percent", "markup_fixed", "is_sold")
    list_filter = (
        SaleFilter,
        MarginFilter,
        ChangedFilter,
        OrderTypeFilter,
        ("provider", RelatedDropdownFilter),
        ("category", AutocompleteSelectFilter),
        ("refusal", ChoicesDropdownFilter),
        ("changed_at", PeriodFilter),
    )
    search_fields = ("name", "own_name", "=upstream_id", "=id")
    search_help_text = _("Search by name, our ID or the provider's ID")
    actions = ("plan_change", "release_held")
    actions_list = ("export_list", "export_workbook", "import_list")
    change_form_outer_after_template = "admin/catalog/service_history.html"
    fieldsets = (
        (None, {"fields": ("title_column", "state_text", "own_name", "own_description", "is_sold")}),
        (_("Price per 1000"), {"fields": (("cost", "price", "margin_text"), "rule_text", ("pinned_rate", "markup_percent"), ("markup_fixed", "margin_min"), "rounding_step")}),
        (_("Refills"), {"fields": ("refill_by", ("refill_days", "refill_every_hours"))}),
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
        if "keeps_category" in edited:
            forget_lists(Service.objects.filter(pk=obj.pk))

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        service = self.get_object(request, object_id) if object_id else None
        context = {**(history_context(service) if service else {}), **(extra_context or {})}
        with transaction.atomic():
            if service and request.method == "POST":
                lock_providers(Service.objects.filter(pk=service.pk))
            return super().changeform_view(request, object_id, form_url, context)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        if "_save" not in request.POST:
            return super().changelist_view(request, extra_context)
        with transaction.atomic():
            lock_providers(Service.objects.all())
            return super().changelist_view(request, extra_context)

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
        """The whole price list as text."""
        lines = csv_lines(price_file.table(_all_services()))
        answer = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = 'attachment; filename="services.csv"'
        return cast("HttpResponse", answer)

    @action(
        description=_("Export as XLSX"),
        url_path="export-xlsx",
        icon="table",
        permissions=["view"],
    )
    def export_workbook(self, request: HttpRequest) -> HttpResponse:  # noqa: ARG002
        """The whole price list as a workbook."""
        body = xlsx_file(str(_("Prices"))[:31], price_file.table(_all_services()))
        answer = HttpResponse(body, content_type=XLSX)
        answer["Content-Disposition"] = 'attachment; filename="services.xlsx"'
        return answer

    @action(
        description=_("Import a list"), url_path="import", icon="upload", permissions=["change"]
    )
    def import_list(self, request: HttpRequest) -> HttpResponse:
        """Read a price list and write down as a plan what it would change."""
        is_post = request.method == "POST"
        form = ImportForm(request.POST, request.FILES) if is_post else ImportForm()
        if is_post and form.is_valid():
            try:
                return _to_plan(
                    request, _imported(form.cleaned_data["file"], staff_member(request))
                )
            except UnreadableFile as exc:
                form.add_error("file", str(exc))
        context = {
            "title": _("Import a price list"),
            "question": _("Export the list, change its last columns, and bring it back here."),
            "button": _("Show what it would change"),
            "form": form,
            "back": reverse("admin:catalog_service_changelist"),
        }
        return self._form_page(request, context)


def _all_services() -> Iterator[Service]:
    return chosen_services(Service.objects.order_by("pk")).iterator(chunk_size=2000)


def _to_plan(request: HttpRequest, bulk: BulkChange) -> HttpResponse:
    if not bulk.rows:
        messages.warning(request, _("Nothing would change."))
    return redirect("admin:catalog_bulkchange_change", bulk.pk)


def _imported(file: Any, actor: User) -> BulkChange:
    wanted, problems = price_file.read(file.read())
    services = list(services_by_number(wanted))
    unknown = wanted.keys() - {service.pk for service in services}
    problems += [[str(pk), str(_("There is no such service."))] for pk in sorted(unknown)]
    edits = ((service, wanted[service.pk]) for service in services)
    return plan(str(_("Import of %(file)s") % {"file": file.name}), edits, actor, problems)
