"""Forms of the service list: what to do with many services, and a file to read."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
)

from catalog.changing import OPERATIONS
from catalog.models import Category, Service

MOST_BYTES = 20_000_000

_TITLES: dict[str, Any] = {
    "markup": _("set markup %"),
    "fixed": _("set fixed markup"),
    "margin": _("set minimum margin %"),
    "step": _("set rounding step"),
    "pin": _("pin the price"),
    "raise": _("pin the price, moved by %"),
    "round": _("pin the price, rounded up to"),
    "unpin": _("unpin the price"),
    "sell": _("sell"),
    "stop": _("stop selling"),
    "move": _("move to a category"),
}
# Without a number these empty the field, or pin the price of today.
_MAY_BE_EMPTY = ("markup", "fixed", "margin", "step", "pin")
_NEED_NUMBER = ("raise", "round")


class PlanForm(forms.Form):
    """What to do with the chosen services."""

    operation = forms.ChoiceField(
        label=_("What to do"), choices=list(_TITLES.items()), widget=UnfoldAdminSelectWidget
    )
    number = forms.DecimalField(
        label=_("Number"),
        required=False,
        max_digits=15,
        decimal_places=7,
        help_text=_("Percent or amount. Empty: empties the field; to pin: the price of today."),
        widget=UnfoldAdminDecimalFieldWidget(attrs={"inputmode": "decimal", "step": "any"}),
    )
    category = forms.ModelChoiceField(
        label=_("Category"),
        queryset=Category.objects.all(),
        required=False,
        help_text=_("Only to move; the service then stays there, whatever a sync finds."),
        widget=UnfoldAdminSelectWidget,
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        operation, number = cleaned.get("operation"), cleaned.get("number")
        if operation in _NEED_NUMBER and number is None:
            self.add_error("number", _("Give a number."))
        if operation == "round" and number is not None and number <= 0:
            self.add_error("number", _("A step is above 0."))
        if operation == "move" and cleaned.get("category") is None:
            self.add_error("category", _("Choose the category."))
        return cleaned

    def title(self) -> str:
        """The plan's name."""
        number, category = self.cleaned_data["number"], self.cleaned_data["category"]
        what = str(_TITLES[self.cleaned_data["operation"]])
        if self.cleaned_data["operation"] == "move":
            return f"{what}: {category}"
        return what if number is None else f"{what}: {number.normalize():f}"

    def edits(self, services: Iterable[Service]) -> Iterator[tuple[Service, dict[str, Any]]]:
        """Each service with its new values."""
        operation = OPERATIONS[self.cleaned_data["operation"]]
        number: Decimal | None = self.cleaned_data["number"]
        if self.cleaned_data["operation"] == "move":
            number = Decimal(self.cleaned_data["category"].pk)
        return ((service, operation(service, number)) for service in services)


class ImportForm(forms.Form):
    """A price list as a file."""

    file = forms.FileField(
        label=_("CSV or XLSX file"),
        help_text=_(
            "With the columns of the export, at most 20 MB; empty cells empty the field, and columns "
            "that are left out leave it alone."
        ),
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".csv,text/csv,.xlsx"}),
    )

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > MOST_BYTES:
            raise forms.ValidationError(_("The file is larger than 20 MB."))
        return file
