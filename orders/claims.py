"""Who may send an order: the claim, the mark, and what happens to a lease that is over.

queued → claimed → sending, each step one conditional update with the attempt number as its fence.
A worker that was paused, and whose order went on without it, changes no row and sends nothing.
Leases use the database's time, so a worker's wrong clock harms nobody.
"""

import logging
import os
import socket
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from catalog.models import Provider
from catalog.pricing import is_loss, site_cost
from orders import gates, statements
from orders.models import Attempt, Order
from orders.states import Dispatch, Outcome
from orders.timeline import Code, record
from upstream.errors import Abort

logger = logging.getLogger(__name__)

CLAIM_LEASE = timedelta(seconds=20)
# How long an order that must not run beside another on its link stands aside.
ASIDE = timedelta(seconds=5)
# An order that would be sent at a loss; it is looked at again this often.
LOSS = "loss"
LOSS_RECHECK = timedelta(minutes=15)
# What of an order and its service a claim needs; a third of the columns, and of the time.
_NEEDED = (
    "service_id", "link", "parameters", "quantity", "client_token", "price_rate", "may_lose",
    "attempt_no", "waiting_for", "service__upstream_id", "service__cost_rate",
    "service__listed_cost_rate",
)  # fmt: skip
# How far a worker looks down the queue past orders that stand aside.
_LOOK_AHEAD = 50


class ClaimLost(Abort):
    """The order is no longer this worker's: nothing was sent."""


class AlreadyOut(Abort):
    """An earlier attempt may have reached the provider: the database refused a second."""


@dataclass(frozen=True)
class Claim:
    """One worker's right to one attempt at sending one order.

    `gate_was_clean` says that a good answer needs no change of the provider's gate,
    `has_error_rules` whether the provider has error texts of its own.
    """

    order_id: int
    attempt_id: int
    attempt_no: int
    provider: Provider
    service_id: int
    upstream_service: str
    parameters: dict[str, str]
    waited_for: str
    gate_was_clean: bool
    has_error_rules: bool = True


def send_lease() -> timedelta:
    """How long an order may stay marked: longer than any exchange with a provider can take."""
    return timedelta(seconds=max(60, int(settings.UPSTREAM_TOTAL_TIMEOUT) + 25))


@transaction.atomic
def claim(order_id: int) -> Claim | None:
    """Claim this order if it is due and its provider takes orders now."""
    provider_id = statements.provider_waited_for(order_id)
    if provider_id is None:
        return None
    held = gates.lock_gate(provider_id)
    busy = gates.in_flight(provider_id)
    order = _due(provider_id).filter(pk=order_id).first()
    if order is None:
        return None
    reason = _refusal(held, len(busy))
    if reason:
        _wait(order, reason)
        return None
    claimed = _take(_free([order], held, set(busy)), held)
    return claimed[0] if claimed else None


@transaction.atomic
def claim_many(provider_id: int, most: int) -> list[Claim]:
    """Claim the oldest due orders of this provider that may run now, at most so many.

    The same number of statements however many they are, unless some have to stand aside.
    """
    held = gates.lock_gate(provider_id)
    busy = gates.in_flight(provider_id)
    if _refusal(held, len(busy)):
        return []
    most = min(most, gates.view_of(held.gate).slots - len(busy))
    taken: list[Order] = []
    links = set(busy)
    queue = _due(provider_id).order_by("not_before", "pk")
    # Rarely more than once: when some of the oldest have to stand aside.
    for look in (most, _LOOK_AHEAD, _LOOK_AHEAD):
        found = list(queue.exclude(pk__in=[order.pk for order in taken])[:look])
        free = _free(found, held, links, most=most - len(taken))
        taken += free
        links |= {(order.service_id, order.link) for order in free}
        if len(taken) == most or len(free) == len(found):
            break
    return _take(taken, held)


def _due(provider_id: int) -> QuerySet[Order]:
    # Locked, so that what was read is what is claimed; whoever withdraws one meanwhile is not
    # waited for, because the whole provider would wait.
    return (
        Order.objects.select_for_update(no_key=True, skip_locked=True, of=("self",))
        .select_related("service")
        .only(*_NEEDED)
        .filter(provider_id=provider_id, dispatch=Dispatch.QUEUED, not_before__lte=Now())
    )


