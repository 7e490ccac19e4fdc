"""What an order would be: its parameters, units, charge and cost, or why it can't be placed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from catalog import pricing
from catalog.models import Service
from catalog.platforms import evident_platform, wrong_host
from catalog.rates import rate_for
from catalog.rules import NO_RULES, Rules
from orders.errors import InvalidOrder, NotOnSale
from upstream.order_types import InvalidFields, OrderType, Units, find_type
from wallet.money import LIMIT
from wallet.templatetags.money import number

# More units than this fit no price and hardly the column.
_MAX_UNITS = 10**15
_MAX_LINK = 1000
# An index of PostgreSQL keeps no row of more than 2,704 bytes.
_MAX_LINK_BYTES = 2500
# A provider's charge is kept as fine as MoneyField holds it.
_COST_STEP = Decimal("0.000001")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_WEB_ADDRESS = re.compile(r"https?://[^/\s]", re.IGNORECASE)
# Besides web addresses: what music and messenger apps copy as a link.
_APP_SCHEMES = {"spotify", "tg"}
_LINE_FIELDS = {Units.COMMENTS: "comments", Units.USERNAMES: "usernames"}

# What upstream.order_types says in English, N standing for its numbers.
_SENTENCES: dict[str, str | Promise] = {
    "This field is required.": gettext_lazy("This field is required."),
    "At most N characters.": gettext_lazy("At most %(number)s characters."),
    "Line breaks and control characters are not allowed.": gettext_lazy(
        "Line breaks and control characters are not allowed."
    ),
    "A link has no blanks.": gettext_lazy("A link has no blanks."),
    "Enter a whole number.": gettext_lazy("Enter a whole number."),
    "Enter at least N.": gettext_lazy("Enter at least %(number)s."),
    "Choose one of the list.": gettext_lazy("Choose one of the list."),
    "Enter a date as day/month/year.": gettext_lazy("Enter a date as day/month/year."),
    "Runs and interval go together.": gettext_lazy("Runs and interval go together."),
    "The minimum is above the maximum.": gettext_lazy("The minimum is above the maximum."),
    "Enter new or old posts.": gettext_lazy("Enter new or old posts."),
}


@dataclass(frozen=True)
class Filled:
    """A form that fits its order type; `units` is what is charged for, 1 for a package."""

    order_type: OrderType
    parameters: dict[str, str]
    units: int

    @property
    def link(self) -> str:
        """What the order is for: the link, or the account whose posts are watched."""
        return self.parameters.get("link") or self.parameters.get("username", "")


@dataclass(frozen=True)
class Quote:
    """An order as it would be placed now.

    `charge` and `cost` are in the site's currency, `expected_charge` in the provider's.
    `parameters` are exactly what `add` is sent besides key, action and service.
    """

    service: Service
    units: int
    rate: pricing.CustomerRate
    charge: Decimal
    cost: Decimal
    expected_charge: Decimal
    parameters: dict[str, str]
    link: str
    order_type: str


def read_form(service: Service, values: Mapping[str, str]) -> Filled:
    """Clean what was filled in; asks nothing of the database.

    Raises InvalidOrder with a sentence per field, or NotOnSale for a type nobody knows.
    """
    order_type = find_type(service.order_type)
    if order_type is None:
        raise NotOnSale("the type of this service is not known")
    try:
        parameters = order_type.clean(values)
        units = order_type.units_of(parameters)
    except InvalidFields as exc:
        raise InvalidOrder({name: _translated(text) for name, text in exc.errors.items()}) from None
    filled = Filled(order_type=order_type, parameters=parameters, units=units)
    errors = _bad_links(filled)
    if errors:
        raise InvalidOrder(errors)
    return filled


def quote(
    service: Service,
    values: Mapping[str, str],
    customer: User | int | None = None,
    rules: Rules = NO_RULES,
) -> Quote:
    """Reckon an order of this service on the server; nothing of the price comes from `values`.

    Without a customer (or the number of one) by the list prices; `rules` are what the operator
    refuses, from `catalog.rules.read_rules`. Raises InvalidOrder with a sentence per field, or
    NotOnSale, also when the order would be sold at a loss.
    """
    if not is_on_sale(service):
        raise NotOnSale("this service is not sold now")
    return quote_filled(service, read_form(service, values), customer, rules)


def quote_filled(
    service: Service, filled: Filled, customer: User | int | None, rules: Rules
) -> Quote:
    """As `quote`, of a form that `read_form` has read for the same type."""
    if not is_on_sale(service):
        raise NotOnSale("this service is not sold now")
    errors = _out_of_range(service, filled) or _refused(service, filled, rules)
    if errors:
        raise InvalidOrder(errors)
    flat = filled.order_type.units_by is Units.FLAT
    rate = rate_of(service, customer)
    cost_rate = pricing.site_cost(service.newest_cost_rate, service.provider.exchange_rate)
    if not rate.is_below_floor and pricing.is_loss(
        cost=cost_rate, price=rate.rate, tolerance=service.provider.loss_tolerance
    ):
        raise NotOnSale("this service would be sold at a loss")
    found = Quote(
        service=service,
        units=filled.units,
        rate=rate,
        charge=pricing.charge(rate.rate, filled.units, flat=flat),
        cost=pricing.charge(cost_rate, filled.units, flat=flat),
        expected_charge=_expected(service.newest_cost_rate, filled.units, flat=flat),
        parameters=filled.parameters,
        link=filled.link,
        order_type=filled.order_type.key,
    )
    if max(found.charge, found.cost, found.expected_charge) > LIMIT:
        raise InvalidOrder({_size_field(filled.order_type): _("This order is too large.")})
    return found


def _refused(service: Service, filled: Filled, rules: Rules) -> dict[str, str]:
    """A link that evidently leads elsewhere than the service, or what the operator refuses."""
    link = filled.parameters.get("link", "")
    platform = evident_platform(service.title, service.category.title)
    if platform and (host := wrong_host(platform, link)):
        sentence = _("This service is for %(platform)s, and the link leads to %(host)s.")
        return {"link": sentence % {"platform": platform.name, "host": host}}
    found = rules.refusal(filled.parameters)
    return {found[0]: found[1]} if found else {}


def rate_of(service: Service, customer: User | int | None) -> pricing.CustomerRate:
    """What 1,000 units cost this customer, or anybody when there is none."""
    if customer is None:
        return pricing.CustomerRate(service.price_rate, "list", False)
    return rate_for(customer, service)


def is_on_sale(service: Service) -> bool:
    """Whether a customer can order it now: the same as `ServiceQuerySet.on_sale`, for one row."""
    return (
        service.is_sold
        and service.is_present
        and not service.is_held
        and not service.refusal
        and service.provider.is_enabled
        and service.category.is_visible
    )


def _expected(cost_rate: Decimal, units: int, *, flat: bool) -> Decimal:
    exact = cost_rate if flat else cost_rate * units / 1000
    return exact.quantize(_COST_STEP, rounding=ROUND_UP)


def _translated(sentence: str) -> str:
    numbers = re.findall(r"\d+", sentence)
    known = _SENTENCES.get(re.sub(r"\d+", "N", sentence))
    if known is None:
        return sentence
    return str(known) % {"number": number(int(numbers[0]))} if numbers else str(known)


def _bad_links(filled: Filled) -> dict[str, str]:
    """A link is a web address or a plain name; anything else with a scheme could run somewhere."""
    errors = {}
    for name in ("link", "media", "referring_url", "username"):
        value = filled.parameters.get(name, "")
        if len(value) > _MAX_LINK:
            errors[name] = _("At most %(number)s characters.") % {"number": number(_MAX_LINK)}
        elif len(value.encode()) > _MAX_LINK_BYTES:
            # Of four bytes each, as they may be.
            most = number(_MAX_LINK_BYTES // 4)
            errors[name] = _("At most %(number)s characters.") % {"number": most}
        elif name != "username" and not _is_safe(value):
            errors[name] = _("Enter a web address or a user name.")
    return errors


def _is_safe(link: str) -> bool:
    scheme = _SCHEME.match(link)
    if scheme is None:
        return True
    if scheme[1].lower() in {"http", "https"}:
        return bool(_WEB_ADDRESS.match(link))
    if scheme[1].lower() in _APP_SCHEMES:
        return True
    # "example.com:8080/x" looks like a scheme and is a host with its port.
    return bool(re.match(r"[^:/]+\.[^:/]+:\d+(/|$)", link))


def _out_of_range(service: Service, filled: Filled) -> dict[str, str]:
    low, high = service.min_quantity, service.max_quantity
    units_by, sent = filled.order_type.units_by, filled.parameters
    errors = {}
    if filled.units > _MAX_UNITS:
        return {_size_field(filled.order_type): _("This order is too large.")}
    if units_by is Units.PER_POST:
        errors = _out_of_range_per_post(low, high, sent)
    elif units_by in _LINE_FIELDS and not low <= filled.units <= high:
        errors[_LINE_FIELDS[units_by]] = _("Enter %(min)s to %(max)s lines.") % {
            "min": number(low),
            "max": number(high),
        }
    elif units_by is Units.QUANTITY:
        errors = _out_of_range_quantity(low, high, filled)
    if "runs" in sent:
        errors |= _bad_dripfeed(service, sent)
    return errors


def _out_of_range_quantity(low: int, high: int, filled: Filled) -> dict[str, str]:
    # Panels were seen to apply the minimum to each run and the maximum to all runs together.
    quantity = int(filled.parameters["quantity"])
    if quantity < low or quantity > high:
        text = _("Enter a quantity from %(min)s to %(max)s.")
    elif filled.units > high:
        text = _("Quantity times runs may be at most %(max)s.")
    else:
        return {}
    return {"quantity": text % {"min": number(low), "max": number(high)}}


def _out_of_range_per_post(low: int, high: int, sent: Mapping[str, str]) -> dict[str, str]:
    errors = {}
    if int(sent["min"]) < low:
        errors["min"] = _("Enter at least %(number)s.") % {"number": number(low)}
    if int(sent["max"]) > high:
        errors["max"] = _("Enter at most %(number)s.") % {"number": number(high)}
    return errors


def _bad_dripfeed(service: Service, sent: Mapping[str, str]) -> dict[str, str]:
    if not service.dripfeed:
        return {"runs": _("This service has no drip-feed.")}
    if int(sent["runs"]) < 2:
        return {"runs": _("Enter at least %(number)s.") % {"number": 2}}
    return {}


def _size_field(order_type: OrderType) -> str:
    if order_type.units_by is Units.PER_POST:
        return "posts"
    return _LINE_FIELDS.get(order_type.units_by, "quantity")
