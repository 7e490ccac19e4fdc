"""Tolerant readers for every answer of API v2, with the deviations seen at real panels.

A reader takes the JSON that `values.document` returned. It raises OutcomeUnknown when the answer
is of no known shape, and Rejected when it is a refusal; on no JSON does it raise anything else.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from upstream.answers import (
    Balance,
    Catalogue,
    ItemError,
    OrderStatus,
    RefillState,
    RefillStatus,
    ServiceRow,
    State,
    UnreadableRow,
)
from upstream.errors import Kind, OutcomeUnknown, Rejected
from upstream.values import (
    Numeral,
    decimal_of,
    document,
    first_of,
    flag_of,
    id_of,
    ids_of,
    int_of,
    lines_of,
    money_of,
    text_of,
)
from upstream.verdicts import NO_RULES, kind_of

_FAILED_WORDS = {"error", "fail", "failed", "failure", "false"}
_ORDER_FIELDS = ("charge", "start_count", "start_counter", "remains", "orders", "runs", "posts")
_ID_FIELDS = ("order", "order_id", "orderId", "id")
_REFILL_FIELDS = ("refill", "refill_id", "id")
_MESSAGE_FIELDS = ("message", "msg", "error_message", "text")

_STATES = {
    State.PENDING: ("pending", "awaiting", "queued", "held"),
    State.PROCESSING: ("processing",),
    State.IN_PROGRESS: ("inprogress", "inprogess", "running"),
    State.COMPLETED: ("completed", "complete"),
    State.PARTIAL: ("partial", "partiallycompleted"),
    State.CANCELED: ("canceled", "cancelled", "canelled"),
    State.FAILED: ("fail", "failed", "error", "rejected"),
    State.REFUNDED: ("refunded", "refund", "refunds"),
    State.ACTIVE: ("active",),
    State.PAUSED: ("paused",),
    State.EXPIRED: ("expired",),
}
_PLAIN_STATES = frozenset(State) - {State.FAILED, State.UNKNOWN}
# A row without these says nothing that `error_text` could find.
_COMPLAINTS = frozenset({"error", "errors", "success", *_MESSAGE_FIELDS})
_MAX_WORD = 40
_STATE_OF = {word: state for state, words in _STATES.items() for word in words}
# Sent as bare numbers by one panel (jbsmmpanel), known from a client that reads them.
_STATE_OF_CODE = {
    "0": State.PENDING,
    "1": State.PROCESSING,
    "2": State.COMPLETED,
    "3": State.PARTIAL,
    "4": State.CANCELED,
    "5": State.REFUNDED,
}
_REFILL_STATES = {
    RefillState.PENDING: ("pending", "awaiting", "queued"),
    RefillState.IN_PROGRESS: ("inprogress", "inprogess", "processing", "running"),
    RefillState.COMPLETED: ("completed", "complete"),
    RefillState.REJECTED: ("rejected",),
    RefillState.CANCELED: ("canceled", "cancelled", "canelled"),
    RefillState.PARTIAL: ("partial", "partiallycompleted"),
    RefillState.REFUNDED: ("refunded", "refund", "refunds"),
    RefillState.ERROR: ("error", "fail", "failed"),
}
_REFILL_STATE_OF = {word: state for state, words in _REFILL_STATES.items() for word in words}


def error_text(answer: Any, *, http_failed: bool = False) -> str:
    """Return what an answer says went wrong, or "" when it is no refusal.

    Read are {"error": text, object or list}, {"errors": [...]}, a list of one such object, and
    {"message" or "msg": text} when "status" is error or fail, "success" is false, or the HTTP
    status says so. An order whose own status is "Error" is an order, not a refusal.
    """
    if isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], dict):
        row = answer[0]
        return "" if any(name in row for name in (*_ID_FIELDS, "refill", "service")) else _said(row)
    if not isinstance(answer, dict):
        return ""
    said = _said({name: answer.get(name) for name in ("error", "errors")})
    if said:
        return said
    flagged = http_failed or answer.get("error") is True
    if flagged or (is_failed(answer) and not any(name in answer for name in _ORDER_FIELDS)):
        return _said(first_of(answer, *_MESSAGE_FIELDS))
    return ""


def is_failed(answer: Mapping[str, Any]) -> bool:
    """Tell whether the answer itself says that the request failed."""
    status = answer.get("status")
    if isinstance(status, str) and status.strip().casefold() in _FAILED_WORDS:
        return True
    return status is False or flag_of(answer.get("success")) is False


def _said(value: Any, depth: int = 3) -> str:
    """Find the sentence in an error of any shape; "", 0 and false are no error."""
    if isinstance(value, str):
        return "" if flag_of(value) is False else text_of(value)
    if not depth or not isinstance(value, dict | list):
        return ""
    inner = _inner_errors(value) if isinstance(value, dict) else value
    return next((said for said in (_said(item, depth - 1) for item in inner) if said), "")


def _inner_errors(row: Mapping[str, Any]) -> list[Any]:
    named = [row[name] for name in ("error", "errors", *_MESSAGE_FIELDS) if name in row]
    return named or list(row.values())


def _rejected(text: str, rules: Mapping[str, Kind]) -> Rejected:
    return Rejected(kind_of(text, rules), text)


def placed_id(answer: Any) -> str:
    """Return the order's id in an answer to `add`, or "" when the answer is no success.

    Seen beside "order": "order_id", "orderId", "id" and data.order. An id of 0 or "", an object
    or a flag is no success; neither is an id beside "status": "error".
    """
    return "" if _says_failed(answer) else claimed_order(answer)


def claimed_order(answer: Any) -> str:
    """Return the order's id that an answer names, even beside an error."""
    return _named_id(answer, _ID_FIELDS)