def _free(
    found: Iterable[Order], held: gates.Held, links: set[tuple[int, str]], *, most: int = 1
) -> list[Order]:
    """Those that may go now; one whose link is under way stands aside for a moment."""
    links = set(links)
    free: list[Order] = []
    aside: list[int] = []
    for order in found:
        if len(free) == most:
            break
        if (order.service_id, order.link) in links:
            aside.append(order.pk)
        elif not _is_held_back(order, held.gate.provider):
            free.append(order)
            links.add((order.service_id, order.link))
    if aside:
        Order.objects.filter(pk__in=aside, dispatch=Dispatch.QUEUED).update(
            not_before=Now() + ASIDE
        )
    return free


def _is_held_back(order: Order, provider: Provider) -> bool:
    """Keep an order whose cost has reached its price meanwhile, and tell staff both figures.

    It is looked at again after a while: the cost may fall, and then the order goes out by itself.
    """
    cost = site_cost(order.service.newest_cost_rate, provider.exchange_rate)
    tolerance = provider.loss_tolerance
    if order.may_lose or not is_loss(cost=cost, price=order.price_rate, tolerance=tolerance):
        return False
    Order.objects.filter(pk=order.pk, dispatch=Dispatch.QUEUED).update(
        not_before=Now() + LOSS_RECHECK, waiting_for=LOSS, attention=LOSS
    )
    if order.waiting_for != LOSS:
        record(order, Code.WAITING)
        record(order, Code.HELD_BACK, cost=f"{cost:f}", price=f"{order.price_rate:f}")
        logger.warning("held back, its cost reaches its price: order=%s", order.pk)
    return True


def _refusal(held: gates.Held, in_flight: int) -> str:
    if not held.gate.provider.is_enabled:
        return "disabled"
    return gates.refusal(gates.view_of(held.gate), in_flight=in_flight)


def _wait(order: Order, reason: str) -> None:
    """Say once why the order waits; a free slot comes by itself and needs no words."""
    if reason in {"busy", order.waiting_for}:
        return
    Order.objects.filter(pk=order.pk, dispatch=Dispatch.QUEUED).update(waiting_for=reason)
    record(order, Code.WAITING, reason=reason)


def _take(orders: Sequence[Order], held: gates.Held) -> list[Claim]:
    """Claim orders that this transaction has locked: all of them, or none."""
    if not orders:
        return []
    taken = Order.objects.filter(
        pk__in=[order.pk for order in orders], dispatch=Dispatch.QUEUED, not_before__lte=Now()
    ).update(
        dispatch=Dispatch.CLAIMED,
        attempt_no=F("attempt_no") + 1,
        lease_until=Now() + CLAIM_LEASE,
    )
    if taken != len(orders):
        # Not with these locks; whoever has found a way round them must not send the others.
        transaction.set_rollback(True)
        return []
    provider = held.gate.provider
    worker = worker_name()
    attempts = Attempt.objects.bulk_create(
        Attempt(
            order=order,
            number=order.attempt_no + 1,
            worker=worker,
            # Like the mark, by the database's clock: windows are reckoned from both.
            claimed_at=Now(),
            request_param=provider.idempotency_param,
        )
        for order in orders
    )
    is_clean = gates.view_of(held.gate).is_clean
    return [
        Claim(
            order_id=order.pk,
            attempt_id=attempt.pk,
            attempt_no=attempt.number,
            provider=provider,
            service_id=order.service_id,
            upstream_service=order.service.upstream_id,
            parameters=_sent_parameters(order, provider),
            waited_for=order.waiting_for,
            gate_was_clean=is_clean,
            has_error_rules=held.has_error_rules,
        )
        for order, attempt in zip(orders, attempts, strict=True)
    ]


def _sent_parameters(order: Order, provider: Provider) -> dict[str, str]:
    """The order's parameters and what this provider wants besides.

    Seen at real panels: one refuses line-counted orders without `quantity`, though the others
    count the lines; one takes a request ID and answers its repetition with the first order.
    """
    sent = dict(order.parameters)
    if provider.comments_need_quantity and {"comments", "usernames"} & sent.keys():
        sent.setdefault("quantity", str(order.quantity))
    if provider.idempotency_param:
        # The same for every attempt of this order, and for no other order.
        sent[provider.idempotency_param] = str(order.client_token)
    return sent


def worker_name() -> str:
    """Host, process and thread, for people who look into an attempt."""
    return f"{socket.gethostname()}:{os.getpid()}:{threading.current_thread().name}"[:100]


