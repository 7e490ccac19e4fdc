"""Categories in the admin; a sync makes them, the shop arranges them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.staff import StaffAdmin, column, staff_member
from catalog.admin.rule_preview import PreviewsPrices
from catalog.history import Cause
from catalog.models import RULE_FIELDS, Category, Service
from catalog.services import lock_providers, reprice


@admin.register(Category)
class CategoryAdmin(PreviewsPrices, StaffAdmin):
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

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with _prices_held(request):
            return super().changeform_view(request, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with _prices_held(request):
            return super().changelist_view(request, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Category, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if set(RULE_FIELDS) & set(form.changed_data):
            reprice(Service.objects.filter(category=obj), Cause(actor=staff_member(request)))

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


@contextmanager
def _prices_held(request: HttpRequest) -> Iterator[None]:
    """A new rule makes prices at every provider: they are taken before the first row is written."""
    if request.method != "POST":
        yield
        return
    with transaction.atomic():
        lock_providers(Service.objects.all())
        yield