def refill_id(answer: Any) -> str:
    """Return the refill's id in an answer to `refill`, or "" (one panel always answers 1)."""
    return "" if _says_failed(answer) else claimed_refill(answer)


def claimed_refill(answer: Any) -> str:
    """Return the refill's id that an answer names, even beside an error."""
    return _named_id(answer, _REFILL_FIELDS)


def _says_failed(answer: Any) -> bool:
    return isinstance(answer, dict) and is_failed(answer)


def _named_id(answer: Any, names: tuple[str, ...]) -> str:
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, dict):
        return ""
    found = first_of(answer, *names)
    if found is None and isinstance(answer.get("data"), dict):
        found = first_of(answer["data"], *names)
    return id_of(found)


def catalogue(body: bytes, rules: Mapping[str, Kind] = NO_RULES) -> Catalogue:
    """Read the body of `services`; a row without an id is reported, the others are kept.

    Raises OutcomeUnknown when it is no price list, Rejected when it is an error.
    """
    try:
        answer = document(body)
    except ValueError:
        answer = None
    if answer is None:
        raise OutcomeUnknown("not JSON")
    return service_rows(answer, rules)


def service_rows(answer: Any, rules: Mapping[str, Kind] = NO_RULES) -> Catalogue:
    """Read a price list: a list, one under "data" or "services", or an object keyed by id."""
    text = error_text(answer)
    if text:
        raise _rejected(text, rules)
    return read_all(listed(answer))


# A row's id ("" when it has none), the key that it stood under, and the row itself.
Listed = tuple[str, str, Any]


def listed(answer: Any) -> list[Listed]:
    """The rows of a price list, unread; raises OutcomeUnknown when it is none."""
    return [(_service_id(key, row), key, row) for key, row in _keyed(answer)]


# Every field that `_service_row` reads beside the id: those that nearly every row has, and others.
_USUAL_FIELDS = ("name", "type", "category", "rate", "min", "max", "refill", "cancel", "dripfeed")
_OTHER_FIELDS = ("description", "desc")
_usual = itemgetter(*_USUAL_FIELDS)


def contents(rows: Sequence[Listed]) -> bytes:
    """What a price list says: the same bytes for another order of its services, other spacing,
    and other values of what is not read. Raises OutcomeUnknown when it is nested too deeply.
    """
    said: list[tuple[Any, ...]] = [
        (service, *_fields(row)) if service else (service, key, row) for service, key, row in rows
    ]
    # The first row of an id counts, so rows of the same id stay in their order.
    said.sort(key=itemgetter(0))
    try:
        return json.dumps(said).encode()
    except RecursionError:
        pass
    raise OutcomeUnknown("nested too deeply")


