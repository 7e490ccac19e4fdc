"""Refills and cancels in the admin: what waits for staff, what is at the provider, how it ended."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import (
    ChoicesDropdownFilter,
    DropdownFilter,
    RelatedDropdownFilter,
)
from unfold.paginator import InfinitePaginator
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts.staff import (
    Dialog,
    DialogForm,
    ReadOnlyAdmin,
    ReasonForm,
    column,
    dialog,
    may,
    order_link,
    staff_member,
)
from orders import desk, refills
from orders.admin.texts import REFUSALS
from orders.api_status import refill_number, refill_pk
from orders.models import Request
from orders.states import RequestState

# The tabs of the refill queue, and the states behind each.
TABS: dict[str, tuple[Any, list[str]]] = {
    "asked": (_("Waiting for staff"), [RequestState.ASKED]),
    "requested": (
        _("Requested"),
        [RequestState.QUEUED, RequestState.SENDING, RequestState.UNKNOWN],
    ),
    "there": (_("At the provider"), [RequestState.ACCEPTED]),
    "completed": (_("Completed"), [RequestState.COMPLETED]),
    "refused": (_("Refused"), [RequestState.REJECTED]),
}


class CloseForm(ReasonForm):
    is_done = forms.TypedChoiceField(
        label=_("How did it end?"),
        choices=[("yes", _("it was done")), ("no", _("it was refused"))],
        coerce=lambda value: value == "yes",
        widget=UnfoldAdminSelectWidget,
    )
    field_order = ["is_done", "reason"]


class _RefillFacts(DialogForm):
    def facts(self) -> list[tuple[Any, Any]]:
        asked: Request = self.target
        order = asked.order
        return [
            (_("Order"), order_link(order.pk)),
            (_("Service"), order.service),
            (_("Link"), order.link),
            (_("Quantity"), order.quantity),
            (_("Ended"), order.finished_at),
            (_("Refills before"), order.requests.filter(kind=asked.kind, pk__lt=asked.pk).count()),
        ]


class ApproveRefillForm(_RefillFacts):
    way = forms.ChoiceField(label=_("Who refills?"), widget=UnfoldAdminSelectWidget)
    reason = forms.CharField(
        label=_("Note to the customer"),
        max_length=300,
        required=False,
        widget=UnfoldAdminTextInputWidget,
    )

    def prepare(self) -> None:
        ways = [("hand", _("we see to it; settle the request when it is done"))]
        if self.target.order.service.refill:
            ways.insert(0, ("provider", _("the provider, asked by itself")))
        field = self.fields["way"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type checker
        field.choices = ways


class RefuseRefillForm(_RefillFacts, ReasonForm):
    """Asks for the reason, which the customer reads."""


class TabFilter(DropdownFilter):  # type: ignore[misc] # unfold has no types
    """One tab of the refill queue."""

    title = _("refills")
    parameter_name = "refills"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002
        return [(name, title) for name, (title, _states) in TABS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Request]) -> QuerySet[Request]:  # noqa: ARG002
        if self.value() not in TABS:
            return queryset
        _title, states = TABS[self.value()]
        return queryset.filter(kind=Request.Kind.REFILL, state__in=states)


@admin.register(Request)
class RequestAdmin(ReadOnlyAdmin):
    """Refills and cancels on their way."""

    list_display = (
        "number", "order_column", "kind", "state_column", "provider", "upstream_id",
        "raw_status", "requested_by", "created_at",
    )  # fmt: skip
    list_filter = (
        TabFilter,
        ("kind", ChoicesDropdownFilter),
        ("state", ChoicesDropdownFilter),
        ("provider", RelatedDropdownFilter),
    )
    list_select_related = ("order", "provider", "requested_by")
    # The fields are searched by `get_search_results`; this makes the search box appear.
    search_fields = ("id",)
    search_help_text = _("Search by order, by the refill's ID, or by the provider's")
    list_before_template = "admin/orders/parts/refill_tabs.html"
    paginator = InfinitePaginator
    fields = (
        ("number", "kind", "state"), ("order_column", "provider"), ("upstream_id", "raw_status"),
        "answer", "reason", ("requested_by", "created_at", "finished_at"),
    )  # fmt: skip
    readonly_fields = ("number", "order_column")
    actions_detail = ("approve", "refuse", "close")

    has_decide_permission = may("orders.decide_refill")

    def has_close_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever settles orders; a refill that we see to, also whoever decides about refills."""
        if request.user.has_perm("orders.resolve_order"):
            return True
        asked = self.get_object(request, obj) if isinstance(obj, str) else obj
        # A cancel that its provider accepted has no ID there either.
        is_ours = asked is None or (
            asked.kind == Request.Kind.REFILL
            and asked.state == RequestState.ACCEPTED
            and not asked.upstream_id
        )
        return is_ours and self.has_decide_permission(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Request]:
        return super().get_queryset(request).defer("provider__api_key")  # type: ignore[no-any-return]

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[Request],
        search_term: str,
    ) -> tuple[QuerySet[Request], bool]:
        word = search_term.strip().removeprefix("#")
        if not word:
            return queryset, False
        meant = Q(upstream_id=word)
        if word.isascii() and word.isdecimal() and len(word) <= 18:
            meant |= Q(order=int(word)) | Q(pk=refill_pk(int(word)), kind=Request.Kind.REFILL)
        return queryset.filter(meant), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        chosen = request.GET.get(TabFilter.parameter_name, "")
        tabs = [("", _("All"), chosen == "")]
        tabs += [(name, title, chosen == name) for name, (title, _states) in TABS.items()]
        context = {"tabs": tabs, **(extra_context or {})}
        return super().changelist_view(request, context)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Only the buttons that do something for this request now."""
        asked = self.get_object(request, str(object_id))
        state = asked.state if asked else ""
        possible = {"approve", "refuse"} if state == RequestState.ASKED else set()
        if state in (RequestState.UNKNOWN, RequestState.ACCEPTED):
            possible = {"close"}
        return [
            action
            for action in super().get_actions_detail(request, object_id)
            if action.method.original_function_name in possible
        ]

    @column(_("number"), ordering="pk")
    def number(self, asked: Request) -> int:
        """A refill's is the ID that clients of our API know it by."""
        return refill_number(asked.pk) if asked.kind == Request.Kind.REFILL else asked.pk

    @column(_("order"), ordering="order")
    def order_column(self, asked: Request) -> Any:
        return order_link(asked.order_id)

    @column(
        _("state"),
        ordering="state",
        label={
            "asked": "warning", "unknown": "danger", "rejected": "danger", "completed": "success",
        },
    )  # fmt: skip
    def state_column(self, asked: Request) -> tuple[str, Any]:
        return asked.state, asked.get_state_display()

    @dialog(
        Dialog(
            title=_("Approve refill"),
            button=_("Approve"),
            permission="decide",
            icon="check_circle",
            form=ApproveRefillForm,
            refusals=REFUSALS,
        )
    )
    def approve(self, request: HttpRequest, form: ApproveRefillForm, asked: Request) -> Any:
        refills.approve_refill(
            request_id=asked.pk,
            is_by_hand=form.cleaned_data["way"] == "hand",
            reason=form.cleaned_data["reason"],
            actor=staff_member(request),
        )
        return _("Approved.")

    @dialog(
        Dialog(
            title=_("Refuse refill"),
            button=_("Refuse"),
            permission="decide",
            icon="block",
            form=RefuseRefillForm,
            is_dangerous=True,
            text=_("The customer reads the reason."),
            refusals=REFUSALS,
        )
    )
    def refuse(self, request: HttpRequest, form: RefuseRefillForm, asked: Request) -> Any:
        refills.refuse_refill(
            request_id=asked.pk,
            reason=form.cleaned_data["reason"],
            actor=staff_member(request),
        )
        return _("Refused.")

    @dialog(
        Dialog(
            title=_("Settle request"),
            button=_("Settle"),
            permission="close",
            icon="gavel",
            form=CloseForm,
            text=_("For a request whose answer was lost or never comes, or that we saw to."),
            refusals=REFUSALS,
        )
    )
    def close(self, request: HttpRequest, form: CloseForm, asked: Request) -> Any:
        desk.close_request(
            request_id=asked.pk,
            is_done=form.cleaned_data["is_done"],
            reason=form.cleaned_data["reason"],
            actor=staff_member(request),
        )
        return _("The request is settled.")
