"""API v2 as we speak it to our own customers, another panel included.

One address, fields `key` and `action`, JSON answers; an error is {"error": "text"} with HTTP 200,
and HTTP 429 with Retry-After when a key, or an address with wrong keys, calls too often, or when
others were in the way: nothing was done. After HTTP 500 and 503 nobody knows. IDs of
other customers answer exactly like IDs that don't exist: every look-up begins with the key's owner.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_variables

from accounts.addresses import client_address
from accounts.keys import KeyRefused, TooManyRequests, authenticate
from accounts.models import ApiKey
from orders import price_list
from orders.api_add import add
from orders.api_fields import ids_of, number_of, numbers_of, read_fields
from orders.api_status import describe_all, plain, refill_number, refill_pk, refill_word
from orders.api_texts import (
    AWAY,
    BAD_ORDER,
    BAD_REFILL,
    BAD_REQUEST,
    CANCEL_LATER,
    FINISHED,
    NO_CANCEL,
    NO_REFILL,
    NOT_CANCELABLE,
    NOT_REFILLABLE,
    TOO_MANY_REQUESTS,
    Refused,
)
from orders.busy import Busy
from orders.decisions import FOLLOWED
from orders.errors import NotPossible
from orders.models import Order, Request
from orders.requests import cancel_order, request_refill
from orders.states import FINAL
from wallet.services import open_account

logger = logging.getLogger(__name__)

_BUSY_SECONDS = 2
_AWAY_SECONDS = 10

Fields: TypeAlias = Mapping[str, str]
Json: TypeAlias = Any


@csrf_exempt
@sensitive_variables()
def endpoint(request: HttpRequest) -> HttpResponse:
    """Answer one call."""
    response = _guarded(request)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


@sensitive_variables()
def _guarded(request: HttpRequest) -> HttpResponse:
    if request.method not in {"GET", "POST"}:
        return JsonResponse({"error": BAD_REQUEST}, status=405, headers={"Allow": "GET, POST"})
    try:
        # Clients match the texts, so these are not translated.
        with translation.override("en"):
            return _answer(request)
    except (Refused, KeyRefused) as exc:
        return JsonResponse({"error": str(exc)})
    except TooManyRequests as exc:
        return _later(429, TOO_MANY_REQUESTS, exc.seconds)
    except Busy:
        # In words for which every client comes again: it must not take the order for placed.
        return _later(429, TOO_MANY_REQUESTS, _BUSY_SECONDS)
    except (OperationalError, InterfaceError) as exc:
        # It may have happened while the order was committed.
        logger.warning("A call of API v2 met a database error: %s", type(exc).__name__)
        return _later(503, AWAY, _AWAY_SECONDS)
    except Exception:
        # The boundary to the client, which must not mistake this for an answer: an order may exist.
        logger.exception("A call of API v2 failed")
        return JsonResponse({"error": "Internal server error"}, status=500)


def _later(status: int, text: str, seconds: int) -> HttpResponse:
    return JsonResponse({"error": text}, status=status, headers={"Retry-After": str(seconds)})


@sensitive_variables()
def _answer(request: HttpRequest) -> HttpResponse:
    fields = read_fields(request)
    key = _owner_of(fields.pop("key", "").strip(), client_address(request))
    action = fields.get("action", "").strip()
    if action == "services":
        return price_list.response(request, key.user_id)
    if action not in ACTIONS:
        raise Refused(BAD_REQUEST)
    return JsonResponse(ACTIONS[action](key, fields), safe=False)


@sensitive_variables("secret")
def _owner_of(secret: str, address: str) -> ApiKey:
    try:
        return authenticate(secret, address)
    except (OperationalError, InterfaceError) as exc:
        logger.warning("A key could not be looked up: %s", type(exc).__name__)
        # Nothing has begun.
        raise Busy from None


def _add(key: ApiKey, fields: Fields) -> Json:
    return {"order": add(key, fields)}


def _balance(key: ApiKey, _fields: Fields) -> Json:
    account = open_account(key.user)
    return {"balance": plain(account.balance), "currency": settings.CURRENCY}


def _status(key: ApiKey, fields: Fields) -> Json:
    if "orders" not in fields:
        asked = fields.get("order", "").strip()
        return _statuses(key, [asked])[asked]
    return _statuses(key, ids_of(fields["orders"], of="orders"))


def _statuses(key: ApiKey, ids: list[str]) -> dict[str, Json]:
    numbers = numbers_of(ids)
    own = Order.objects.of(key.user_id).filter(pk__in=set(numbers.values()))
    told = describe_all(own)
    return {each: told.get(numbers.get(each, 0), _error(BAD_ORDER)) for each in ids}


def _refill(key: ApiKey, fields: Fields) -> Json:
    if "orders" not in fields:
        asked = fields.get("order", "").strip()
        answer = _refill_each(key, [asked])[asked]
        return answer if isinstance(answer, dict) else {"refill": str(answer)}
    ids = ids_of(fields["orders"], of="orders")
    answers = _refill_each(key, ids)
    return [{"order": _echo(each), "refill": answers[each]} for each in ids]


def _refill_each(key: ApiKey, ids: list[str]) -> dict[str, Json]:
    return _each_order(key, ids, lambda order: _ask_refill(key, order))


def _ask_refill(key: ApiKey, order: Order) -> Json:
    try:
        return refill_number(request_refill(order_id=order.pk, actor=key.user).pk)
    except NotPossible as exc:
        if not order.service.offers_refill:
            return _error(NO_REFILL)
        return _error(f"{NOT_REFILLABLE} {exc}")


def _cancel(key: ApiKey, fields: Fields) -> Json:
    # Seen at real panels: one order under its singular name.
    ids = ids_of(fields.get("orders") or fields.get("order", ""), of="orders")
    answers = _each_order(key, ids, lambda order: _ask_cancel(key, order))
    return [{"order": _echo(each), "cancel": answers[each]} for each in ids]


def _ask_cancel(key: ApiKey, order: Order) -> Json:
    try:
        cancel_order(order_id=order.pk, actor=key.user)
    except NotPossible as exc:
        return _error(_cancel_text(Order.objects.select_related("service").get(pk=order.pk), exc))
    return 1


def _cancel_text(order: Order, refused: NotPossible) -> str:
    if order.status in FINAL:
        return FINISHED
    if order.dispatch not in FOLLOWED:
        return CANCEL_LATER
    return f"{NOT_CANCELABLE} {refused}" if order.service.cancel else NO_CANCEL


def _each_order(key: ApiKey, ids: list[str], ask: Callable[[Order], Json]) -> dict[str, Json]:
    """What `ask` says about each own order; every other ID is an unknown one."""
    numbers = numbers_of(ids)
    own = Order.objects.of(key.user_id).select_related("service")
    found = own.in_bulk(set(numbers.values()))
    answers: dict[int, Json] = {pk: ask(order) for pk, order in sorted(found.items())}
    return {each: answers.get(numbers.get(each, 0), _error(BAD_ORDER)) for each in ids}


def _refill_status(key: ApiKey, fields: Fields) -> Json:
    if "refills" not in fields:
        asked = fields.get("refill", "").strip()
        answer = _refill_words(key, [asked])[asked]
        return answer if isinstance(answer, dict) else {"status": answer}
    ids = ids_of(fields["refills"], of="refills")
    answers = _refill_words(key, ids)
    return [{"refill": _echo(each), "status": answers[each]} for each in ids]


def _refill_words(key: ApiKey, ids: list[str]) -> dict[str, Json]:
    rows = {each: refill_pk(number) for each, number in numbers_of(ids).items()}
    own = Request.objects.filter(order__customer_id=key.user_id, kind=Request.Kind.REFILL)
    words = {each.pk: refill_word(each) for each in own.filter(pk__in=set(rows.values()))}
    return {each: words.get(rows.get(each, 0), _error(BAD_REFILL)) for each in ids}


def _echo(text: str) -> int | str:
    number = number_of(text)
    return text[:64] if number is None else number


def _error(text: str) -> dict[str, str]:
    return {"error": text}


ACTIONS: Mapping[str, Callable[[ApiKey, Fields], Json]] = {
    "add": _add,
    "status": _status,
    "refill": _refill,
    "refill_status": _refill_status,
    "cancel": _cancel,
    "balance": _balance,
}
