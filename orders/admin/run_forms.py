"""What is asked before something is done to many orders."""

import uuid
from decimal import Decimal
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from orders.admin.forms import ENDS, MOST_COUNTED, RefundCode, SettleCode, amount_field, coded
from orders.run_models import BulkRun
from orders.states import Status


class RunForm(forms.Form):
    """Which orders: the chosen rows, or all that the list's filters show."""

    # A form sent twice is one run.
    token = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)
    # Django's own name for it: the list then gives the action what is meant.
    select_across = forms.ChoiceField(
        label=_("Which orders"), widget=UnfoldAdminRadioSelectWidget, initial="0"
    )

    def __init__(self, *args: Any, scopes: list[tuple[str, Any]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["select_across"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type checker
        field.choices = scopes

    def parameters(self) -> dict[str, Any]:
        """What the action needs besides the orders, as the run keeps it."""
        return {}

    def reason(self) -> str:
        return ""


class ReasonedRunForm(RunForm):
    note = forms.CharField(
        label=_("Reason"), max_length=250, widget=UnfoldAdminTextareaWidget(attrs={"rows": 2})
    )

    def reason(self) -> str:
        return coded(self.cleaned_data.get("code", ""), self.cleaned_data["note"])


class RefundRunForm(ReasonedRunForm):
    what = forms.ChoiceField(
        label=_("How much"),
        choices=[
            ("left", _("all that is left of each charge")),
            ("undelivered", _("what was not delivered")),
            ("amount", _("the amount below, of each order")),
        ],
        widget=UnfoldAdminSelectWidget,
    )
    amount = amount_field()
    code = forms.ChoiceField(
        label=_("Why"), choices=RefundCode.choices, widget=UnfoldAdminSelectWidget
    )
    field_order = ["select_across", "what", "amount", "code", "note"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("what") == "amount" and not cleaned.get("amount"):
            self.add_error("amount", _("Give the amount."))
        return cleaned

    def parameters(self) -> dict[str, Any]:
        amount: Decimal | None = self.cleaned_data["amount"]
        if self.cleaned_data["what"] != "amount" or amount is None:
            return {"what": self.cleaned_data["what"]}
        return {"what": "amount", "amount": f"{amount:f}"}


class CountsRunForm(ReasonedRunForm):
    start_count = forms.IntegerField(
        label=_("Start count"),
        required=False,
        min_value=-MOST_COUNTED,
        max_value=MOST_COUNTED,
        help_text=_("Empty: stays as it is."),
        widget=UnfoldAdminTextInputWidget,
    )
    remains = forms.IntegerField(
        label=_("Remains"),
        required=False,
        min_value=0,
        help_text=_("Empty: stays as it is."),
        widget=UnfoldAdminTextInputWidget,
    )
    field_order = ["select_across", "start_count", "remains", "note"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("start_count") is None and cleaned.get("remains") is None:
            raise forms.ValidationError(_("Give at least one of the two."))
        return cleaned

    def parameters(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in ("start_count", "remains")}


class SettleRunForm(ReasonedRunForm):
    end = forms.ChoiceField(
        label=_("How did they end?"), choices=ENDS, widget=UnfoldAdminSelectWidget
    )
    remains = forms.IntegerField(
        label=_("Remains"),
        required=False,
        min_value=1,
        help_text=_("Of each, for a partial one; what they cost is given back."),
        widget=UnfoldAdminTextInputWidget,
    )
    code = forms.ChoiceField(
        label=_("How it is known"), choices=SettleCode.choices, widget=UnfoldAdminSelectWidget
    )
    field_order = ["select_across", "end", "remains", "code", "note"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("end") == Status.PARTIAL and cleaned.get("remains") is None:
            self.add_error("remains", _("A partial order needs what remains."))
        return cleaned

    def parameters(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in ("end", "remains")}


FORMS: dict[str, type[RunForm]] = {
    BulkRun.Action.CHECK: RunForm,
    BulkRun.Action.REFILL: RunForm,
    BulkRun.Action.CANCEL: RunForm,
    BulkRun.Action.REFUND: RefundRunForm,
    BulkRun.Action.COUNTS: CountsRunForm,
    BulkRun.Action.SETTLE: SettleRunForm,
}
