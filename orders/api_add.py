"""`add`: an order that comes through API v2, placed once however often the call is repeated."""

import hashlib
import json
import logging
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import OperationalError, transaction
from django.utils import timezone

from accounts.keeping import delete_in_parts
from accounts.models import ApiKey
from catalog.models import Service
from orders.api_fields import number_of
from orders.api_texts import (
    BAD_REQUEST,
    BAD_SERVICE,
    DUPLICATE,
    NO_FUNDS,
    OTHER_CONTENT,
    SUSPENDED,
    Refused,
    of_invalid_order,
)
from orders.busy import Busy, is_lock_timeout
from orders.errors import InvalidOrder, NotOnSale
from orders.models import ApiAdd, Order
from orders.offers import offer
from orders.quotes import Filled, read_form
from orders.services import place_order
from orders.states import Status
from wallet.errors import AccountFrozen, InsufficientFunds
from wallet.services import lock_account

logger = logging.getLogger(__name__)

REPLAYED_FOR = timedelta(hours=48)
LONGEST_REQUEST_ID = 128
_NOT_CONTENT = {"key", "action", "request_id"}
# Seconds between tries for a lock; each is stretched by chance, lest two calls keep meeting.
_PAUSES = (0.1, 0.2, 0.4)
# Clients wait 30 seconds or so, and the last try takes time as well.
_LAST_TRY_AFTER = 16.0


@dataclass(frozen=True)
class _Call:
    """An `add` as it was sent."""

    key: ApiKey
    values: Mapping[str, str]
    request_id: str

    @property
    def content(self) -> str:
        sent = {name: text for name, text in self.values.items() if name not in _NOT_CONTENT}
        return hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).hexdigest()


def add(key: ApiKey, fields: Mapping[str, str]) -> int:
    """Place an order and return its number.

    Raises Refused with the customary text, and Busy when the customer's account stayed locked by
    others; in both cases nothing was placed.

    A `request_id` that was accepted within 48 hours returns the first order. Without one, a call
    that repeats service, link and quantity of the same key is refused as a duplicate for a while.
    """
    values = {name: text for name, text in fields.items() if name != "key"}
    call = _Call(key, values, fields.get("request_id", "").strip())
    if len(call.request_id) > LONGEST_REQUEST_ID:
        raise Refused(f"{BAD_REQUEST}: request_id has at most {LONGEST_REQUEST_ID} characters")
    return _retrying(call)


def _retrying(call: _Call) -> int:
    began = time.monotonic()
    for pause in (*_PAUSES, None):
        try:
            return _once(call)
        except OperationalError as error:
            # All of it was undone, so the same call can be made again; of any other failure that
            # is not known.
            if not is_lock_timeout(error):
                raise
            logger.warning("add waits for a lock key=%s", call.key.pk)
            if pause is None or time.monotonic() - began > _LAST_TRY_AFTER:
                raise Busy from error
        time.sleep(pause * random.uniform(1, 2))  # noqa: S311 - protects nothing
    raise AssertionError


def _once(call: _Call) -> int:
    with transaction.atomic():
        # The account's lock lets one call of a customer through at a time, so what is looked up
        # here is still true when the order is written.
        lock_account(call.key.user_id)
        first = _first_order(call)
        return first if first is not None else _place(call).pk


def _first_order(call: _Call) -> int | None:
    if not call.request_id:
        return None
    known = ApiAdd.objects.filter(customer_id=call.key.user_id, request_id=call.request_id).first()
    if known is None:
        return None
    if known.created_at < timezone.now() - REPLAYED_FOR:
        known.delete()
        return None
    if known.content != call.content:
        raise Refused(OTHER_CONTENT)
    return known.order_id


def _place(call: _Call) -> Order:
    service = _service(call.key.user_id, call.values.get("service", ""))
    try:
        order = _order(call, service)
    except InvalidOrder as exc:
        raise Refused(of_invalid_order(exc, service, call.values)) from None
    except NotOnSale:
        raise Refused(BAD_SERVICE) from None
    except InsufficientFunds:
        raise Refused(NO_FUNDS) from None
    except AccountFrozen:
        raise Refused(SUSPENDED) from None
    ApiAdd.objects.create(
        customer_id=call.key.user_id,
        key=call.key,
        request_id=call.request_id,
        content=call.content,
        order=order,
    )
    return order


def _order(call: _Call, service: Service) -> Order:
    if not call.request_id and _is_repeated(call.key, service, read_form(service, call.values)):
        raise Refused(DUPLICATE)
    return place_order(
        customer=call.key.user,
        service=service,
        values=call.values,
        client_token=uuid.uuid4(),
        allow_duplicate=True,
        source=Order.Source.API,
        is_offer=True,
    )


def _service(customer_id: int, text: str) -> Service:
    pk = number_of(text)
    found = None if pk is None else offer(customer_id, pk)
    if found is None:
        raise Refused(BAD_SERVICE)
    return found


def _is_repeated(key: ApiKey, service: Service, filled: Filled) -> bool:
    since = timezone.now() - timedelta(seconds=settings.API_DUPLICATE_SECONDS)
    alike = ApiAdd.objects.filter(
        key=key,
        created_at__gt=since,
        order__service=service,
        order__link=filled.link,
        order__quantity=filled.units,
    )
    # A canceled one delivers nothing, so ordering again is no mistake.
    return alike.exclude(order__status=Status.CANCELED).exists()


def forget_old() -> int:
    """Delete what no repeated call is compared with any more; how many rows."""
    forgotten = max(REPLAYED_FOR, timedelta(seconds=settings.API_DUPLICATE_SECONDS))
    old = ApiAdd.objects.filter(created_at__lt=timezone.now() - forgotten)
    return delete_in_parts(old, most=None)
