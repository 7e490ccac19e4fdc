"""The order types of API v2: which fields each one sends, and how many units it is charged for.

`type` in a price list describes the form, not the thing sold: panels were seen to sell website
traffic as "Mentions Hashtag". The table is what nine panels and clients agree on.
"""

import datetime as dt
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from upstream.values import text_of

_DATES = ("%d/%m/%Y", "%Y-%m-%d")
_MAX_TEXT = 2000
_DIGITS = re.compile(r"\d{1,12}", re.ASCII)
_DELAYS = tuple((minutes, minutes) for minutes in ("0", "5", "10", "15", "30", "60", "90"))
_DEVICES = (
    ("1", "Desktop"),
    ("2", "Mobile (Android)"),
    ("3", "Mobile (iOS)"),
    ("4", "Mixed (mobile)"),
    ("5", "Mixed (mobile & desktop)"),
)
_TRAFFIC = (("1", "Google keyword"), ("2", "Custom referrer"), ("3", "Blank referrer"))


class FieldKind(enum.Enum):
    """What may be written into a field."""

    TEXT = "text"
    LINK = "link"
    INTEGER = "integer"
    LINES = "lines"
    CHOICE = "choice"
    DATE = "date"


class Units(enum.Enum):
    """What a type's rate is multiplied with, in thousandths; FLAT is the rate once."""

    QUANTITY = "quantity"
    FLAT = "flat"
    COMMENTS = "comments"
    USERNAMES = "usernames"
    PER_POST = "per_post"


class InvalidFields(ValueError):
    """What was filled in cannot be sent; `errors` maps each field to a sentence in English."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = dict(errors)


@dataclass(frozen=True)
class Field:
    """One parameter of `add`; `choices` are (value, label), `least` bounds an integer."""

    name: str
    kind: FieldKind
    label: str
    required: bool = True
    choices: tuple[tuple[str, str], ...] = ()
    least: int = 1

    def clean(self, text: str) -> str:
        """Return the value to send, "" when it is blank; ValueError says what is wrong."""
        value = _CLEANERS[self.kind](self, text)
        if self.required and not value:
            raise ValueError("This field is required.")
        return value


def _clean_text(_: Field, text: str) -> str:
    value = text.strip()
    if len(value) > _MAX_TEXT:
        raise ValueError(f"At most {_MAX_TEXT} characters.")
    if not value.isprintable():
        raise ValueError("Line breaks and control characters are not allowed.")
    return value


def _clean_link(field: Field, text: str) -> str:
    value = _clean_text(field, text)
    if len(value.split()) > 1:
        raise ValueError("A link has no blanks.")
    return value


def _clean_integer(field: Field, text: str) -> str:
    value = text.strip()
    if not value:
        return ""
    if not _DIGITS.fullmatch(value):
        raise ValueError("Enter a whole number.")
    if int(value) < field.least:
        raise ValueError(f"Enter at least {field.least}.")
    return str(int(value))


def _clean_lines(_: Field, text: str) -> str:
    # Blank lines are dropped as panels do when they count; "\n" is what all of them split at.
    lines = (text_of(line, _MAX_TEXT) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _clean_choice(field: Field, text: str) -> str:
    value = text.strip()
    if value and value not in {choice for choice, _ in field.choices}:
        raise ValueError("Choose one of the list.")
    return value


def _clean_date(_: Field, text: str) -> str:
    value = text.strip()
    if not value:
        return ""
    for form in _DATES:
        try:
            # Providers read d/m/Y; a browser's date field sends the other form.
            day = dt.datetime.strptime(value, form).replace(tzinfo=dt.UTC)
        except ValueError:
            continue
        return f"{day:%d/%m/%Y}"
    raise ValueError("Enter a date as day/month/year.")


_CLEANERS = {
    FieldKind.TEXT: _clean_text,
    FieldKind.LINK: _clean_link,
    FieldKind.INTEGER: _clean_integer,
    FieldKind.LINES: _clean_lines,
    FieldKind.CHOICE: _clean_choice,
    FieldKind.DATE: _clean_date,
}


@dataclass(frozen=True)
class OrderType:
    """One type: `key` is its folded name, `name` the spelling of the price lists."""

    key: str
    name: str
    fields: tuple[Field, ...]
    units_by: Units

    def clean(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return exactly the parameters to send; raises InvalidFields naming every wrong one.

        Lines are trimmed and joined by a line feed, blank optional fields are left out, and so
        is everything that is no field of this type.
        """
        cleaned: dict[str, str] = {}
        errors: dict[str, str] = {}
        for field in self.fields:
            try:
                value = field.clean(values.get(field.name, ""))
            except ValueError as error:
                errors[field.name] = str(error)
                continue
            if value:
                cleaned[field.name] = value
        errors = errors or _conflicts(cleaned)
        if errors:
            raise InvalidFields(errors)
        return cleaned

    def units(self, values: Mapping[str, str]) -> int:
        """Return how many units are charged, each at rate / 1000; for a FLAT type 1, at the rate.

        Drip-feed is quantity x runs. A subscription is its worst case, max x (posts + old
        posts): the child orders are charged one by one as posts appear. Raises InvalidFields.
        """
        return self.units_of(self.clean(values))

    def units_of(self, sent: Mapping[str, str]) -> int:
        """The same for parameters that `clean` has returned."""
        if self.units_by is Units.FLAT:
            return 1
        if self.units_by in {Units.COMMENTS, Units.USERNAMES}:
            return len(sent[self.units_by.value].split("\n"))
        if self.units_by is Units.PER_POST:
            return int(sent["max"]) * (int(sent["posts"]) + int(sent.get("old_posts", "0")))
        return int(sent["quantity"]) * int(sent.get("runs", "1"))


