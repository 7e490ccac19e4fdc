"""Orders in the admin: everything can be looked at, and changed only by the desk's own verbs."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import F, Q, QuerySet, TextChoices
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.admin import StackedInline, TabularInline
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    DropdownFilter,
    RangeDateTimeFilter,
    RelatedDropdownFilter,
)
from unfold.paginator import InfinitePaginator
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

import orders.api_admin  # noqa: F401 - registers its pages
from accounts.models import User
from accounts.staff import (
    Dialog,
    DialogForm,
    NotDone,
    ReadOnlyAdmin,
    ReasonForm,
    Refusals,
    column,
    dialog,
    figure,
    staff_member,
)
from catalog.admin import KINDS, UPSTREAM_REFUSALS, ProviderAdmin
from catalog.models import ErrorRule, Provider
from catalog.pricing import site_cost
from orders import approvals, canary, desk, following, gates, reconcile, requests, timing
from orders.attention import Attention
from orders.errors import NotPossible
from orders.models import Attempt, Gate, Order, Request, Scan
from orders.provider_pages import provider_sections
from orders.states import Dispatch, Status
from orders.timeline import lines
from upstream.errors import Kind
from upstream.verdicts import normalise
from wallet.admin import REFUSALS as WALLET_REFUSALS
from wallet.admin import WAITS, entries_table
from wallet.ceilings import NotYours, refuse
from wallet.models import Approval, Entry
from wallet.money import LIMIT, STEP

REFUSALS: Refusals = {NotPossible: str, **WALLET_REFUSALS, **UPSTREAM_REFUSALS}

_NOT_YOURS = _("Only a second person with a high enough ceiling can decide this, and only once.")

STATUS_COLOURS: dict[str, str] = {
    Status.PENDING: "info",
    Status.PROCESSING: "info",
    Status.IN_PROGRESS: "primary",
    Status.COMPLETED: "success",
    Status.PARTIAL: "warning",
    Status.CANCELED: "danger",
}
DISPATCH_COLOURS: dict[str, str] = {
    Dispatch.ACCEPTED: "success",
    Dispatch.UNKNOWN: "danger",
    Dispatch.REJECTED: "warning",
    Dispatch.SENDING: "primary",
    Dispatch.CLAIMED: "primary",
    Dispatch.QUEUED: "info",
    Dispatch.WITHDRAWN: "default",
    Dispatch.CHILD: "default",
}


# Set while following an order, and while sending it.
ATTENTION: dict[str, Any] = {
    **dict(Attention.choices),
    "unknown": _("Sent, and the answer was lost"),
    "unrecognised": _("The provider answered with an error nobody has explained yet"),
    "repeated_id": _("The provider gave it another order's ID"),
    "resend_refused": _("Not sent again: an earlier attempt may have arrived"),
    "placed_after_refund": _("Accepted by the provider after it was refunded"),
    "account": _("The provider refuses our key or account"),
    "absent": _("Sent, the answer was lost, and it is not at the provider"),
}

# orders.matching.Verdict and Reason, and what keeps a search from going on.
VERDICTS: dict[str, Any] = {
    "": _("nothing yet"),
    "wait": _("still looking"),
    "placed": _("found"),
    "absent": _("not at the provider"),
    "review": _("a person has to decide"),
}
REASONS: dict[str, Any] = {
    "only_fit": _("one order there fits this one and no other"),
    "only_way": _("among the orders that fit, this can be only one"),
    "nothing_fits": _("every ID in question was asked for, and nothing fits"),
    "no_anchor": _("waits for a later order of ours, which ends the range of IDs"),
    "scanning": _("not every ID in question was asked for yet"),
    "budget": _("the calls for this order are used up"),
    "ambiguous": _("several orders and IDs fit each other"),
    "unexplained": _("an order there fits nothing here"),
    "review_only": _("someone else orders on this account"),
    "balance": _("our balance there says the opposite"),
}
HINDRANCES: dict[str, Any] = {
    "": _("on"),
    "off": _("switched off for this provider"),
    "canary": _("off: the test of this provider failed"),
    "untested": _("waits for the test of this provider"),
    "disorder": _("off: the provider's IDs are not in order, or too few"),
    "paused": _("paused for ten minutes"),
    "review_only": _("on, without deciding"),
}


class CloseForm(ReasonForm):
    is_done = forms.TypedChoiceField(
        label=_("How did it end?"),
        choices=[("yes", _("it was done")), ("no", _("it was refused"))],
        coerce=lambda value: value == "yes",
        widget=UnfoldAdminSelectWidget,
    )
    field_order = ["is_done", "reason"]


class RefundCode(TextChoices):
    """Why staff give money back; kept in front of the note."""

    NOT_DELIVERED = "not delivered", _("not delivered")
    DROPPED = "dropped", _("delivered and lost again")
    SLOW = "too slow", _("too slow")
    WRONG = "wrong order", _("wrong order")
    GOODWILL = "goodwill", _("goodwill")


class RefundForm(ReasonForm):
    code = forms.ChoiceField(
        label=_("Why"), choices=RefundCode.choices, required=False, widget=UnfoldAdminSelectWidget
    )
    is_undelivered = forms.BooleanField(
        label=_("What was not delivered"), required=False, widget=UnfoldBooleanSwitchWidget
    )
    amount = forms.DecimalField(
        label=_("Amount"),
        required=False,
        min_value=STEP,
        max_value=LIMIT,
        max_digits=15,
        decimal_places=5,
        help_text=_("Empty: all that is left."),
        widget=UnfoldAdminDecimalFieldWidget(attrs={"inputmode": "decimal", "step": "any"}),
    )
    field_order = ["code", "amount", "is_undelivered", "reason"]

    def facts(self) -> list[tuple[Any, Any]]:
        order: Order = self.target
        return [
            (_("Charge"), figure(order.charge)),
            (_("Refunded"), figure(order.refunded)),
            (_("Left"), figure(left_of(order))),
            (_("Not delivered"), figure(desk.undelivered(order))),
        ]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("code") and cleaned.get("reason"):
            cleaned["reason"] = f"{cleaned['code']}: {cleaned['reason']}"[:300]
        if not cleaned.get("is_undelivered"):
            return cleaned
        if cleaned.get("amount") is not None:
            self.add_error("amount", _("Either an amount or what was not delivered."))
        cleaned["amount"] = desk.undelivered(self.target)
        if not cleaned["amount"]:
            self.add_error("is_undelivered", _("It is not known what was not delivered."))
        return cleaned

    def clean_amount(self) -> Decimal | None:
        amount: Decimal | None = self.cleaned_data["amount"]
        if amount is not None and amount > left_of(self.target):
            raise forms.ValidationError(
                _("There is only %(left)s left to refund.") % {"left": figure(left_of(self.target))}
            )
        return amount


class CountsForm(ReasonForm):
    start_count = forms.IntegerField(
        label=_("Start count"), required=False, widget=UnfoldAdminTextInputWidget
    )
    remains = forms.IntegerField(
        label=_("Remains"), required=False, min_value=0, widget=UnfoldAdminTextInputWidget
    )
    field_order = ["start_count", "remains", "reason"]

    def prepare(self) -> None:
        order: Order = self.target
        self.initial = {"start_count": order.start_count, "remains": order.remains, **self.initial}


class LossForm(ReasonForm):
    def facts(self) -> list[tuple[Any, Any]]:
        order: Order = self.target
        return [
            (_("Cost of 1000 now"), figure(cost_now(order))),
            (_("Price of 1000"), figure(order.price_rate)),
            (_("Charge"), figure(order.charge)),
        ]


class BindForm(ReasonForm):
    upstream_id = forms.CharField(
        label=_("Upstream ID"),
        max_length=64,
        help_text=_("The order's ID in the provider's own list."),
        widget=UnfoldAdminTextInputWidget,
    )
    field_order = ["upstream_id", "reason"]

    def facts(self) -> list[tuple[Any, Any]]:
        return _evidence(self.target)


class UnknownForm(ReasonForm):
    def facts(self) -> list[tuple[Any, Any]]:
        return _evidence(self.target)


class MeaningForm(DialogForm):
    kind = forms.ChoiceField(
        label=_("This text means"),
        choices=[each for each in KINDS if each[0] != Kind.UNRECOGNISED],
        widget=UnfoldAdminSelectWidget,
    )

    def facts(self) -> list[tuple[Any, Any]]:
        attempt = unrecognised(self.target)
        return [
            (_("Provider"), self.target.provider),
            (_("Text"), attempt.reason if attempt else None),
        ]


def cost_now(order: Order) -> Decimal:
    """What 1,000 units of its service would cost us if it were sent now."""
    return site_cost(order.service.newest_cost_rate, order.provider.exchange_rate)


def left_of(order: Order) -> Decimal:
    """What can still be refunded."""
    return Decimal(order.charge - order.refunded)


def unrecognised(order: Order) -> Attempt | None:
    """The last attempt whose error text nobody has explained yet."""
    return order.attempts.filter(kind=Kind.UNRECOGNISED).order_by("-number").first()


def _evidence(order: Order) -> list[tuple[Any, Any]]:
    last = order.attempts.order_by("-number").first()
    if last is None:
        return []
    return [
        (_("Service"), order.service),
        (_("Link"), order.link),
        (_("Sent"), last.sending_at),
        (_("What is known"), last.reason),
        (_("Answer"), last.answer[:300]),
    ]


class AttentionFilter(DropdownFilter):  # type: ignore[misc] # unfold has no types
    """Orders that somebody should look at."""

    title = _("attention")
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002
        return [
            ("any", _("needs attention")),
            ("unknown", _("unconfirmed")),
            ("stuck", _("stuck: older than its service's usual end")),
            ("loss", _("held back: its cost has reached its price")),
            ("charged_more", _("the provider charged more than expected")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> QuerySet[Order]:  # noqa: ARG002
        if self.value() == "any":
            return queryset.exclude(attention="")
        if self.value() == "unknown":
            return queryset.filter(dispatch=Dispatch.UNKNOWN)
        if self.value() == "stuck":
            return queryset.filter(pk__in=timing.stuck(timezone.now()).values("pk"))
        if self.value() == "loss":
            return queryset.exclude(attention="").filter(attention=Attention.LOSS)
        if self.value() == "charged_more":
            return queryset.filter(
                status=Status.COMPLETED, upstream_charge__gt=F("expected_charge")
            )
        return queryset


def matching(term: str) -> Q:
    """The orders that a search means: an ID of ours or theirs, an e-mail address, or a link.

    Each kind is looked up in its own index; only a link is searched for within the text.
    """
    word = term.strip()
    number = word.removeprefix("#")
    if "@" in word and "/" not in word and not word.startswith("@"):
        return Q(customer__in=User.objects.filter(email__istartswith=word))
    # With the provider named, the unique index on (provider, upstream ID) finds it.
    theirs = Q(provider__in=Provider.objects.values("pk"), upstream_id=number)
    if number.isascii() and number.isdecimal() and len(number) <= 18:
        return theirs | Q(pk=int(number))
    return theirs | Q(link__icontains=word)


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    """Orders: no page of the admin edits their state or money; dialogs call the desk's functions."""

    list_display = (
        "id", "status_column", "dispatch_column", "provider", "service_column", "customer",
        "charge_column", "cost_column", "link_column", "placed",
    )  # fmt: skip
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ("dispatch", ChoicesDropdownFilter),
        AttentionFilter,
        ("provider", RelatedDropdownFilter),
        ("service", AutocompleteSelectFilter),
        ("customer", AutocompleteSelectFilter),
        ("created_at", RangeDateTimeFilter),
    )
    # The fields are searched by `get_search_results`; this makes the search box appear.
    search_fields = ("id",)
    search_help_text = _("Search by our ID, the provider's ID, e-mail or link")
    list_fullwidth = True
    # By our ID, which is by age; any other order would sort the whole table.
    sortable_by = ("id", "placed")
    # A table of a million rows is paged without being counted.
    paginator = InfinitePaginator
    list_disable_select_all = True
    actions = None
    actions_detail = (
        "check_now", "send_at_loss", "refund", "refill", "cancel", "look_now", "set_counts", "bind_unknown", "refund_unknown",
        "resend_unknown", "explain", "acknowledge",
    )  # fmt: skip
    change_form_outer_after_template = "admin/sections.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("status", "dispatch"), "attention_column", ("customer", "provider"),
                    "service", "link", "parameters", ("quantity", "start_count", "remains"),
                )
            },
        ),
        (
            _("Money"),
            {
                "fields": (
                    ("charge_column", "refunded_column", "left_column"),
                    ("cost_column", "price_column", "exchange_column"),
                    ("expected_column", "upstream_column"),
                )
            },
        ),
        (
            _("At the provider"),
            {
                "fields": (
                    ("upstream_id", "raw_status"), ("polled_at", "attempt_no"),
                    ("not_before", "waiting_for"),
                )
            },
        ),
        (
            _("Dates"),
            {
                "fields": (
                    ("created_at", "sent_at"), ("finished_at", "parent"), ("source", "order_type"),
                )
            },
        ),
    )  # fmt: skip
    readonly_fields = (
        "attention_column", "charge_column", "refunded_column", "left_column", "cost_column",
        "price_column", "exchange_column", "expected_column", "upstream_column",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Order]:
        queryset: QuerySet[Order] = super().get_queryset(request)
        return queryset.select_related("provider", "service", "customer").defer(
            "provider__api_key", "service__description", "service__own_description"
        )

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[Order],
        search_term: str,
    ) -> tuple[QuerySet[Order], bool]:
        return (queryset.filter(matching(search_term)) if search_term.strip() else queryset), False

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Only the buttons that do something for this order now."""
        order = self.get_object(request, str(object_id))
        possible = _possible(order) if order else set()
        prefix = f"{self.opts.app_label}_{self.opts.model_name}_"
        return [
            action
            for action in super().get_actions_detail(request, object_id)
            if action.action_name.removeprefix(prefix) in possible
        ]

    def has_ask_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return request.user.has_perm("orders.ask_provider")

    def has_refund_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return request.user.has_perm("orders.refund_order")

    def has_resolve_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return request.user.has_perm("orders.resolve_order")

    def has_explain_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return request.user.has_perm("catalog.add_errorrule")

    @column(_("status"), ordering="status", label=STATUS_COLOURS)
    def status_column(self, order: Order) -> tuple[str, Any]:
        return order.status, order.get_status_display()

    @column(_("dispatch"), ordering="dispatch", label=DISPATCH_COLOURS)
    def dispatch_column(self, order: Order) -> tuple[str, Any]:
        return order.dispatch, order.get_dispatch_display()

    @column(_("needs attention"))
    def attention_column(self, order: Order) -> Any:
        return ATTENTION.get(order.attention, order.attention) or "–"

    @column(_("service"))
    def service_column(self, order: Order) -> Any:
        title = order.service.title
        short = title if len(title) <= 40 else f"{title[:39]}…"
        return format_html('<span title="{}">{} · {}</span>', title, order.service_id, short)

    @column(_("link"))
    def link_column(self, order: Order) -> Any:
        bare = order.link.removeprefix("https://").removeprefix("www.")
        short = bare if len(bare) <= 26 else f"{bare[:25]}…"
        return format_html('<span title="{}">{}</span>', order.link, short)

    @column(_("placed"), ordering="pk")
    def placed(self, order: Order) -> str:
        return date_format(timezone.localtime(order.created_at), "SHORT_DATETIME_FORMAT")

    @column(_("charge"))
    def charge_column(self, order: Order) -> str:
        return figure(order.charge)

    @column(_("cost"))
    def cost_column(self, order: Order) -> str:
        return figure(order.cost)

    @column(_("refunded"))
    def refunded_column(self, order: Order) -> str:
        return figure(order.refunded)

    @column(_("price per 1000"))
    def price_column(self, order: Order) -> str:
        return figure(order.price_rate)

    @column(_("exchange rate"))
    def exchange_column(self, order: Order) -> str:
        return figure(order.exchange_rate)

    @column(_("expected provider charge"))
    def expected_column(self, order: Order) -> str:
        return figure(order.expected_charge)

    @column(_("provider's charge"))
    def upstream_column(self, order: Order) -> str:
        return figure(order.upstream_charge)

    @column(_("left"))
    def left_column(self, order: Order) -> str:
        return figure(left_of(order))

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        order = self.get_object(request, object_id) if object_id else None
        context = {"sections": _sections(order) if order else [], **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

    @dialog(
        Dialog(
            title=_("Check now"),
            button=_("Ask the provider"),
            permission="ask",
            icon="sync",
            text=_("Asks the provider for the order's status and applies the answer."),
            refusals=REFUSALS,
        )
    )
    def check_now(self, request: HttpRequest, form: Any, order: Order) -> Any:  # noqa: ARG002
        return _("The order is: %(status)s.") % {
            "status": following.check_now(order.pk).get_status_display()
        }

    @dialog(
        Dialog(
            title=_("Send in spite of the loss"),
            button=_("Send it"),
            permission="resolve",
            icon="send",
            form=LossForm,
            is_dangerous=True,
            text=_("The order waits because it would cost as much as it brings, or more."),
            refusals=REFUSALS,
        )
    )
    def send_at_loss(self, request: HttpRequest, form: LossForm, order: Order) -> Any:
        desk.send_at_loss(
            order_id=order.pk, reason=form.cleaned_data["reason"], actor=staff_member(request)
        )
        return _("The order waits to be sent.")

    @dialog(
        Dialog(
            title=_("Refund"),
            button=_("Refund"),
            permission="refund",
            icon="undo",
            form=RefundForm,
            is_dangerous=True,
            refusals=REFUSALS,
        )
    )
    def refund(self, request: HttpRequest, form: RefundForm, order: Order) -> Any:
        entry = approvals.refund_or_ask(
            order,
            amount=form.cleaned_data["amount"],
            reason=form.cleaned_data["reason"],
            actor=staff_member(request),
            token=form.cleaned_data["token"],
        )
        if entry is None:
            return WAITS
        return _("%(amount)s refunded.") % {"amount": figure(entry.amount)}

    @dialog(
        Dialog(
            title=_("Set counts"),
            button=_("Set"),
            permission="refund",
            icon="pin",
            form=CountsForm,
            text=_("Corrects start count and remains; no money moves."),
            refusals=REFUSALS,
        )
    )
    def set_counts(self, request: HttpRequest, form: CountsForm, order: Order) -> Any:
        desk.set_counts(
            order_id=order.pk,
            start_count=form.cleaned_data["start_count"],
            remains=form.cleaned_data["remains"],
            reason=form.cleaned_data["reason"],
            actor=staff_member(request),
        )
        return _("The counts are set.")

    @dialog(
        Dialog(
            title=_("Refill"),
            button=_("Request a refill"),
            permission="ask",
            icon="autorenew",
            refusals=REFUSALS,
        )
    )
    def refill(self, request: HttpRequest, form: Any, order: Order) -> Any:  # noqa: ARG002
        requests.request_refill(order_id=order.pk, actor=staff_member(request))
        return _("Refill requested; the provider may refuse.")

    @dialog(
        Dialog(
            title=_("Cancel order"),
            button=_("Cancel this order"),
            permission="ask",
            icon="cancel",
            text=_(
                "An order that was not sent is withdrawn and refunded; else the provider is asked."
            ),
            is_dangerous=True,
            refusals=REFUSALS,
        )
    )
    def cancel(self, request: HttpRequest, form: Any, order: Order) -> Any:  # noqa: ARG002
        asked = requests.cancel_order(order_id=order.pk, actor=staff_member(request))
        if asked is None:
            return _("The order was withdrawn before it was sent, and refunded.")
        return _("Cancel requested; the provider may refuse.")

    @dialog(
        Dialog(
            title=_("Look for it now"),
            button=_("Look now"),
            permission="resolve",
            icon="search",
            text=_("Asks the provider about the IDs in question, with a new budget of calls."),
            refusals=REFUSALS,
        )
    )
    def look_now(self, request: HttpRequest, form: Any, order: Order) -> Any:  # noqa: ARG002
        seen = reconcile.look_now(order.pk)
        if seen is None:
            return _("The order was found at the provider.")
        return VERDICTS.get(seen.verdict, seen.verdict)

    @dialog(
        Dialog(
            title=_("Found at the provider"),
            button=_("Bind to this ID"),
            permission="resolve",
            icon="link",
            form=BindForm,
            text=_("The order is in the provider's list: it goes on under the ID given there."),
            refusals=REFUSALS,
        )
    )
    def bind_unknown(self, request: HttpRequest, form: BindForm, order: Order) -> Any:
        upstream_id = form.cleaned_data["upstream_id"]
        desk.bind_unknown(
            order_id=order.pk,
            upstream_id=upstream_id,
            reason=form.cleaned_data["reason"],
            actor=staff_member(request),
        )
        return _("The order is bound to %(id)s.") % {"id": upstream_id}

    @dialog(
        Dialog(
            title=_("Refund unconfirmed order"),
            button=_("Refund in full"),
            permission="resolve",
            icon="undo",
            form=UnknownForm,
            is_dangerous=True,
            text=_("The customer gets the whole charge back; the order is not sent again."),
            refusals=REFUSALS,
        )
    )
    def refund_unknown(self, request: HttpRequest, form: UnknownForm, order: Order) -> Any:
        desk.refund_unknown(
            order_id=order.pk, reason=form.cleaned_data["reason"], actor=staff_member(request)
        )
        return _("The order is refunded in full.")

    @dialog(
        Dialog(
            title=_("Send again"),
            button=_("It is not there: send again"),
            permission="resolve",
            icon="send",
            form=UnknownForm,
            is_dangerous=True,
            text=_(
                "Only when you looked at the provider's own list and the order is not there: "
                "if it is, the customer's order will be placed twice."
            ),
            refusals=REFUSALS,
        )
    )
    def resend_unknown(self, request: HttpRequest, form: UnknownForm, order: Order) -> Any:
        desk.resend_unknown(
            order_id=order.pk, reason=form.cleaned_data["reason"], actor=staff_member(request)
        )
        return _("The order waits to be sent again.")

    @dialog(
        Dialog(
            title=_("What does this error mean?"),
            button=_("Remember"),
            permission="explain",
            icon="rule",
            form=MeaningForm,
            text=_(
                "From now on this provider's text has this meaning. "
                "The order itself stays as it is until you settle it."
            ),
            refusals=REFUSALS,
        )
    )
    def explain(self, request: HttpRequest, form: MeaningForm, order: Order) -> Any:  # noqa: ARG002
        attempt = unrecognised(order)
        text = normalise(attempt.reason)[:300] if attempt else ""
        if not text:
            raise NotPossible(_("No unrecognised answer of this order has a text."))
        ErrorRule.objects.update_or_create(
            provider_id=order.provider_id,
            text=text,
            defaults={"kind": form.cleaned_data["kind"]},
        )
        return _("The text is remembered.")

    @dialog(
        Dialog(
            title=_("Seen to"),
            button=_("Take off the list"),
            permission="resolve",
            icon="check",
            form=ReasonForm,
            text=_("Somebody looked and nothing is left to do; the reason is kept."),
            refusals=REFUSALS,
        )
    )
    def acknowledge(self, request: HttpRequest, form: ReasonForm, order: Order) -> Any:
        desk.acknowledge(
            order_id=order.pk, reason=form.cleaned_data["reason"], actor=staff_member(request)
        )
        return _("The order needs no attention any more.")


def _possible(order: Order) -> set[str]:
    """The names of the actions that make sense for the order as it is."""
    now = timezone.now()
    names = {"explain"} if unrecognised(order) else set()
    if order.dispatch == Dispatch.UNKNOWN:
        return names | {"look_now", "bind_unknown", "refund_unknown", "resend_unknown"}
    if order.attention == Attention.LOSS and order.dispatch == Dispatch.QUEUED:
        names.add("send_at_loss")
    elif order.attention:
        names.add("acknowledge")
    if order.upstream_id:
        names.add("check_now")
    if order.dispatch == Dispatch.ACCEPTED:
        names.add("set_counts")
    if left_of(order) > 0 and order.dispatch == Dispatch.ACCEPTED:
        names.add("refund")
    if not requests.refill_refusal(order, now):
        names.add("refill")
    if not requests.cancel_refusal(order, now):
        names.add("cancel")
    return names


def _sections(order: Order) -> list[dict[str, Any]]:
    """The tables under an order: timeline, attempts, money, requests, part orders."""
    made = [
        (_("Timeline"), _timeline(order)),
        (_("Attempts"), _attempts(order)),
        (_("Money"), entries_table(Entry.objects.filter(order_number=order.pk).select_related("actor"))),
        (_("Refills and cancels"), _requests(order)),
        (_("Part orders"), _children(order)),
        (_("What is known of the lost answer"), _search(order)),
    ]  # fmt: skip
    return [{"title": title, "table": table} for title, table in made if table["rows"]]


def _search(order: Order) -> dict[str, Any]:
    """The evidence about an unconfirmed order, as a table of facts and one row per candidate."""
    seen = reconcile.evidence(order)
    if seen is None:
        return {"headers": [], "rows": []}
    span = "–" if seen.low is None else f"{seen.low} … {seen.high or '?'}"
    share = "–" if seen.share is None else f"{seen.scanned} / {seen.total} ({seen.share} %)"
    balance = {None: _("can't tell"), True: _("says placed"), False: _("says not placed")}
    rows = [
        [
            _("Search"),
            " · ".join(str(each) for each in (HINDRANCES[seen.searching], seen.note) if each),
        ],
        [_("Finding"), VERDICTS.get(seen.verdict, seen.verdict)],
        [_("Reason"), REASONS.get(seen.reason, seen.reason) or "–"],
        [_("Upstream ID"), seen.found or "–"],
        [_("Sent"), seen.sent_at],
        [_("Expected provider charge"), figure(seen.expected)],
        [_("Between our IDs"), span],
        [_("IDs asked for"), share],
        [_("Calls"), f"{seen.calls} / {seen.calls_most}"],
        [_("Balance"), f"{balance[seen.balance_says_placed]} ({figure(seen.balance_spent)})"],
    ]
    rows += [
        [
            _("Candidate %(id)s") % {"id": each.upstream_id},
            f"{figure(each.charge)} · {each.raw_status}",
        ]
        for each in seen.candidates
    ]
    return {"headers": [_("fact"), _("value")], "rows": rows}


def _timeline(order: Order) -> dict[str, Any]:
    rows = [
        [
            line.event.at,
            line.title,
            ", ".join(f"{name}: {value}" for name, value in line.values.items()) or "–",
            line.event.actor or "–",
        ]
        for line in lines(order, for_staff=True)
    ]
    return {"headers": [_("when"), _("what"), _("details"), _("who")], "rows": rows}


def _attempts(order: Order) -> dict[str, Any]:
    rows = [
        [
            attempt.number,
            attempt.get_outcome_display(),
            " · ".join(part for part in (attempt.kind, attempt.reason) if part) or "–",
            attempt.http_status or "–",
            attempt.answer or "–",
            attempt.upstream_id or "–",
            attempt.claimed_at,
            attempt.finished_at or "–",
        ]
        for attempt in order.attempts.order_by("number")
    ]
    headers = [
        _("number"), _("outcome"), _("reason"), "HTTP", _("answer"), _("upstream ID"),
        _("claimed"), _("finished"),
    ]  # fmt: skip
    return {"headers": headers, "rows": rows}


def _requests(order: Order) -> dict[str, Any]:
    rows = [
        [
            each.created_at,
            each.get_kind_display(),
            each.get_state_display(),
            each.upstream_id or "–",
            each.raw_status or "–",
            each.answer or "–",
            each.requested_by or "–",
        ]
        for each in order.requests.select_related("requested_by")
    ]
    headers = [
        _("requested"), _("kind"), _("state"), _("upstream ID"), _("provider's status"),
        _("answer"), _("by"),
    ]  # fmt: skip
    return {"headers": headers, "rows": rows}


def _children(order: Order) -> dict[str, Any]:
    rows = [
        [
            format_html(
                '<a href="{}">#{}</a>',
                reverse("admin:orders_order_change", args=[child.pk]),
                child.pk,
            ),
            child.upstream_id,
            child.get_status_display(),
            child.quantity,
            "–" if child.remains is None else child.remains,
        ]
        for child in order.children.order_by("pk")[:200]
    ]
    headers = [_("order"), _("upstream ID"), _("status"), _("quantity"), _("remains")]
    return {"headers": headers, "rows": rows}


@admin.register(Request)
class RequestAdmin(ReadOnlyAdmin):
    """Refills and cancels on their way."""

    list_display = (
        "id", "order", "kind", "state_column", "provider", "upstream_id", "raw_status",
        "requested_by", "created_at",
    )  # fmt: skip
    list_filter = (
        ("kind", ChoicesDropdownFilter),
        ("state", ChoicesDropdownFilter),
        ("provider", RelatedDropdownFilter),
    )
    list_select_related = ("order", "provider", "requested_by")
    search_fields = ("=order__id", "=upstream_id")
    search_help_text = _("Search by order or the provider's ID")
    paginator = InfinitePaginator
    actions_detail = ("close",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Request]:
        return super().get_queryset(request).defer("provider__api_key")  # type: ignore[no-any-return]

    @column(
        _("state"),
        ordering="state",
        label={"unknown": "danger", "rejected": "warning", "completed": "success"},
    )
    def state_column(self, asked: Request) -> tuple[str, Any]:
        return asked.state, asked.get_state_display()

    def has_resolve_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return request.user.has_perm("orders.resolve_order")

    @dialog(
        Dialog(
            title=_("Settle request"),
            button=_("Settle"),
            permission="resolve",
            icon="gavel",
            form=CloseForm,
            text=_("For a request whose answer was lost or never comes."),
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


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    """What waits for a second person; nobody approves their own."""

    list_display = ("kind", "amount_column", "account", "order_link", "reason", "requested_by",
                    "requested_at", "state_column", "decided_by")  # fmt: skip
    list_select_related = ("account__user", "requested_by", "decided_by")
    list_filter = (("state", ChoicesDropdownFilter), ("kind", ChoicesDropdownFilter))
    fields = (("kind", "amount_column"), "account", "order_link", "reason",
              ("requested_by", "requested_at"), "state", ("decided_by", "decided_at"))  # fmt: skip
    readonly_fields = ("amount_column", "order_link")
    actions_detail = ("approve", "refuse")

    def has_decide_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        approval = self.get_object(request, obj) if isinstance(obj, str) else obj
        if approval is not None and approval.requested_by_id == request.user.pk:
            return False
        return request.user.has_perm("wallet.change_approval")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Nothing to press when it is decided, or one's own."""
        approval = self.get_object(request, str(object_id))
        if approval is None or approval.state != Approval.State.OPEN:
            return []
        if not self.has_decide_permission(request, approval):
            return []
        return super().get_actions_detail(request, object_id)

    @column(_("amount"))
    def amount_column(self, approval: Approval) -> str:
        return figure(approval.amount)

    @column(_("order"))
    def order_link(self, approval: Approval) -> Any:
        if approval.order_number is None:
            return "–"
        page = reverse("admin:orders_order_change", args=[approval.order_number])
        return format_html('<a class="underline" href="{}">#{}</a>', page, approval.order_number)

    @column(_("state"), label={"open": "warning", "approved": "success", "refused": "danger"})
    def state_column(self, approval: Approval) -> tuple[str, Any]:
        return approval.state, approval.get_state_display()

    @dialog(
        Dialog(
            title=_("Approve"),
            button=_("Approve and pay"),
            permission="decide",
            icon="check",
            is_dangerous=True,
            refusals={**REFUSALS, NotYours: lambda _exc: _NOT_YOURS},
        )
    )
    def approve(self, request: HttpRequest, form: Any, approval: Approval) -> Any:  # noqa: ARG002
        entry = approvals.approve(approval.pk, staff_member(request))
        return _("%(amount)s paid.") % {"amount": figure(entry.amount)}

    @dialog(
        Dialog(
            title=_("Refuse"),
            button=_("Refuse"),
            permission="decide",
            icon="block",
            refusals={NotYours: lambda _exc: _NOT_YOURS},
        )
    )
    def refuse(self, request: HttpRequest, form: Any, approval: Approval) -> Any:  # noqa: ARG002
        refuse(approval.pk, staff_member(request))
        return _("Refused; nothing was paid.")


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
class SendingProviderAdmin(ProviderAdmin):
    """Providers, with whether orders may be sent to them."""

    change_form_outer_after_template = "admin/sections.html"
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

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        provider = self.get_object(request, object_id) if object_id else None
        sections = provider_sections(provider) if provider else []
        context = {"sections": sections, **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

    def has_pause_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return request.user.has_perm("orders.pause_gate")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Pause or resume, whichever there is to do."""
        gate = Gate.objects.filter(provider_id=object_id).first()
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
