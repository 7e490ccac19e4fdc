"""What staff do about an order, each with a reason, a name, and a line in the timeline."""

import uuid
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from orders import polls
from orders.attention import Attention
from orders.decisions import FOLLOWED, Decision
from orders.errors import NotPossible
from orders.letters import tell_ended
from orders.models import Attempt, Order, Request
from orders.money import Locked, lock_order, refund_order
from orders.settlement import foresee, settle_by_hand
from orders.states import FINAL, Dispatch, Outcome, RequestState, Status
from orders.timeline import Code, record
from orders.wakeups import kick
from upstream.answers import OrderStatus, State
from wallet.errors import InvalidAmount
from wallet.models import Entry
from wallet.money import ZERO, round_money

RESEND_AFTER = timedelta(minutes=10)

_ENDS = {
    Status.COMPLETED: State.COMPLETED,
    Status.PARTIAL: State.PARTIAL,
    Status.CANCELED: State.CANCELED,
}
_UNSENT = [Dispatch.QUEUED, Dispatch.CLAIMED, Dispatch.SENDING, Dispatch.UNKNOWN]
_UNDECIDED = [Outcome.SENDING, Outcome.UNKNOWN]


@transaction.atomic
def refund(
    *, order_id: int, amount: Decimal | None, reason: str, actor: User, token: uuid.UUID
) -> Entry:
    """Give back `amount` of what is left of the charge, or all that is left for None.

    The order's status stays: it may still be running, and its own ending then gives back at most
    what is left. The same token gives the first entry and no more money. Raises NotPossible without
    a reason, above what is left, with nothing left, or for all of an order that may yet be sent.
    """
    note = _reason(reason)
    locked = lock_order(order_id)
    order = locked.order
    first = refund_made(order.pk, token)
    if first is not None:
        return first
    left = order.charge - order.refunded
    given = left if amount is None else amount
    if left <= 0:
        raise NotPossible(_("Nothing is left of the charge."))
    if not 0 < given <= left:
        raise NotPossible(_("A refund is more than nothing and at most what is left."))
    if given == left and order.dispatch in _UNSENT:
        raise NotPossible(_("Cancel or decide an order that may yet be sent; don't refund it."))
    return _give(locked, given, _refund_reference(order.pk, token), actor, note)


def refund_made(order_id: int, token: uuid.UUID) -> Entry | None:
    """The entry that `refund` has made with this token."""
    entries = Entry.objects.filter(kind=Entry.Kind.STAFF_REFUND)
    return entries.filter(reference=_refund_reference(order_id, token)).first()


def _refund_reference(order_id: int, token: uuid.UUID) -> str:
    return f"order-{order_id}-staff-{token}"


@transaction.atomic
def send_at_loss(*, order_id: int, reason: str, actor: User) -> None:
    """Send an order that is held back because its cost has reached its price, loss or not.

    Raises NotPossible when it isn't held back any more.
    """
    note = _reason(reason)
    order = lock_order(order_id).order
    if order.dispatch != Dispatch.QUEUED or order.attention != Attention.LOSS:
        raise NotPossible(_("The order is not held back any more."))
    order.may_lose = True
    order.attention = order.waiting_for = ""
    order.not_before = timezone.now()
    order.save(update_fields=["may_lose", "attention", "waiting_for", "not_before"])
    record(order, Code.RESOLVED, actor=actor, action="send", reason=note)
    transaction.on_commit(partial(kick, order.pk), robust=True)


@transaction.atomic
def bind_unknown(*, order_id: int, upstream_id: str, reason: str, actor: User) -> None:
    """The order is at the provider, under this ID: take it as accepted and follow it.

    Raises NotPossible when it isn't unconfirmed, or the ID is empty or another order's.
    """
    note = _reason(reason)
    order = _lock_unknown(order_id).order
    found = upstream_id.strip()
    if not found or len(found) > 64:
        raise NotPossible(_("Give the order's ID at the provider."))
    if _is_taken(order, found):
        raise NotPossible(_("This ID belongs to another order."))
    now = timezone.now()
    order.dispatch = Dispatch.ACCEPTED
    order.upstream_id = found
    order.sent_at = order.sent_at or now
    order.attention = ""
    order.save(update_fields=["dispatch", "upstream_id", "sent_at", "attention"])
    polls.follow(order_id=order.pk, provider_id=order.provider_id, due_at=now)
    _attempts(order).update(
        outcome=Outcome.ACCEPTED, upstream_id=found, reason=note, finished_at=now
    )
    record(order, Code.RESOLVED, actor=actor, action="bind", upstream_id=found, reason=note)


