"""Writing down what a provider's status means: money, state, part orders and the timeline."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from orders import polls
from orders.decisions import (
    FOLLOWED,
    Decision,
    Facts,
    Part,
    Shape,
    amount_of,
    decide,
    is_news,
    shape_of,
    units_of_charge,
)
from orders.letters import tell_ended
from orders.models import Order, Request
from orders.money import Locked, lock_order, refund_order
from orders.states import FINAL, Dispatch, RequestState, Status
from orders.timeline import Code, record
from upstream.answers import OrderStatus

__all__ = [
    "FOLLOWED",
    "Decision",
    "apply_status",
    "close_cancels",
    "decide",
    "facts_of",
    "foresee",
    "settle_by_hand",
]

# A panel that lists more parts than this for one order is not believed.
MAX_PARTS = 1000


@dataclass(frozen=True)
class _Parts:
    """The part orders of a container, and how many listed IDs belong to other orders here."""

    orders: tuple[Order, ...] = ()
    unadopted: int = 0
    has_new: bool = False


@dataclass(frozen=True)
class _Before:
    """What an order was before an answer was written."""

    status: str
    attention: str


def facts_of(order: Order, parts: Iterable[Order] = (), *, unadopted: int = 0) -> Facts:
    """The order as plain values for `decide`."""
    shape = shape_of(
        dispatch=order.dispatch, order_type=order.order_type, parameters=order.parameters
    )
    runs = int(order.parameters.get("runs", "1")) if shape is Shape.DRIP_FEED else 1
    per_part = order.quantity // max(1, runs)
    if shape is Shape.SUBSCRIPTION:
        per_part = int(order.parameters.get("max", "1"))
    return Facts(
        dispatch=Dispatch(order.dispatch),
        status=Status(order.status),
        shape=shape,
        quantity=order.quantity,
        charge=order.charge,
        refunded=order.refunded,
        raw_status=order.raw_status,
        start_count=order.start_count,
        remains=order.remains,
        upstream_charge=order.upstream_charge,
        attention=order.attention,
        price_rate=order.price_rate,
        expected_charge=order.expected_charge,
        runs=runs,
        per_part=per_part,
        parts=tuple(Part(Status(each.status), each.quantity, each.remains) for each in parts),
        unadopted=unadopted,
    )


@transaction.atomic
def apply_status(
    order_id: int, answer: OrderStatus, *, now: datetime | None = None, unmoved: str = ""
) -> bool:
    """Write what the answer changes (state, refund, parts, timeline) in one transaction.

    Safe to repeat and to run at the same time: the order is locked with its account and read
    again, and each kind of refund exists once per order. `unmoved` is the status that the order had
    when it was asked about: one that somebody moved since is left alone. True when anything was
    written.
    """
    now = now or timezone.now()
    locked = lock_order(order_id)
    order = locked.order
    if order.dispatch not in FOLLOWED or (unmoved and order.status != unmoved):
        return False
    has_learned = _learn_quantity(order, answer)
    parts = _parts(order, answer, now)
    facts = facts_of(order, parts.orders, unadopted=parts.unadopted)
    decision = decide(facts, answer)
    if not is_news(facts, decision):
        return has_learned or parts.has_new
    _write(locked, decision, now)
    return True


def foresee(order: Order, answer: OrderStatus) -> Decision:
    """What `answer` would change of the order as it is; nothing is written."""
    is_container = facts_of(order).shape.is_container
    parts = list(order.children.order_by("pk")) if is_container else []
    return decide(facts_of(order, parts), answer)


def settle_by_hand(
    locked: Locked, decision: Decision, *, actor: User, note: str, now: datetime
) -> None:
    """Write a decision that a person stands for: the money under their name, and no more looking."""
    _write(locked, replace(decision, attention=""), now, actor=actor, note=note)


def close_cancels(order_ids: Iterable[int], *, now: datetime) -> None:
    """Answer the cancel requests of orders that have become final: the order's status is what came
    of them. Requests being sent are left to their sender, which looks at the order afterwards."""
    waiting = Request.objects.filter(
        kind=Request.Kind.CANCEL,
        state__in=[RequestState.QUEUED, RequestState.ACCEPTED, RequestState.UNKNOWN],
        order_id__in=list(order_ids),
    )
    for request in waiting.select_related("order"):
        is_done = request.order.status in (Status.CANCELED, Status.PARTIAL)
        state = RequestState.COMPLETED if is_done else RequestState.REJECTED
        unmoved = Request.objects.filter(pk=request.pk, state=request.state)
        if unmoved.update(state=state, finished_at=now, next_poll_at=None):
            record(request.order_id, Code.CANCEL_STATE, state=state)


def _write(
    locked: Locked, decision: Decision, now: datetime, *, actor: User | None = None, note: str = ""
) -> None:
    order = locked.order
    was = _Before(order.status, order.attention)
    if decision.refund > 0:
        refund_order(
            locked,
            amount=decision.refund,
            reference=f"order-{order.pk}-{decision.reference}",
            actor=actor,
            note=note,
        )
    order.status = decision.status
    order.raw_status = decision.raw_status
    order.start_count = decision.start_count
    order.remains = decision.remains
    order.upstream_charge = decision.upstream_charge
    order.attention = decision.attention
    if decision.is_final:
        order.finished_at = order.finished_at or now
    order.save(
        update_fields=[
            "status", "raw_status", "start_count", "remains", "upstream_charge", "attention",
            "finished_at",
        ]
    )  # fmt: skip
    if decision.is_final:
        polls.forget([order.pk])
    _tell(order, decision, was)
    if decision.is_final and was.status not in FINAL:
        close_cancels([order.pk], now=now)
        tell_ended([order.pk])
        _wake_parent(order, now)


def _tell(order: Order, decision: Decision, was: _Before) -> None:
    if decision.is_contrary:
        record(order, Code.CONTRARY, was=was.status, status=decision.raw_status)
    if decision.status != was.status:
        record(order, Code.STATUS, was=was.status, status=decision.status)
    if decision.attention not in ("", was.attention) and not decision.is_contrary:
        record(order, Code.ODD_ANSWER, status=decision.raw_status, attention=decision.attention)


def _wake_parent(order: Order, now: datetime) -> None:
    """A container may be waiting for this part: have it looked at soon."""
    if order.parent_id is not None:
        polls.look_soon(order.parent_id, now)


def _learn_quantity(order: Order, answer: OrderStatus) -> bool:
    """Set the units of a subscription's part by the first charge its provider shows."""
    charge = amount_of(answer.charge)
    if order.parent is None or order.upstream_charge is not None or not charge:
        return False
    parent = order.parent
    facts = facts_of(parent)
    if facts.shape is not Shape.SUBSCRIPTION:
        return False
    least = int(parent.parameters.get("min", "1"))
    order.quantity = units_of_charge(charge, facts, least=least)
    order.save(update_fields=["quantity"])
    return True