def _conflicts(sent: Mapping[str, str]) -> dict[str, str]:
    """Find fields that are right alone and wrong together."""
    errors = {}
    if ("runs" in sent) != ("interval" in sent):
        missing = "interval" if "runs" in sent else "runs"
        errors[missing] = "Runs and interval go together."
    if "min" in sent and "max" in sent and int(sent["min"]) > int(sent["max"]):
        errors["min"] = "The minimum is above the maximum."
    if "posts" in sent and int(sent["posts"]) + int(sent.get("old_posts", "0")) == 0:
        errors["posts"] = "Enter new or old posts."
    if sent.get("type_of_traffic") == "1" and "google_keyword" not in sent:
        errors["google_keyword"] = "This field is required."
    if sent.get("type_of_traffic") == "2" and "referring_url" not in sent:
        errors["referring_url"] = "This field is required."
    return errors


def _optional(field: Field) -> Field:
    return replace(field, required=False)


_LINK = Field("link", FieldKind.LINK, "Link")
_QUANTITY = Field("quantity", FieldKind.INTEGER, "Quantity")
_COMMENTS = Field("comments", FieldKind.LINES, "Comments, one per line")
_USERNAMES = Field("usernames", FieldKind.LINES, "Usernames, one per line")
_USERNAME = Field("username", FieldKind.TEXT, "Username")
_RUNS = _optional(Field("runs", FieldKind.INTEGER, "Runs"))
_INTERVAL = _optional(Field("interval", FieldKind.INTEGER, "Interval in minutes"))
_SUBSCRIPTION = (
    _USERNAME,
    Field("min", FieldKind.INTEGER, "Minimum per post"),
    Field("max", FieldKind.INTEGER, "Maximum per post"),
    # Left out it means "unlimited" at the provider, and nobody can reserve money for that.
    Field("posts", FieldKind.INTEGER, "New posts", least=0),
    _optional(Field("old_posts", FieldKind.INTEGER, "Old posts", least=0)),
    Field("delay", FieldKind.CHOICE, "Delay in minutes", choices=_DELAYS),
    _optional(Field("expiry", FieldKind.DATE, "Expiry")),
)
_WEB_TRAFFIC = (
    _LINK,
    _QUANTITY,
    _RUNS,
    _INTERVAL,
    Field("country", FieldKind.TEXT, "Country"),
    Field("device", FieldKind.CHOICE, "Device", choices=_DEVICES),
    Field("type_of_traffic", FieldKind.CHOICE, "Type of traffic", choices=_TRAFFIC),
    _optional(Field("google_keyword", FieldKind.TEXT, "Google keyword")),
    _optional(Field("referring_url", FieldKind.LINK, "Referring URL")),
)


def _fold(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text.casefold())


def _type(name: str, *fields: Field, units: Units = Units.QUANTITY) -> OrderType:
    return OrderType(_fold(name), name, fields, units)


ORDER_TYPES = (
    _type("Default", _LINK, _QUANTITY, _RUNS, _INTERVAL),
    _type("Package", _LINK, units=Units.FLAT),
    _type("SEO", _LINK, _QUANTITY, Field("keywords", FieldKind.LINES, "Keywords, one per line")),
    _type("Custom Comments", _LINK, _COMMENTS, units=Units.COMMENTS),
    _type("Custom Comments Package", _LINK, _COMMENTS, units=Units.FLAT),
    _type("Mentions", _LINK, _QUANTITY, _USERNAMES),
    _type(
        "Mentions with Hashtags",
        _LINK,
        _QUANTITY,
        _USERNAMES,
        Field("hashtags", FieldKind.LINES, "Hashtags, one per line"),
    ),
    _type("Mentions Custom List", _LINK, _USERNAMES, units=Units.USERNAMES),
    _type("Mentions Hashtag", _LINK, _QUANTITY, Field("hashtag", FieldKind.TEXT, "Hashtag")),
    _type("Mentions User Followers", _LINK, _QUANTITY, _USERNAME),
    _type("Mentions Media Likers", _LINK, _QUANTITY, Field("media", FieldKind.LINK, "Media URL")),
    _type("Comment Likes", _LINK, _QUANTITY, _USERNAME),
    _type("Comment Replies", _LINK, _USERNAME, _COMMENTS, units=Units.COMMENTS),
    _type("Poll", _LINK, _QUANTITY, Field("answer_number", FieldKind.INTEGER, "Answer number")),
    _type(
        "Invites from Groups",
        _LINK,
        _QUANTITY,
        Field("groups", FieldKind.LINES, "Groups, one per line"),
    ),
    _type("Subscriptions", *_SUBSCRIPTION, units=Units.PER_POST),
    _type("Web Traffic", *_WEB_TRAFFIC),
)
_BY_KEY = {found.key: found for found in ORDER_TYPES} | {"customcomment": ORDER_TYPES[3]}


def find_type(text: str) -> OrderType | None:
    """Find a type by any spelling seen: case, blanks, "_" and "-" do not matter.

    None for "", "Special" and whatever else is unknown: such a service must not be sold.
    """
    return _BY_KEY.get(_fold(text))