def _fields(row: Mapping[str, Any]) -> tuple[Any, ...]:
    try:
        usual = _usual(row)
    except KeyError:
        usual = tuple(map(row.get, _USUAL_FIELDS))
    return *usual, *map(row.get, _OTHER_FIELDS)


# What stands between two rows, and anything that might be taken for it.
_BETWEEN = re.compile(rb"\}\s*,\s*\{")


def row_texts(body: bytes) -> list[bytes]:
    """The texts of the rows of a price list, without their outer braces; none for another shape.

    When there are as many as the list has rows, each is the text of one row: there is nothing else
    in the body that looks like the place between two rows, not in a name either.
    """
    text = body.strip()
    if not (text.startswith(b"[{") and text.endswith(b"}]")):
        return []
    texts = text[2:-2].split(b"},{")
    places = sum(1 for _ in _BETWEEN.finditer(text))
    return texts if places == len(texts) - 1 else []


def read_all(rows: Sequence[Listed]) -> Catalogue:
    """Read the rows of a price list; one without an id is reported, the others are kept."""
    return Catalogue(
        rows=tuple(_service_row(service, row) for service, _, row in rows if service),
        unreadable=tuple(
            UnreadableRow(position, id_of(key), _why_unreadable(row))
            for position, (service, key, row) in enumerate(rows)
            if not service
        ),
    )


# What nearly every list sends, and `id_of` would leave as it is.
_PLAIN_ID = re.compile("[1-9][0-9]{0,19}")


def _keyed(answer: Any) -> list[tuple[str, Any]]:
    if isinstance(answer, dict):
        inner = first_of(answer, "data", "services")
        # SmartPanel says an empty list in words: {"status": "success", "data": "Empty Data"}.
        if isinstance(inner, str) and inner.strip().casefold() in {"", "empty data"}:
            return []
        answer = answer if inner is None else inner
    if isinstance(answer, list):
        return [("", row) for row in answer]
    if isinstance(answer, dict) and all(isinstance(row, dict) for row in answer.values()):
        return list(answer.items())
    raise OutcomeUnknown("not a list of services")


def _service_id(key: str, row: Any) -> str:
    if not isinstance(row, dict):
        return ""
    found = row.get("service")
    if isinstance(found, str) and _PLAIN_ID.fullmatch(found):
        return str(found)
    return id_of(first_of(row, "service", "id")) or id_of(key)


def _why_unreadable(row: Any) -> str:
    if not isinstance(row, dict):
        return "not an object"
    return error_text(row) or "no service id"


def _service_row(service: str, row: Mapping[str, Any]) -> ServiceRow:
    # By position: this is made many thousand times, and names would cost a tenth of the reading.
    read = row.get
    description = read("description")
    if description is None:
        description = read("desc")
    return ServiceRow(
        service,
        text_of(read("name")),
        text_of(read("type")),
        text_of(read("category")),
        decimal_of(read("rate")),
        int_of(read("min")),
        int_of(read("max")),
        flag_of(read("refill")) is True,
        flag_of(read("cancel")) is True,
        flag_of(read("dripfeed")),
        "" if description is None else lines_of(description),
    )


def _folded(value: Any) -> str:
    return re.sub(r"[\W_]+", "", text_of(value).casefold())


def state_of(value: Any) -> State:
    """Fold an order's status over case, blanks, "_" and "-"; UNKNOWN when it is new to us."""
    if isinstance(value, Numeral):
        return _STATE_OF_CODE.get(value, State.UNKNOWN)
    if isinstance(value, str) and len(value) <= _MAX_WORD:
        return _state_of_word(str(value))
    return _STATE_OF.get(_folded(value), State.UNKNOWN)


@lru_cache(maxsize=256)
def _state_of_word(word: str) -> State:
    """Remembered: a hundred answers hold a handful of words."""
    return _STATE_OF.get(_folded(word), State.UNKNOWN)


