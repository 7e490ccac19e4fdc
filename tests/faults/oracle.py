"""The oracle after every fault: the provider's truth, the orders and the ledger must agree.

O1 an order is placed at most once; O2 an accepted order is placed once, under its ID; O3 a rejected
or withdrawn one is not placed and is refunded in full, once; O4 none is held past its lease and none
is missing; O5 the audit finds nothing; O6 the provider's key is nowhere.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import requests
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.models import Q
from django.db.models.functions import Now

from orders.models import Attempt, Event, Order
from orders.states import LEASED, Dispatch, Status
from wallet.models import Entry

_NEVER_SENT = [Dispatch.REJECTED, Dispatch.WITHDRAWN]


@dataclass(frozen=True)
class Placement:
    """An order that the provider holds: its ID there, and the link it was placed on."""

    upstream_id: str
    link: str


def placements_in(orders: Iterable[Mapping[str, Any]]) -> list[Placement]:
    """What the simulator's truth lists as placed through the API."""
    return [
        Placement(upstream_id=str(each["order"]), link=str(each["link"]))
        for each in orders
        if each["source"] == "api"
    ]


def ask_truth(api_url: str) -> list[Placement]:
    """The truth of a simulator that runs in another process."""
    address = api_url.removesuffix("/api/v2") + "/sim/truth"
    answer = requests.get(address, timeout=60)
    answer.raise_for_status()
    return placements_in(answer.json()["orders"])


def violations(
    truth: Sequence[Placement],
    *,
    key: str,
    tokens: Collection[UUID] = (),
    sinks: Sequence[Path] = (),
) -> list[str]:
    """Every way in which the panel and the truth differ; each order must have its own link.

    `tokens` are those of all forms that customers were told have ordered; `sinks` are logs and
    other files in which the key must not be.
    """
    return [
        *_placements(truth),
        *_left_behind(tokens),
        *_audit(),
        *_leaks(key, sinks),
    ]


def _placements(truth: Sequence[Placement]) -> Iterator[str]:
    by_link: dict[str, list[str]] = defaultdict(list)
    for placement in truth:
        by_link[placement.link].append(placement.upstream_id)
    for order in Order.objects.filter(parent=None).iterator(2000):
        found = by_link.pop(order.link, [])
        yield from _of_order(order, found)
    for link, found in by_link.items():
        yield f"O4: the provider holds {found} on {link}, and no order here is on that link"


def _of_order(order: Order, found: Sequence[str]) -> Iterator[str]:
    if len(found) > 1:
        yield f"O1: order {order.pk} was placed {len(found)} times: {found}"
    if order.dispatch == Dispatch.ACCEPTED and list(found) != [order.upstream_id]:
        yield f"O2: order {order.pk} is accepted as {order.upstream_id!r}; the truth is {found}"
    if order.dispatch not in _NEVER_SENT:
        return
    if found:
        yield f"O3: order {order.pk} is {order.dispatch} and was placed as {found}"
    refunds = Entry.objects.filter(order_number=order.pk, kind__in=Entry.REFUNDS)
    amounts = list(refunds.values_list("amount", flat=True))
    if amounts != [order.charge] or order.status != Status.CANCELED:
        yield f"O3: order {order.pk} is {order.dispatch} with refunds {amounts} of {order.charge}"


def _left_behind(tokens: Collection[UUID]) -> Iterator[str]:
    held = Order.objects.filter(dispatch__in=LEASED)
    for order in held.filter(Q(lease_until=None) | Q(lease_until__lte=Now())):
        yield f"O4: order {order.pk} is {order.dispatch} past its lease"
    known = set(Order.objects.values_list("client_token", flat=True))
    for token in set(tokens) - known:
        yield f"O4: the order of form {token} is missing"


def _audit() -> Iterator[str]:
    try:
        call_command("check_ledger", verbosity=0)
    except CommandError as failed:
        yield f"O5: check_ledger: {failed}"


def _leaks(key: str, sinks: Sequence[Path]) -> Iterator[str]:
    told = Q(answer__contains=key) | Q(reason__contains=key)
    for number in Attempt.objects.filter(told).values_list("pk", flat=True):
        yield f"O6: the key is in attempt {number}"
    for number, values in Event.objects.values_list("pk", "values").iterator(5000):
        if key in str(values):
            yield f"O6: the key is in event {number}"
    for path in sinks:
        if key.encode() in path.read_bytes():
            yield f"O6: the key is in {path.name}"
