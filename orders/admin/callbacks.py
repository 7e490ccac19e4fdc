"""What customers' programs are told, in the admin: callbacks and their messages, to look at."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.paginator import InfinitePaginator

from accounts.staff import ReadOnlyAdmin, column
from orders.models import Callback, Delivery

STATE_COLOURS: dict[str, str] = {
    Delivery.State.WAITING: "info",
    Delivery.State.DELIVERED: "success",
    Delivery.State.FAILED: "danger",
    Delivery.State.REPLACED: "default",
}


@admin.register(Callback)
class CallbackAdmin(ReadOnlyAdmin):
    """Where customers want to be told of changes; the secret for signatures is theirs alone."""

    list_display = ("customer", "url", "is_active", "created_at")
    list_filter = ("is_active",)
    list_select_related = ("customer",)
    search_fields = ("customer__email", "url")
    search_help_text = _("Search by customer or address")
    fields = ("customer", "url", "is_active", "created_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Callback]:
        return super().get_queryset(request).defer("secret")  # type: ignore[no-any-return]


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """Messages to callbacks, with what was answered last."""

    list_display = (
        "order", "callback", "status", "state_column", "http_status", "tries", "created_at",
        "tried_at",
    )  # fmt: skip
    list_filter = (("state", ChoicesDropdownFilter),)
    list_select_related = ("order", "callback")
    search_fields = ("=order__id", "callback__customer__email")
    search_help_text = _("Search by order or customer")
    fields = (
        "order", "callback", "status", "state", "tries", "http_status", "answer", "created_at",
        "tried_at",
    )  # fmt: skip
    paginator = InfinitePaginator

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        return super().get_queryset(request).defer("callback__secret")  # type: ignore[no-any-return]

    @column(_("state"), ordering="state", label=STATE_COLOURS)
    def state_column(self, delivery: Delivery) -> tuple[str, Any]:
        return delivery.state, delivery.get_state_display()
