"""Builds the fields of an order from the declaration of its type; what is allowed is judged elsewhere."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext, gettext_lazy, gettext_noop
from django.utils.translation import gettext as _

from catalog.models import Service
from orders.models import Order
from upstream.order_types import Field, FieldKind, OrderType, find_type
from wallet.templatetags.money import number

# The labels and choices that order types declare in English, for makemessages.
_DECLARED = (
    gettext_noop("Link"), gettext_noop("Quantity"), gettext_noop("Comments, one per line"),
    gettext_noop("Usernames, one per line"), gettext_noop("Username"), gettext_noop("Runs"),
    gettext_noop("Interval in minutes"), gettext_noop("Minimum per post"),
    gettext_noop("Maximum per post"), gettext_noop("New posts"), gettext_noop("Old posts"),
    gettext_noop("Delay in minutes"), gettext_noop("Expiry"), gettext_noop("Country"),
    gettext_noop("Device"), gettext_noop("Type of traffic"), gettext_noop("Google keyword"),
    gettext_noop("Referring URL"), gettext_noop("Keywords, one per line"),
    gettext_noop("Hashtags, one per line"), gettext_noop("Hashtag"), gettext_noop("Media URL"),
    gettext_noop("Answer number"), gettext_noop("Groups, one per line"), gettext_noop("Desktop"),
    gettext_noop("Mobile (Android)"), gettext_noop("Mobile (iOS)"), gettext_noop("Mixed (mobile)"),
    gettext_noop("Mixed (mobile & desktop)"), gettext_noop("Custom referrer"),
    gettext_noop("Blank referrer"),
)  # fmt: skip

_HINTS = {
    "link": gettext_lazy("The full address of the page. It must be public."),
    "username": gettext_lazy("The account's name, without @."),
    "media": gettext_lazy("The address of the post whose likers are mentioned."),
    "answer_number": gettext_lazy("Which answer of the poll, counted from 1."),
    "runs": gettext_lazy("To deliver in portions: how often the quantity is delivered."),
    "interval": gettext_lazy("Minutes between two portions."),
    "posts": gettext_lazy("How many future posts are served; 0 for old posts only."),
    "old_posts": gettext_lazy("How many of the latest posts are served too."),
    "expiry": gettext_lazy("Stops on this day even if posts are left."),
    "country": gettext_lazy("A country code such as US, or its name."),
}
DRIP_FEED = ("runs", "interval")
_LONGEST_LINK = 1000


class OrderForm(forms.Form):
    """The fields of one service's order type.

    Only the shape is made here: `orders.quotes.quote` says what is wrong with the values, for this
    form as for every other way to order, and `show_errors` puts its sentences beside the fields.
    """

    use_required_attribute = True

    def __init__(
        self, service: Service, order_type: OrderType, data: Mapping[str, Any] | None = None,
        initial: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(data, initial=dict(initial or {}))
        self.order_type = order_type
        for declared in fields_of(service, order_type):
            self.fields[declared.name] = _field(declared, service)

    @property
    def plain_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.fields if name not in DRIP_FEED]

    @property
    def drip_fields(self) -> list[forms.BoundField]:
        """Fields that most orders leave empty; the page folds them away."""
        return [self[name] for name in DRIP_FEED if name in self.fields]

    @property
    def wants_drip(self) -> bool:
        return any(bound.value() or bound.errors for bound in self.drip_fields)

    def show_errors(self, errors: Mapping[str, str]) -> None:
        """Put each sentence beside its field, or above the form when the field isn't shown."""
        self.is_valid()
        for name, sentence in errors.items():
            self.add_error(name if name in self.fields else None, sentence)


def fields_of(service: Service, order_type: OrderType) -> list[Field]:
    """What a customer fills in for this service."""
    return [
        declared
        for declared in order_type.fields
        if service.dripfeed or declared.name not in DRIP_FEED
    ]


def values_of(service: Service, order_type: OrderType, typed: Mapping[str, Any]) -> dict[str, str]:
    """What was typed into these fields, for `quote` and `place_order`."""
    return {field.name: str(typed.get(field.name, "")) for field in fields_of(service, order_type)}


def order_type_of(service: Service) -> OrderType | None:
    return find_type(service.order_type)


def _hint(declared: Field, service: Service) -> str:
    limits = {"low": number(service.min_quantity), "high": number(service.max_quantity)}
    if declared.name in {"quantity", "min", "max"}:
        return _("From %(low)s to %(high)s.") % limits
    if declared.kind is FieldKind.LINES and declared.name in {"comments", "usernames"}:
        return _("One per line; empty lines don't count.")
    return str(_HINTS.get(declared.name, ""))


def _field(declared: Field, service: Service) -> forms.Field:
    options: dict[str, Any] = {
        "label": gettext(declared.label),
        "help_text": _hint(declared, service),
        "required": False,
    }
    attrs: dict[str, Any] = {"autocomplete": "off"}
    if declared.required:
        attrs["required"] = True
    match declared.kind:
        case FieldKind.INTEGER:
            # Not a number field: those swallow what they don't understand, and scrolling changes them.
            attrs["inputmode"] = "numeric"
            return forms.CharField(widget=forms.TextInput(attrs), **options)
        case FieldKind.LINES:
            attrs["rows"] = 6
            return forms.CharField(widget=forms.Textarea(attrs), **options)
        case FieldKind.CHOICE:
            choices = [("", _("Choose…"))] + [
                (value, gettext(text)) for value, text in declared.choices
            ]
            return forms.CharField(widget=forms.Select(attrs, choices), **options)
        case FieldKind.DATE:
            widget = forms.DateInput({**attrs, "type": "date"}, format="%Y-%m-%d")
            return forms.CharField(widget=widget, **options)
        case FieldKind.LINK:
            attrs |= {"inputmode": "url", "spellcheck": "false", "maxlength": _LONGEST_LINK}
    return forms.CharField(widget=forms.TextInput(attrs), **options)


def parameter_lines(order: Order) -> list[tuple[str, str]]:
    """What was filled in besides link and quantity, with the labels of the form."""
    order_type = find_type(order.order_type)
    if order_type is None:
        return []
    return [
        (gettext(declared.label), order.parameters[declared.name])
        for declared in order_type.fields
        if declared.name not in {"link", "quantity"}
        and order.parameters.get(declared.name, order.link) != order.link
    ]
