"""What the dialogs about an order ask, and the facts they show above it."""

from decimal import Decimal
from typing import Any

from django import forms
from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from accounts.staff import DialogForm, ReasonForm, figure
from catalog.admin import KINDS
from catalog.pricing import site_cost
from orders import desk
from orders.models import Attempt, Order
from orders.states import Status
from upstream.errors import Kind
from wallet.money import LIMIT, STEP


class RefundCode(TextChoices):
    """Why staff give money back; kept in front of the note."""

    NOT_DELIVERED = "not delivered", _("not delivered")
    DROPPED = "dropped", _("delivered and lost again")
    SLOW = "too slow", _("too slow")
    WRONG = "wrong order", _("wrong order")
    GOODWILL = "goodwill", _("goodwill")


class SettleCode(TextChoices):
    """How staff know that an order has ended; kept in front of the note."""

    PROVIDER = "provider says", _("the provider told us")
    SEEN = "seen", _("seen on the link")
    SILENT = "provider silent", _("the provider says nothing any more")
    CUSTOMER = "customer says", _("the customer told us")


ENDS = [(each.value, each.label) for each in (Status.COMPLETED, Status.PARTIAL, Status.CANCELED)]


def coded(code: str, note: str) -> str:
    """A reason as it is kept: its code, and what was written."""
    return f"{code}: {note}"[:300] if code else note


def amount_field(help_text: Any = "") -> forms.DecimalField:
    """An amount above nothing, or none."""
    return forms.DecimalField(
        label=_("Amount"),
        required=False,
        min_value=STEP,
        max_value=LIMIT,
        max_digits=15,
        decimal_places=5,
        help_text=help_text,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"inputmode": "decimal", "step": "any"}),
    )


class RefundForm(ReasonForm):
    code = forms.ChoiceField(
        label=_("Why"), choices=RefundCode.choices, widget=UnfoldAdminSelectWidget
    )
    is_undelivered = forms.BooleanField(
        label=_("What was not delivered"), required=False, widget=UnfoldBooleanSwitchWidget
    )
    amount = amount_field(_("Empty: all that is left."))
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
        if cleaned.get("reason"):
            cleaned["reason"] = coded(cleaned.get("code", ""), cleaned["reason"])
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


# What a counter's column holds.
MOST_COUNTED = 2**63 - 1


class CountsForm(ReasonForm):
    start_count = forms.IntegerField(
        label=_("Start count"),
        required=False,
        min_value=-MOST_COUNTED,
        max_value=MOST_COUNTED,
        widget=UnfoldAdminTextInputWidget,
    )
    remains = forms.IntegerField(
        label=_("Remains"), required=False, min_value=0, widget=UnfoldAdminTextInputWidget
    )
    field_order = ["start_count", "remains", "reason"]

    def prepare(self) -> None:
        order: Order = self.target
        self.initial = {"start_count": order.start_count, "remains": order.remains, **self.initial}


class SettleForm(ReasonForm):
    end = forms.ChoiceField(
        label=_("How did it end?"), choices=ENDS, widget=UnfoldAdminSelectWidget
    )
    remains = forms.IntegerField(
        label=_("Remains"),
        required=False,
        min_value=1,
        help_text=_("For a partial order; what it cost is given back."),
        widget=UnfoldAdminTextInputWidget,
    )
    code = forms.ChoiceField(
        label=_("How it is known"), choices=SettleCode.choices, widget=UnfoldAdminSelectWidget
    )
    field_order = ["end", "remains", "code", "reason"]

    def prepare(self) -> None:
        self.initial = {"remains": self.target.remains or None, **self.initial}

    def facts(self) -> list[tuple[Any, Any]]:
        order: Order = self.target
        return [
            (_("Status"), order.get_status_display()),
            (_("Provider's status"), order.raw_status),
            (_("Quantity"), order.quantity),
            (_("Remains"), order.remains),
            (_("Charge"), figure(order.charge)),
            (_("Left"), figure(left_of(order))),
        ]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("reason"):
            cleaned["reason"] = coded(cleaned.get("code", ""), cleaned["reason"])
        return cleaned


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
