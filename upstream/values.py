"""JSON and its scalars as panels really send them, read without ever making a float."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

MAX_TEXT = 500
MAX_ID = 64

_NUMBER = re.compile(r"[+-]?\d{1,40}(\.\d{0,40})?(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
# What nearly every price list sends, and nothing that a reader below would look at twice.
_PLAIN_NUMBER = re.compile(r"\d{1,20}(?:\.\d{1,20})?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+", re.ASCII)
_ID = re.compile(r"[^\s\x00-\x1f\x7f<>\"'\ud800-\udfff]{1,64}")
_AMOUNT = re.compile(r"-?\d[\d.,]*", re.ASCII)
# Unicode's categories Cc, Zl and Zp; and Cs.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HALF_SURROGATE = re.compile("[\ud800-\udfff]")
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"", "0", "false", "no", "off"}


class Numeral(str):
    """A JSON number kept in the digits it was sent in.

    An id of any length stays exact, a price never passes through a float, and 1e999999 costs
    nothing, because nothing is computed before a reader below has looked at it.
    """

    __slots__ = ()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def document(body: bytes) -> Any:
    """Read a body as JSON whose numbers are Numeral; ValueError when it is not JSON.

    A byte order mark is dropped and broken UTF-8 is replaced, as both were seen at real panels.
    """
    text = body.decode("utf-8-sig", errors="replace")
    try:
        return json.loads(text, parse_int=Numeral, parse_float=Numeral, parse_constant=_no_constant)
    except RecursionError:
        pass
    raise ValueError("nested too deeply")


def text_of(value: Any, limit: int = MAX_TEXT) -> str:
    """Return one trimmed line of at most `limit` characters; empty for what is not text.

    Line breaks and other control characters become a blank, half surrogates (which no database
    stores) are dropped, HTML entities stay as they are.
    """
    if not isinstance(value, str):
        return ""
    if len(value) <= limit and value.isprintable() and "  " not in value:
        # No control character and no half surrogate is printable, nor is a blank but the plain one.
        return value.strip(" ")
    cleaned = _HALF_SURROGATE.sub("", _CONTROL.sub(" ", value[: 4 * limit]))
    return " ".join(cleaned.split())[:limit].rstrip()


def lines_of(value: Any, limit: int = 5000) -> str:
    """Return a longer text with its line breaks, each line as `text_of` leaves it."""
    if not isinstance(value, str):
        return ""
    lines = (text_of(line, limit) for line in value[: 4 * limit].splitlines())
    return "\n".join(lines).strip()[:limit].rstrip()


def id_of(value: Any) -> str:
    """Return an id as text, or "" when this is no id: empty, 0, a flag, a fraction, too long."""
    if not isinstance(value, str):
        return ""
    if isinstance(value, Numeral) and not (value.isascii() and value.isdigit()):
        return ""
    found = value.strip()
    if found.isdigit() and found.isascii() and len(found) <= MAX_ID:
        return found if found.strip("0") else ""
    if not _ID.fullmatch(found) or not found.strip("0"):
        return ""
    return "" if found.casefold() in {"false", "true", "null", "none"} else found


def ids_of(value: Any) -> tuple[str, ...]:
    """Read a list of ids; what is no id is left out, a single id is a list of one."""
    items = value if isinstance(value, list) else [value]
    return tuple(found for found in map(id_of, items) if found)


def int_of(value: Any) -> int | None:
    """Read an integer, also as text with blanks or commas between groups; else None."""
    if not isinstance(value, str):
        return None
    if len(value) <= 18 and value.isdigit() and value.isascii():
        return int(value)
    digits = "".join(value[:100].split())
    if _GROUPED.fullmatch(digits):
        digits = digits.replace(",", "")
    if _INTEGER.fullmatch(digits):
        return int(digits)
    number = decimal_of(digits)
    if number is None or abs(number) >= 10**18 or number != number.to_integral_value():
        return None
    return int(number)


def decimal_of(value: Any) -> Decimal | None:
    """Read a plain number exactly; None for anything else, and for an absurd exponent.

    A comma is not read: "1,234" is two different rates to two readers.
    """
    if not isinstance(value, str):
        return None
    if _PLAIN_NUMBER.fullmatch(value):
        return Decimal(value)
    digits = value[:100].strip()
    if not _NUMBER.fullmatch(digits):
        return None
    number = Decimal(digits)
    # 1e400 is JSON; writing its zeros out in a page or a column is what must not happen.
    return number if not number or -40 <= number.adjusted() <= 24 else None


def money_of(value: Any) -> Decimal | None:
    """Read an amount that may carry a currency sign and thousands separators."""
    plain = decimal_of(value)
    if plain is not None or not isinstance(value, str):
        return plain
    joined = re.sub(r"[\s'’_]", "", value[:100])
    found = _AMOUNT.findall(joined)
    if len(found) != 1:
        return None
    sign = "-" if "-" in joined else ""
    return decimal_of(sign + _with_point(found[0].lstrip("-").rstrip(".,")))


def _with_point(amount: str) -> str:
    """Leave one decimal point: the last separator, unless it divides groups of thousands."""
    comma, point = amount.rfind(","), amount.rfind(".")
    if comma >= 0 and point >= 0:
        group, decimal = (",", ".") if point > comma else (".", ",")
        return amount.replace(group, "").replace(decimal, ".")
    if re.fullmatch(r"[1-9]\d{0,2}(,\d{3})+|\d{1,3}(\.\d{3}){2,}", amount):
        return amount.replace(",", "").replace(".", "")
    return amount.replace(",", ".")


def flag_of(value: Any) -> bool | None:
    """Read a flag: bool, 0/1, "0"/"1", "true"/"false" ("false" is truthy in Python); else None."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return None
    folded = value.strip().casefold()
    if folded in _TRUE:
        return True
    return False if folded in _FALSE else None


def first_of(row: Mapping[str, Any], *names: str) -> Any:
    """Return the first of these fields that is present and not null."""
    for name in names:
        if row.get(name) is not None:
            return row[name]
    return None