def mark(claimed: Claim) -> None:
    """Say, before the first byte leaves, that it may have left. Committed when this returns.

    Raises ClaimLost when the order is no longer this worker's and AlreadyOut when an earlier
    attempt may have reached the provider; nothing is sent then.
    """
    try:
        moved = _mark(claimed)
    except IntegrityError:
        raise AlreadyOut("an earlier attempt may have reached the provider") from None
    if not moved:
        raise ClaimLost("another worker or the customer was faster")


def _mark(claimed: Claim) -> bool:
    if statements.are_known():
        return statements.mark(
            order_id=claimed.order_id,
            attempt_id=claimed.attempt_id,
            attempt_no=claimed.attempt_no,
            lease=send_lease(),
        )
    return mark_by_rows(claimed)


@transaction.atomic
def mark_by_rows(claimed: Claim) -> bool:
    """What `statements.mark` does in one statement, for a database that does not know it."""
    # The fence: the order must still be claimed, and by this very attempt.
    mine = Order.objects.filter(
        pk=claimed.order_id, dispatch=Dispatch.CLAIMED, attempt_no=claimed.attempt_no
    )
    if not mine.update(dispatch=Dispatch.SENDING, lease_until=Now() + send_lease(), sent_at=Now()):
        return False
    Attempt.objects.filter(pk=claimed.attempt_id).update(outcome=Outcome.SENDING, sending_at=Now())
    record(claimed.order_id, Code.SENDING, attempt=claimed.attempt_no)
    return True


@dataclass(frozen=True)
class Expired:
    """What `release_leases` did: orders queued again, and those whose answer is lost."""

    queued: int
    unknown: int


def release_leases(limit: int = 500) -> Expired:
    """Take orders from workers that died or hang.

    Claimed ones are queued again: the mark is fenced, so the old worker can't send any more.
    Marked ones become unknown: a byte may have left, and they are never sent again by themselves.
    """
    over = Order.objects.filter(
        dispatch__in=[Dispatch.CLAIMED, Dispatch.SENDING], lease_until__lte=Now()
    )
    queued = unknown = 0
    for order in over.order_by("lease_until")[:limit]:
        if order.dispatch == Dispatch.CLAIMED:
            queued += _requeue(order)
        else:
            unknown += _lose(order)
    return Expired(queued=queued, unknown=unknown)


def _still(order: Order) -> Q:
    # The same step of the same attempt, its lease still over.
    return Q(
        pk=order.pk,
        dispatch=order.dispatch,
        attempt_no=order.attempt_no,
        lease_until__lte=Now(),
    )


@transaction.atomic
def _requeue(order: Order) -> int:
    moved = Order.objects.filter(_still(order)).update(
        dispatch=Dispatch.QUEUED, lease_until=None, not_before=Now()
    )
    if moved:
        _end_attempt(order, Outcome.NOT_SENT, "the worker was lost before sending")
        logger.warning("claim expired order=%s attempt=%s", order.pk, order.attempt_no)
    return moved


@transaction.atomic
def _lose(order: Order) -> int:
    moved = Order.objects.filter(_still(order)).update(
        dispatch=Dispatch.UNKNOWN, lease_until=None, attention="unknown"
    )
    if moved:
        _end_attempt(order, Outcome.UNKNOWN, "the worker was lost after sending")
        record(order, Code.UNKNOWN, attempt=order.attempt_no)
        logger.warning("answer lost order=%s attempt=%s", order.pk, order.attempt_no)
    return moved


def _end_attempt(order: Order, outcome: Outcome, reason: str) -> None:
    Attempt.objects.filter(
        order=order,
        number=order.attempt_no,
        outcome__in=[Outcome.CLAIMED, Outcome.SENDING],
    ).update(outcome=outcome, reason=reason, finished_at=Now())


@transaction.atomic
def block(claimed: Claim) -> None:
    """Stop an order that was about to be sent a second time, and tell staff.

    Only a fault in code or a hand in the database leads here; the order's own state can't be
    trusted any more, so nothing sends or refunds it by itself.
    """
    Order.objects.filter(
        pk=claimed.order_id, dispatch=Dispatch.CLAIMED, attempt_no=claimed.attempt_no
    ).update(dispatch=Dispatch.UNKNOWN, lease_until=None, attention="resend_refused")
    Attempt.objects.filter(pk=claimed.attempt_id, outcome=Outcome.CLAIMED).update(
        outcome=Outcome.NOT_SENT,
        reason="an earlier attempt may have reached the provider",
        finished_at=Now(),
    )
    record(claimed.order_id, Code.UNKNOWN, attempt=claimed.attempt_no)
    logger.error("second send refused order=%s attempt=%s", claimed.order_id, claimed.attempt_no)