def _parts(order: Order, answer: OrderStatus, now: datetime) -> _Parts:
    """The container's part orders; those listed for the first time are made."""
    facts = facts_of(order)
    if not facts.shape.is_container:
        return _Parts()
    known = list(order.children.order_by("pk"))
    listed = dict.fromkeys((*answer.orders, *answer.old_orders))
    new = [each for each in listed if each not in {child.upstream_id for child in known}]
    if not new or order.status in FINAL:
        return _Parts(tuple(known))
    taken = set(
        Order.objects.filter(provider_id=order.provider_id, upstream_id__in=new).values_list(
            "upstream_id", flat=True
        )
    )
    free = [each for each in new if each not in taken][: max(0, MAX_PARTS - len(known))]
    made = [_adopt(order, upstream_id, facts, now) for upstream_id in free]
    return _Parts((*known, *made), unadopted=len(new) - len(free), has_new=bool(made))


def _adopt(parent: Order, upstream_id: str, facts: Facts, now: datetime) -> Order:
    """Make the row of a part order; its money is the parent's, so it has none of its own."""
    child = Order.objects.create(
        customer_id=parent.customer_id,
        service_id=parent.service_id,
        provider_id=parent.provider_id,
        parent=parent,
        source=Order.Source.PROVIDER,
        client_token=uuid.uuid4(),
        order_type=parent.order_type,
        link=parent.link,
        parameters={},
        quantity=max(1, facts.per_part),
        price_rate=parent.price_rate,
        charge=0,
        cost=0,
        exchange_rate=parent.exchange_rate,
        expected_charge=0,
        dispatch=Dispatch.CHILD,
        upstream_id=upstream_id,
        sent_at=now,
    )
    polls.follow(order_id=child.pk, provider_id=child.provider_id, due_at=now)
    record(parent, Code.CHILD, part=child.pk)
    return child
