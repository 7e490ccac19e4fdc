"""Reading a call of API v2: a form, a JSON object or the address itself, as one flat form."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import HttpRequest, QueryDict, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.views.decorators.debug import sensitive_variables

from orders.api_texts import BAD_REQUEST, Refused

MAX_IDS = 100
MAX_BODY = 1024 * 1024
_LONGEST_ID = 18
_LISTS_OF_IDS = {"orders", "refills"}


@sensitive_variables()
def read_fields(request: HttpRequest) -> dict[str, str]:
    """Every field of the call as text. Raises Refused.

    What the body says wins over the address. While API_ALLOW_GET is off the address is not read,
    and a key in it is refused, because addresses end in logs.
    """
    address = _address(request)
    if not settings.API_ALLOW_GET and (request.method != "POST" or "key" in address):
        raise Refused(f"{BAD_REQUEST}: use POST and send the key in the body")
    fields = address if settings.API_ALLOW_GET else {}
    if request.method == "POST":
        fields |= _body(request)
    _check(fields)
    return fields


@sensitive_variables()
def _address(request: HttpRequest) -> dict[str, str]:
    try:
        return _flat(request.GET)
    except SuspiciousOperation:  # too many fields
        raise Refused(BAD_REQUEST) from None


@sensitive_variables()
def _flat(form: QueryDict) -> dict[str, str]:
    return {name: str(value) for name, value in form.items()}


@sensitive_variables()
def _body(request: HttpRequest) -> dict[str, str]:
    length = str(request.META.get("CONTENT_LENGTH") or "0")
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise Refused(f"{BAD_REQUEST}: too long")
    try:
        if request.content_type == "multipart/form-data":
            return _flat(request.POST)
        # Whatever the client calls it: seen at real ones, both under all sorts of names and encodings.
        if request.body.lstrip().startswith(b"{"):
            return _json(request.body)
        return _flat(QueryDict(request.body, encoding="utf-8"))
    except (BadRequest, SuspiciousOperation, MultiPartParserError, UnreadablePostError):
        raise Refused(BAD_REQUEST) from None
    except (LookupError, UnicodeError):  # of a charset that Python has no text for
        raise Refused(BAD_REQUEST) from None


@sensitive_variables()
def _json(body: bytes) -> dict[str, str]:
    try:
        # Numbers stay as they were written: no price or ID passes through a float.
        read = json.loads(body, parse_float=str, parse_int=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Refused(BAD_REQUEST) from None
    return {name: _text(name, value) for name, value in read.items() if value is not None}


def _refuse(_constant: str) -> Any:
    raise ValueError("not a number")


@sensitive_variables()
def _text(name: str, value: Any) -> str:
    """A scalar as a form would carry it; a list becomes IDs by commas, or lines."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ("," if name in _LISTS_OF_IDS else "\n").join(value)
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str):
        return value
    raise Refused(BAD_REQUEST)


@sensitive_variables()
def _check(fields: Mapping[str, str]) -> None:
    """Refuse what no database keeps: NUL, and halves of characters."""
    text = "".join([*fields, *fields.values()])
    if "\x00" in text:
        raise Refused(BAD_REQUEST)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused(BAD_REQUEST) from None


def ids_of(text: str, *, of: str) -> list[str]:
    """The IDs of a list by commas, each once, as they were written. Raises Refused above 100."""
    ids = [each.strip() for each in text.split(",")]
    found = list(dict.fromkeys(each for each in ids if each))
    if len(found) > MAX_IDS:
        raise Refused(f"Maximum {MAX_IDS} {of}")
    if not found:
        raise Refused(BAD_REQUEST)
    return found


def number_of(text: str) -> int | None:
    """The primary key that an ID means; None when it can't be one."""
    text = text.strip()
    is_number = text.isascii() and text.isdigit() and len(text) <= _LONGEST_ID
    return int(text) if is_number else None


def numbers_of(ids: Iterable[str]) -> dict[str, int]:
    """The primary keys of those IDs that can be one."""
    return {each: found for each in ids if (found := number_of(each)) is not None}