def order_status(answer: Any, order: str) -> OrderStatus:
    """Read the status of one order, also when it comes in a list, keyed by id or under "data".

    Raises OutcomeUnknown when the answer is about no order, or about another one.
    """
    row = _only_row(answer, order)
    if row is None:
        raise OutcomeUnknown("not an order's status")
    named = id_of(row.get("order"))
    if named and named != order:
        raise OutcomeUnknown("status of another order")
    return _order_status(row)


def _only_row(answer: Any, order: str) -> dict[str, Any] | None:
    if _is_order(answer):
        return dict(answer)
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    elif isinstance(answer, dict):
        answer = first_of(answer, order, "data")
    return dict(answer) if _is_order(answer) else None


def _is_order(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    if _COMPLAINTS.isdisjoint(row) and state_of(row.get("status")) in _PLAIN_STATES:
        return True  # what follows is for the odd ones
    if not text_of(row.get("status")) or error_text(row):
        return False
    if state_of(row["status"]) not in {State.FAILED, State.UNKNOWN}:
        return True
    # {"status": "error"} alone is a failed request: settling on it would refund a running order.
    return any(name in row for name in _ORDER_FIELDS)


def _order_status(row: Mapping[str, Any]) -> OrderStatus:
    return OrderStatus(
        state=state_of(row["status"]),
        raw_status=text_of(row["status"], 100),
        charge=money_of(row.get("charge")),
        start_count=int_of(first_of(row, "start_count", "start_counter")),
        remains=int_of(row.get("remains")),
        currency=text_of(row.get("currency"), 16),
        runs=int_of(row.get("runs")),
        posts=int_of(row.get("posts")),
        expiry=text_of(row.get("expiry"), 32),
        orders=ids_of(row.get("orders")),
        old_orders=ids_of(row.get("old_orders")),
    )


def order_statuses(
    answer: Any, asked: Sequence[str], rules: Mapping[str, Kind] = NO_RULES
) -> dict[str, OrderStatus | ItemError]:
    """Read the status of many orders; every asked id has an entry, whatever was left out."""
    items = _by_id(answer, asked, _ID_FIELDS)
    if not items and len(asked) == 1 and _is_order(answer):
        items = {asked[0]: answer}
    return {
        order: _order_status(items[order])
        if _is_order(items.get(order))
        else _item_error(items, order, rules)
        for order in asked
    }


def _by_id(answer: Any, asked: Sequence[str], names: tuple[str, ...]) -> dict[str, Any]:
    """Sort the parts of an answer by id: a keyed object or a list of objects that name theirs."""
    rows = answer
    if isinstance(answer, dict) and not any(key in answer for key in asked):
        rows = first_of(answer, "data", "orders", "refills", "result")
    items: dict[str, Any] = {}
    wanted = set(asked)
    for key, row in _pairs(rows, names):
        if key in wanted:
            items.setdefault(key, row)
    return items


def _pairs(rows: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(rows, dict):
        yield from ((key.strip(), row) for key, row in rows.items())
    elif isinstance(rows, list):
        yield from ((id_of(first_of(row, *names)), row) for row in rows if isinstance(row, dict))


def _item_error(
    items: Mapping[str, Any], asked: str, rules: Mapping[str, Kind], field: str = ""
) -> ItemError:
    """Say why an id has no result: its error as object, bare string or list, or its absence."""
    if items.get(asked) is None:
        return ItemError("not in the answer", Kind.UNRECOGNISED, missing=True)
    item = items[asked]
    text = error_text(item) or _said(item if isinstance(item, str | list) else None)
    if not text and field and isinstance(item, dict) and isinstance(item.get(field), dict | str):
        text = error_text(item[field]) or _said(item[field])
    return ItemError(text, kind_of(text, rules)) if text else _UNREADABLE


_UNREADABLE = ItemError("unreadable", Kind.UNRECOGNISED)


def refill_ids(
    answer: Any, asked: Sequence[str], rules: Mapping[str, Kind] = NO_RULES
) -> dict[str, str | ItemError]:
    """Read what became of each refill request: the refill's id, or why there is none.

    One panel's items carry "status" in place of "refill"; its errors are found there too.
    """
    items = _by_id(answer, asked, ("order", "order_id"))
    return {order: _refill_or_error(items, order, rules) for order in asked}


def _refill_or_error(
    items: Mapping[str, Any], order: str, rules: Mapping[str, Kind]
) -> str | ItemError:
    item = items.get(order)
    if isinstance(item, dict) and not error_text(item):
        found = id_of(item.get("refill"))
        # A sentence in place of the id is an error text, and an id has no blanks.
        if found:
            return found
        return _item_error(items, order, rules, "refill" if "refill" in item else "status")
    return (
        id_of(item)
        if isinstance(item, Numeral) and id_of(item)
        else _item_error(items, order, rules)
    )


def refill_status(answer: Any, rules: Mapping[str, Kind] = NO_RULES) -> RefillStatus:
    """Read the status of one refill; an unknown id was seen as {"status": {"error": text}}."""
    row = answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
    status = row.get("status") if isinstance(row, dict) else None
    text = error_text(row) or error_text(status)
    if text:
        raise _rejected(text, rules)
    if not text_of(status):
        raise OutcomeUnknown("not a refill's status")
    return _refill_status(status)


def _refill_status(status: Any) -> RefillStatus:
    state = _REFILL_STATE_OF.get(_folded(status), RefillState.UNKNOWN)
    return RefillStatus(state, text_of(status, 100))


def refill_statuses(
    answer: Any, asked: Sequence[str], rules: Mapping[str, Kind] = NO_RULES
) -> dict[str, RefillStatus | ItemError]:
    """Read the status of many refills; every asked id has an entry."""
    items = _by_id(answer, asked, _REFILL_FIELDS)
    return {refill: _refill_status_or_error(items, refill, rules) for refill in asked}


def _refill_status_or_error(
    items: Mapping[str, Any], refill: str, rules: Mapping[str, Kind]
) -> RefillStatus | ItemError:
    item = items.get(refill)
    if isinstance(item, str) and _folded(item) in _REFILL_STATE_OF:
        return _refill_status(item)
    if isinstance(item, dict) and not error_text(item) and text_of(item.get("status")):
        return _refill_status(item["status"])
    return _item_error(items, refill, rules, "status")


def cancels(
    answer: Any, asked: Sequence[str], rules: Mapping[str, Kind] = NO_RULES
) -> dict[str, ItemError | None]:
    """Read what became of each cancel request; None means accepted, not canceled yet.

    Failures stand inside the list with HTTP 200. Also seen: {"canceled": [ids]}, and for a
    request about one order {"ok": "true"}, {"success": text} or {"cancel": id}.
    """
    if isinstance(answer, dict) and isinstance(answer.get("canceled"), list):
        done = set(ids_of(answer["canceled"]))
        return {order: None if order in done else _item_error({}, order, rules) for order in asked}
    if len(asked) == 1 and _is_accepted(answer):
        return {asked[0]: None}
    items = _by_id(answer, asked, ("order", "order_id"))
    return {order: _cancel_error(items, order, rules) for order in asked}


def _is_accepted(answer: Any) -> bool:
    if not isinstance(answer, dict) or is_failed(answer) or "order" in answer:
        return False
    said = first_of(answer, "ok", "success", "cancel")
    return said is True or (isinstance(said, str) and flag_of(said) is not False)


def _cancel_error(
    items: Mapping[str, Any], order: str, rules: Mapping[str, Kind]
) -> ItemError | None:
    item = items.get(order)
    if isinstance(item, dict) and not error_text(item) and not is_failed(item):
        said = item.get("cancel")
        if said is True or id_of(said):
            return None
    if isinstance(item, Numeral) and id_of(item):
        return None
    return _item_error(items, order, rules, "cancel")


def balance(answer: Any) -> Balance:
    """Read our balance: text with or without separators and sign, a number, or under "data".

    Raises OutcomeUnknown when there is none to read.
    """
    row = answer
    if isinstance(row, dict) and isinstance(row.get("data"), dict):
        row = row["data"]
    said = row.get("balance") if isinstance(row, dict) else row
    # A bare number is a balance at some panels; a bare sentence that holds one is not.
    amount = money_of(said) if isinstance(row, dict) else decimal_of(said)
    if amount is None:
        raise OutcomeUnknown("no balance in the answer")
    return Balance(amount, text_of(row.get("currency"), 16) if isinstance(row, dict) else "")