@transaction.atomic
def refund_unknown(*, order_id: int, reason: str, actor: User) -> None:
    """Give the money back without knowing whether the order was placed; it is never sent again.

    Its attempt stays unconfirmed: should an answer still come, it is kept and shown, and no money
    moves. Raises NotPossible when the order isn't unconfirmed.
    """
    note = _reason(reason)
    locked = _lock_unknown(order_id)
    order = locked.order
    left = order.charge - order.refunded
    if left > 0:
        _give(locked, left, f"order-{order.pk}-unknown", actor, note)
    order.dispatch = Dispatch.REJECTED
    order.status = Status.CANCELED
    order.finished_at = timezone.now()
    order.attention = ""
    order.save(update_fields=["dispatch", "status", "finished_at", "attention"])
    record(order, Code.RESOLVED, actor=actor, action="refund", reason=note)
    tell_ended([order.pk])


@transaction.atomic
def resend_unknown(*, order_id: int, reason: str, actor: User) -> None:
    """Someone states that the order is not at the provider: record that, and send it again.

    At the earliest 10 minutes after the last attempt, when no late answer is to be expected.
    Raises NotPossible before, when the order isn't unconfirmed, or all was refunded.
    """
    note = _reason(reason)
    order = _lock_unknown(order_id).order
    now = timezone.now()
    if order.refunded == order.charge:
        raise NotPossible(_("Nothing is left of the charge."))
    if _last_sent(order) > now - RESEND_AFTER:
        raise NotPossible(_("An order can be sent again 10 minutes after the last attempt."))
    _attempts(order).update(outcome=Outcome.ABSENT, reason=note, finished_at=now)
    order.dispatch = Dispatch.QUEUED
    order.not_before = now
    order.sent_at = None
    order.attention = order.waiting_for = ""
    order.save(update_fields=["dispatch", "not_before", "sent_at", "attention", "waiting_for"])
    record(order, Code.RESOLVED, actor=actor, action="resend", reason=note)
    transaction.on_commit(partial(kick, order.pk), robust=True)


def undelivered(order: Order) -> Decimal:
    """What the part that was not delivered cost, less what was refunded; 0 when nobody knows."""
    if order.remains is None or order.remains <= 0:
        return ZERO
    charge: Decimal = order.charge
    part = charge * min(order.remains, order.quantity) / order.quantity
    refunded: Decimal = order.refunded
    return max(round_money(part, up=False) - refunded, ZERO)


@transaction.atomic
def set_counts(
    *, order_id: int, start_count: int | None, remains: int | None, reason: str, actor: User
) -> None:
    """Correct what the provider said of the start count and of what remains; no money moves.

    A running order's next answer from the provider overwrites it. Raises NotPossible for an order
    that isn't at a provider, more remaining than was ordered, or another remainder of a partial one.
    """
    note = _reason(reason)
    order = lock_order(order_id).order
    if order.dispatch not in {Dispatch.ACCEPTED, Dispatch.CHILD}:
        raise NotPossible(_("The order is not at a provider."))
    if remains is not None and remains > order.quantity:
        raise NotPossible(_("No more can remain than was ordered."))
    if order.status == Status.PARTIAL and remains != order.remains:
        # What it gave back was reckoned by this, and the audit proves it by this.
        raise NotPossible(_("The order has ended; what is owed is a refund."))
    before = {"start_count": order.start_count, "remains": order.remains}
    order.start_count, order.remains = start_count, remains
    order.save(update_fields=["start_count", "remains"])
    record(
        order, Code.RESOLVED, actor=actor, action="set_counts", reason=note,
        start_count=f"{before['start_count']} → {start_count}",
        remains=f"{before['remains']} → {remains}",
    )  # fmt: skip


def foresee_end(order: Order, end: Status, remains: int | None) -> Decision:
    """What it comes to when staff say that the order ended so, by the rules for a provider's word.

    Raises NotPossible for an order that isn't at a provider or has ended, for a partial one without
    what remains, for part of a package, and while part orders are still running.
    """
    if order.dispatch not in FOLLOWED:
        raise NotPossible(_("The order is not at a provider."))
    if order.status in FINAL:
        raise NotPossible(_("The order has ended; what is owed is a refund."))
    if end == Status.PARTIAL and (remains is None or not 0 < remains <= order.quantity):
        raise NotPossible(_("A partial order needs what remains, at most what was ordered."))
    decision = foresee(order, _word(order, end, remains))
    if decision.attention == Attention.PARTIAL_PACKAGE:
        raise NotPossible(_("A package has no parts; refund an amount instead."))
    if not decision.is_final:
        raise NotPossible(_("Its part orders have not all ended."))
    return decision


