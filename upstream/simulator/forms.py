"""What `add` asks of each order type, and what an order of that type is charged for.

The simulator keeps its own table, apart from the client's: two accounts of one protocol
that were written separately check each other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from upstream.simulator.services import Service, money

_MAX_DIGITS = 12
_LISTS = {"comments", "usernames", "hashtags", "groups", "keywords"}
_CODES = {"device": range(1, 6), "type_of_traffic": range(1, 4)}


class Refusal(Exception):
    """The provider says no; the message is its error text, and nothing has changed."""


@dataclass(frozen=True)
class OrderForm:
    """Required fields of a type, and the field that says how many units are bought.

    `counted` names a number (quantity), a list of lines, or nothing: a flat price.
    """

    required: tuple[str, ...]
    counted: str = "quantity"


FORMS: Mapping[str, OrderForm] = {
    "default": OrderForm(("link", "quantity")),
    "package": OrderForm(("link",), counted=""),
    "seo": OrderForm(("link", "quantity", "keywords")),
    "custom comments": OrderForm(("link", "comments"), counted="comments"),
    "custom comments package": OrderForm(("link", "comments"), counted=""),
    "mentions": OrderForm(("link", "quantity", "usernames")),
    "mentions with hashtags": OrderForm(("link", "quantity", "usernames", "hashtags")),
    "mentions custom list": OrderForm(("link", "usernames"), counted="usernames"),
    "mentions hashtag": OrderForm(("link", "quantity", "hashtag")),
    "mentions user followers": OrderForm(("link", "quantity", "username")),
    "mentions media likers": OrderForm(("link", "quantity", "media")),
    "comment likes": OrderForm(("link", "quantity", "username")),
    "comment replies": OrderForm(("link", "username", "comments"), counted="comments"),
    "poll": OrderForm(("link", "quantity", "answer_number")),
    "invites from groups": OrderForm(("link", "quantity", "groups")),
    "subscriptions": OrderForm(("username", "min", "max", "delay"), counted="max"),
    "web traffic": OrderForm(("link", "quantity", "country", "device", "type_of_traffic")),
}
_DRIPPING = {"default", "web traffic"}


@dataclass(frozen=True)
class Demand:
    """An accepted order form: what is delivered per run, how often, and what it is charged for."""

    link: str
    quantity: int
    price: Decimal
    runs: int = 0
    interval_minutes: int = 0


@dataclass(frozen=True)
class Subscription:
    """An accepted subscription: quantities per post, and how many posts.

    `posts` None means without an end; 0 means old posts only.
    """

    username: str
    min: int
    max: int
    delay_minutes: int
    posts: int | None
    old_posts: int
    expires: datetime | None


def fold(type_name: str) -> str:
    """The type as the table spells it: small letters, single blanks."""
    return re.sub(r"[\s_]+", " ", type_name).strip().lower()


def lines(text: str) -> list[str]:
    """The lines of a list field, trimmed, without blank ones."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def form_of(service: Service) -> OrderForm:
    """The form of the service's type; a type nobody knows is ordered like Default."""
    return FORMS.get(fold(service.type), FORMS["default"])


def read_order(service: Service, fields: Mapping[str, str]) -> Demand:
    """Check an order of any type but Subscriptions; raises Refusal with the customary text."""
    form = form_of(service)
    for name in form.required:
        _check(name, fields.get(name, ""))
    _check_traffic(service, fields)
    runs, interval = _drip(service, fields)
    quantity = _units(service, form, fields, runs)
    units = quantity * (runs or 1)
    price = service.rate * units / 1000 if form.counted else service.rate
    return Demand(fields["link"].strip(), quantity, money(price), runs, interval)


def read_subscription(service: Service, fields: Mapping[str, str]) -> Subscription:
    """Check a subscription; raises Refusal with the customary text."""
    for name in FORMS["subscriptions"].required:
        _check(name, fields.get(name, ""))
    low, high = _number("min", fields), _number("max", fields)
    if low > high:
        raise Refusal("Min cannot be higher than Max")
    _check_limits(service, low)
    _check_limits(service, high)
    return Subscription(
        username=fields["username"].strip(),
        min=low,
        max=high,
        delay_minutes=_number("delay", fields),
        posts=_number("posts", fields) if fields.get("posts", "").strip() else None,
        old_posts=_number("old_posts", fields) if fields.get("old_posts", "").strip() else 0,
        expires=_expiry(fields.get("expiry", "").strip()),
    )


def _check(name: str, value: str) -> None:
    if not (lines(value) if name in _LISTS else value.strip()):
        raise Refusal(f"Incorrect {name}")


def _number(name: str, fields: Mapping[str, str]) -> int:
    text = fields.get(name, "").strip()
    if not (text.isascii() and text.isdigit()) or len(text) > _MAX_DIGITS:
        raise Refusal(f"Incorrect {name}")
    return int(text)


def _check_limits(service: Service, quantity: int) -> None:
    if quantity < service.min:
        raise Refusal(f"Quantity less than minimal {service.min}")
    # Some panels write max 0 for "no limit".
    if service.max and quantity > service.max:
        raise Refusal(f"Quantity more than maximum {service.max}")


def _units(service: Service, form: OrderForm, fields: Mapping[str, str], runs: int) -> int:
    if not form.counted:
        return 1
    if form.counted != "quantity":
        units = len(lines(fields[form.counted]))
        _check_limits(service, units)
        return units
    units = _number("quantity", fields)
    if units == 0:
        raise Refusal("Incorrect quantity")
    _check_limits(service, units)
    # Quantity is per run, and all runs together must keep below the maximum.
    _check_limits(service, units * (runs or 1))
    return units


def _drip(service: Service, fields: Mapping[str, str]) -> tuple[int, int]:
    given = [name for name in ("runs", "interval") if fields.get(name, "").strip()]
    if not given or fold(service.type) not in _DRIPPING:
        return 0, 0
    if service.dripfeed is False:
        raise Refusal("Dripfeed is not supported by this service")
    runs, interval = _number("runs", fields), _number("interval", fields)
    if runs == 0:
        raise Refusal("Incorrect runs")
    return runs, interval


def _check_traffic(service: Service, fields: Mapping[str, str]) -> None:
    if fold(service.type) != "web traffic":
        return
    for name, codes in _CODES.items():
        if _number(name, fields) not in codes:
            raise Refusal(f"Incorrect {name}")
    # Type 1 comes from a search for the keyword, type 2 from the page named.
    needed = {1: "google_keyword", 2: "referring_url"}.get(_number("type_of_traffic", fields))
    if needed:
        _check(needed, fields.get(needed, ""))


def _expiry(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.strptime(text, "%d/%m/%Y").replace(tzinfo=UTC)
    except ValueError:
        raise Refusal("Incorrect expiry") from None
