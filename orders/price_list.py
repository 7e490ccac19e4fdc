"""The `services` answer, made once per state of the catalogue and then handed out as it is."""

import gzip
import hashlib
import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags

from catalog.models import Service
from catalog.rates import for_customer, rate_for
from catalog.version import version_for
from orders.api_status import plain
from upstream.order_types import find_type

_PLACE = "api-services"
_KEPT_SECONDS = 24 * 3600
_CONTENT_TYPE = "application/json"


@dataclass(frozen=True)
class Prepared:
    """A price list ready to be sent, plain and compressed."""

    body: bytes
    packed: bytes
    etag: str


def response(request: HttpRequest, customer_id: int) -> HttpResponse:
    """The list as this client can read it; 304 without a body when it has this very list."""
    prepared = current(customer_id)
    answer: HttpResponse
    if _has(request, prepared.etag):
        answer = HttpResponseNotModified()
    elif _takes_gzip(request):
        answer = HttpResponse(prepared.packed, content_type=_CONTENT_TYPE)
        answer["Content-Encoding"] = "gzip"
    else:
        answer = HttpResponse(prepared.body, content_type=_CONTENT_TYPE)
    answer["ETag"] = prepared.etag
    # To be kept by the client, and to be asked about before it is used.
    answer["Cache-Control"] = "private, no-cache"
    patch_vary_headers(answer, ["Accept-Encoding"])
    return answer


def current(customer_id: int | None = None) -> Prepared:
    """The list of what is on sale now: from the cache while the catalogue is unchanged.

    A customer who pays other prices gets a list of their own, made anew each time: more than the
    catalogue decides about it.
    """
    state, has_own_prices = version_for(customer_id)
    if has_own_prices or not state:
        return prepare(customer_id)
    kept: tuple[str, Prepared] | None = cache.get(_PLACE)
    if kept is not None and kept[0] == state:
        return kept[1]
    prepared = prepare()
    # In one place: a day's states of a large catalogue would fill the cache's memory.
    cache.set(_PLACE, (state, prepared), _KEPT_SECONDS)
    return prepared


def prepare(customer_id: int | None = None) -> Prepared:
    """Make the list from the database, with one query."""
    body = json.dumps(rows(customer_id), ensure_ascii=False, separators=(",", ":")).encode()
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Prepared(body, gzip.compress(body, compresslevel=6, mtime=0), etag)


def rows(customer_id: int | None = None) -> list[dict[str, Any]]:
    """What is on sale, with the fields and types that API v2 gives them, at the customer's prices."""
    on_sale = Service.objects.on_sale().select_related("category")
    if customer_id is None:
        return [_row(each, each.price_rate) for each in on_sale if find_type(each.order_type)]
    return [
        _row(each, rate_for(customer_id, each).rate)
        for each in for_customer(on_sale, customer_id)
        if find_type(each.order_type)
    ]


def _row(service: Service, rate: Decimal) -> dict[str, Any]:
    order_type = find_type(service.order_type)
    row = {
        "service": service.pk,
        "name": service.title,
        "type": order_type.name if order_type else service.type,
        "category": service.category.title,
        "rate": plain(rate),
        "min": str(service.min_quantity),
        "max": str(service.max_quantity),
        "refill": service.offers_refill,
        "cancel": service.cancel,
    }
    # Seen at real panels, and not in the document: so only where it says something.
    return row | {"dripfeed": True} if service.dripfeed else row


def _has(request: HttpRequest, etag: str) -> bool:
    known = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in known or any(_opaque(each) == _opaque(etag) for each in known)


def _opaque(etag: str) -> str:
    return etag.removeprefix("W/")


def _takes_gzip(request: HttpRequest) -> bool:
    return bool(re.search(r"\bgzip\b", request.headers.get("Accept-Encoding", "")))