def _word(order: Order, end: Status, remains: int | None) -> OrderStatus:
    """The end as if the provider had said it; what it said itself is kept."""
    return OrderStatus(
        state=_ENDS[end],
        raw_status=order.raw_status,
        charge=None,
        start_count=None,
        remains=remains if end == Status.PARTIAL else None,
        currency="",
        runs=None,
        posts=None,
        expiry="",
        orders=(),
        old_orders=(),
    )


@transaction.atomic
def settle(
    *,
    order_id: int,
    end: Status,
    remains: int | None,
    reason: str,
    actor: User,
    most: Decimal | None = None,
) -> Decimal:
    """End an order by what staff know of it; what is given back follows as from a provider's word.

    It is not followed any more. Raises what `foresee_end` does, and NotPossible when more than
    `most` would be given back, which is what somebody else has approved.
    """
    note = _reason(reason)
    locked = lock_order(order_id)
    decision = foresee_end(locked.order, end, remains)
    if most is not None and decision.refund > most:
        raise NotPossible(_("More would be given back by now than was approved."))
    settle_by_hand(locked, decision, actor=actor, note=note, now=timezone.now())
    record(
        locked.order, Code.RESOLVED, actor=actor, action="settle", reason=note,
        status=decision.status, remains=decision.remains, amount=str(decision.refund),
    )  # fmt: skip
    return decision.refund


@transaction.atomic
def acknowledge(*, order_id: int, reason: str, actor: User) -> None:
    """Someone has looked: take the order off the list of those that need attention."""
    note = _reason(reason)
    order = lock_order(order_id).order
    if not order.attention:
        raise NotPossible(_("This order needs no attention."))
    was = order.attention
    order.attention = ""
    order.save(update_fields=["attention"])
    record(order, Code.RESOLVED, actor=actor, action="acknowledge", attention=was, reason=note)


@transaction.atomic
def close_request(*, request_id: int, is_done: bool, reason: str, actor: User) -> None:
    """Settle a refill or cancel request whose answer was lost or never comes."""
    note = _reason(reason)
    waiting = [RequestState.UNKNOWN, RequestState.ACCEPTED]
    request = Request.objects.select_for_update().get(pk=request_id)
    if request.state not in waiting:
        raise NotPossible(_("This request is not waiting for an answer."))
    request.state = RequestState.COMPLETED if is_done else RequestState.REJECTED
    request.finished_at = timezone.now()
    request.next_poll_at = None
    request.save(update_fields=["state", "finished_at", "next_poll_at"])
    is_refill = request.kind == Request.Kind.REFILL
    record(
        request.order_id,
        Code.REFILL_STATE if is_refill else Code.CANCEL_STATE,
        actor=actor,
        state=request.state,
    )
    record(request.order_id, Code.RESOLVED, actor=actor, action="close_request", reason=note)


def _reason(text: str) -> str:
    reason = text.strip()[:300]
    if not reason:
        raise NotPossible(_("Give a reason."))
    return reason


def _lock_unknown(order_id: int) -> Locked:
    locked = lock_order(order_id)
    if locked.order.dispatch != Dispatch.UNKNOWN:
        raise NotPossible(_("This order is not unconfirmed any more."))
    return locked


def _give(locked: Locked, amount: Decimal, reference: str, actor: User, note: str) -> Entry:
    try:
        return refund_order(
            locked,
            amount=amount,
            reference=reference,
            kind=Entry.Kind.STAFF_REFUND,
            actor=actor,
            note=note,
        )
    except InvalidAmount as exc:
        raise NotPossible(_("An amount has at most five decimal places.")) from exc


def _is_taken(order: Order, upstream_id: str) -> bool:
    """Another order has the ID, or an attempt of one does: then the money behind it is spoken for."""
    orders = Order.objects.filter(provider_id=order.provider_id, upstream_id=upstream_id)
    attempts = Attempt.objects.filter(
        order__provider_id=order.provider_id, upstream_id=upstream_id
    ).exclude(order=order)
    return orders.exclude(pk=order.pk).exists() or attempts.exists()


def _attempts(order: Order) -> models.QuerySet[Attempt]:
    return Attempt.objects.filter(order=order, outcome__in=_UNDECIDED)


def _last_sent(order: Order) -> datetime:
    last = _attempts(order).order_by("-number").first()
    return order.created_at if last is None else (last.sending_at or last.claimed_at)
