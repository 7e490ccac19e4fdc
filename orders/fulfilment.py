"""Sending queued orders to their providers: at most once each, and none forgotten.

claim → connect → mark → send → verdict. The claim and the mark are in `orders.claims`, what an
answer means in `orders.verdicts`, whether a provider takes orders in `orders.gates`. Network calls
are made outside transactions; a crash at any point leaves the order to its lease.
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from django.db import (
    Error,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from accounts import trace
from catalog.models import Provider, Service
from orders import claims, gates, polls, statements, turns, verdicts
from orders.claims import AlreadyOut, Claim, ClaimLost
from orders.letters import tell_ended
from orders.models import Attempt, Order
from orders.money import lock_order, refund_order
from orders.states import Dispatch, Outcome, Status
from orders.timeline import Code, record
from orders.verdicts import Signal, Verdict
from orders.wakeups import kick, kick_probe
from upstream.errors import UpstreamError
from upstream.verdicts import NO_RULES

logger = logging.getLogger(__name__)

# Seconds between the tries at writing a verdict; afterwards the order's lease decides.
VERDICT_RETRIES = (0.2, 0.6, 1.8, 5.4)
# A worker stays with one provider's queue this long before it looks at its messages again; with
# the longest exchange it must stay below the time a stopping worker is given.
STAY_SECONDS = 10.0
# The status is asked for the first time this long after acceptance.
FIRST_POLL = timedelta(seconds=5)
# How long a provider may be trusted to remember a request ID.
REPEAT_WITHIN = timedelta(hours=24)
REPEAT_AFTER = timedelta(minutes=2)


class HeldTransaction(RuntimeError):
    """A provider was about to be called inside a database transaction."""


def forward(order_id: int) -> None:
    """Send this order if it is due, and nobody else is about to; otherwise do nothing.

    Raises HeldTransaction inside a transaction, as `forward_next` does.
    """
    _refuse_transaction()
    claimed = claims.claim(order_id)
    if claimed is not None:
        _send(claimed)


def forward_next(provider_id: int) -> bool:
    """Send the oldest due order of this provider; False when there is none it takes now."""
    _refuse_transaction()
    claimed = turns.claim_next(provider_id)
    if claimed is None:
        return False
    _send(claimed)
    return True


def _refuse_transaction() -> None:
    # A transaction would hold its locks for as long as the provider takes; and its rollback would
    # forget that an order was sent.
    if connection.in_atomic_block:
        raise HeldTransaction("no provider is called inside a transaction")


def work(order_id: int, *, seconds: float = STAY_SECONDS) -> None:
    """Send what waits for this order's provider, oldest first, for a while.

    Nothing when the order itself waits no more: whoever took it goes on with the queue.
    """
    provider_id = statements.provider_waited_for(order_id)
    if provider_id is None:
        return
    ends = time.monotonic() + seconds
    while forward_next(provider_id):
        if time.monotonic() >= ends:
            _hand_on(provider_id)
            return
    # Nothing may go now; if that is this order's case too, it says what it waits for.
    forward(order_id)


def _hand_on(provider_id: int) -> None:
    due = Order.objects.filter(
        provider_id=provider_id, dispatch=Dispatch.QUEUED, not_before__lte=Now()
    )
    first = due.order_by("not_before", "pk").values_list("pk", flat=True).first()
    if first is not None:
        kick(first)


def run_due(limit: int = 1000) -> int:
    """Send due orders of all providers in this process, oldest first; how many were tried."""
    tried = 0
    for provider_id in _providers_with_due():
        while tried < limit and forward_next(provider_id):
            tried += 1
    return tried


def _providers_with_due() -> list[int]:
    due = Order.objects.filter(dispatch=Dispatch.QUEUED, not_before__lte=Now())
    return list(due.order_by("provider_id").values_list("provider_id", flat=True).distinct())


def _send(claimed: Claim) -> None:
    with trace.order_context(claimed.order_id):
        logger.info("sending order=%s attempt=%s", claimed.order_id, claimed.attempt_no)
        _send_and_record(claimed)


def _send_and_record(claimed: Claim) -> None:
    result = _exchange(claimed)
    if result is None:
        return
    verdict = verdicts.judge(result, tries=_tries(claimed, result), jitter=random.random())  # noqa: S311 - spreads retries, protects nothing
    _tell_gate(claimed, verdict)
    _persist(claimed, verdict)


def _exchange(claimed: Claim) -> verdicts.Result | None:
    """Make the call; None when there is nothing to decide because nothing was ours to send."""
    try:
        with claimed.provider.client(None if claimed.has_error_rules else NO_RULES) as client:
            return client.add(
                claimed.upstream_service,
                claimed.parameters,
                before_send=partial(claims.mark, claimed),
            )
    except UpstreamError as error:
        return error
    except ClaimLost:
        logger.info("claim lost order=%s attempt=%s", claimed.order_id, claimed.attempt_no)
        _retrying(partial(_close_lost, claimed))
        return None
    except AlreadyOut:
        _retrying(partial(claims.block, claimed))
        return None
    except Error as error:
        # Raised by the mark: whether it was committed or not, the client has sent nothing.
        logger.warning("mark failed order=%s: %s", claimed.order_id, type(error).__name__)
        connection.close_if_unusable_or_obsolete()
        return verdicts.unsendable("the mark could not be written")


def _close_lost(claimed: Claim) -> None:
    Attempt.objects.filter(pk=claimed.attempt_id, outcome=Outcome.CLAIMED).update(
        outcome=Outcome.NOT_SENT, reason="claim lost", finished_at=Now()
    )


def _tries(claimed: Claim, result: verdicts.Result) -> int:
    """How many tries of this order ended like this one, this one included."""
    probe = verdicts.judge(result, tries=1, jitter=0)
    if probe.dispatch != Dispatch.QUEUED:
        return 1
    alike = Attempt.objects.filter(
        order_id=claimed.order_id, outcome=probe.outcome, kind=probe.kind
    ).exclude(pk=claimed.attempt_id)
    return alike.count() + 1


def _tell_gate(claimed: Claim, verdict: Verdict) -> None:
    """Before the verdict, so that no other order follows into the same wall."""
    if verdict.signal == Signal.ANSWERED and claimed.gate_was_clean:
        return
    try:
        gates.note(claimed.provider.pk, verdict)
    except (OperationalError, InterfaceError) as error:
        # The gate is politeness, the verdict is money: go on with that.
        logger.warning("gate not updated provider=%s: %s", claimed.provider.pk, error)
        connection.close_if_unusable_or_obsolete()


def _retrying(write: Callable[[], None]) -> bool:
    """Write, again after a while when the database is away; False when it stays away.

    What is not written is left to the order's lease, which never leads to a second send.
    """
    for pause in (*VERDICT_RETRIES, None):
        try:
            write()
        except (OperationalError, InterfaceError) as error:
            logger.warning("verdict not written yet: %s", type(error).__name__)
            connection.close_if_unusable_or_obsolete()
            if pause is not None:
                time.sleep(pause)
        else:
            return True
    return False


def _persist(claimed: Claim, verdict: Verdict) -> None:
    try:
        written = _retrying(partial(write_verdict, claimed, verdict))
    except IntegrityError:
        # The provider gave an ID that another order has: one of the two is not what it seems.
        verdict = replace(
            verdicts.unknown("repeated upstream ID", attention="repeated_id"),
            reason=f"the provider gave the ID {verdict.upstream_id} a second time",
            answer=verdict.answer,
        )
        written = _retrying(partial(write_verdict, claimed, verdict))
    if not written:
        logger.error("verdict lost order=%s attempt=%s", claimed.order_id, claimed.attempt_no)


def write_verdict(claimed: Claim, verdict: Verdict) -> None:
    """Let order, attempt, money and timeline follow from a verdict, once.

    A worker that comes too late still resolves an unknown order; when the order was settled
    meanwhile, only the attempt and a line of the timeline tell of the answer.
    """
    if verdict.dispatch == Dispatch.ACCEPTED and _accept(claimed, verdict):
        return
    _write_with_locks(claimed, verdict)


def _accept(claimed: Claim, verdict: Verdict) -> bool:
    """The common case without locks: accepted in time, and no money moves."""
    if statements.are_known():
        accepted = statements.accept(
            order_id=claimed.order_id,
            attempt_id=claimed.attempt_id,
            attempt_no=claimed.attempt_no,
            upstream_id=verdict.upstream_id,
            answer=verdict.answer,
            first_poll=FIRST_POLL,
        )
    else:
        accepted = accept_by_rows(claimed, verdict)
    if accepted:
        _log(claimed, verdict)
    return accepted


@transaction.atomic
def accept_by_rows(claimed: Claim, verdict: Verdict) -> bool:
    """What `statements.accept` does in one statement, for a database that does not know it."""
    mine = Order.objects.filter(
        pk=claimed.order_id, dispatch=Dispatch.SENDING, attempt_no=claimed.attempt_no
    )
    accepted = mine.update(
        dispatch=Dispatch.ACCEPTED,
        lease_until=None,
        waiting_for="",
        attention="",
        upstream_id=verdict.upstream_id,
    )
    if not accepted:
        return False
    _follow(claimed.order_id, claimed.provider.pk)
    Attempt.objects.filter(pk=claimed.attempt_id).update(
        outcome=Outcome.ACCEPTED,
        upstream_id=verdict.upstream_id,
        answer=verdict.answer,
        finished_at=Now(),
    )
    record(claimed.order_id, Code.ACCEPTED, attempt=claimed.attempt_no)
    return True


@transaction.atomic
def _write_with_locks(claimed: Claim, verdict: Verdict) -> None:
    locked = lock_order(claimed.order_id)
    order = locked.order
    attempt = Attempt.objects.select_for_update(no_key=True).get(pk=claimed.attempt_id)
    if _is_written(attempt, verdict):
        return
    if not _may_move(order, claimed, verdict):
        _note_late(order, attempt, verdict)
        return
    late = order.dispatch in {Dispatch.UNKNOWN, Dispatch.QUEUED} or (
        order.attempt_no != claimed.attempt_no
    )
    if verdict.dispatch == Dispatch.REJECTED and order.charge > order.refunded:
        refund_order(locked, amount=order.charge - order.refunded, reference=f"order-{order.pk}")
    _end_attempt(attempt, verdict, late=late)
    _move(order, verdict)
    _tell(order, verdict, claimed, late=late)
    if verdict.dispatch == Dispatch.REJECTED:
        tell_ended([order.pk])
    if verdict.holds_service:
        Service.objects.filter(pk=claimed.service_id).update(
            is_held=True, changed_at=timezone.now()
        )
        logger.warning("service held, the provider does not know it: %s", claimed.service_id)


def _is_written(attempt: Attempt, verdict: Verdict) -> bool:
    # The commit went through and its confirmation was lost: this is the second try at writing.
    return (
        attempt.finished_at is not None
        and attempt.outcome == verdict.outcome
        and attempt.upstream_id == verdict.upstream_id
        and attempt.reason == verdict.reason[:300]
    )


def _may_move(order: Order, claimed: Claim, verdict: Verdict) -> bool:
    if verdict.dispatch == Dispatch.ACCEPTED and order.dispatch in _ABOUT_TO_BE_SENT:
        # Someone released it for another send, and now we know that the first one arrived.
        return True
    may_be_in = {Dispatch.SENDING, Dispatch.UNKNOWN}
    if verdict.outcome == Outcome.NOT_SENT:
        may_be_in.add(Dispatch.CLAIMED)
    return order.attempt_no == claimed.attempt_no and order.dispatch in may_be_in


def _end_attempt(attempt: Attempt, verdict: Verdict, *, late: bool) -> None:
    attempt.outcome = verdict.outcome
    attempt.kind = verdict.kind
    attempt.reason = verdict.reason[:300]
    attempt.answer = verdict.answer
    attempt.http_status = verdict.http_status
    attempt.upstream_id = verdict.upstream_id
    attempt.is_late = late
    attempt.finished_at = timezone.now()
    attempt.save()


def _move(order: Order, verdict: Verdict) -> None:
    order.dispatch = verdict.dispatch
    order.lease_until = None
    order.waiting_for = verdict.waiting_for
    order.attention = verdict.attention
    changed = ["dispatch", "lease_until", "waiting_for", "attention"]
    if verdict.dispatch == Dispatch.ACCEPTED:
        order.upstream_id = verdict.upstream_id
        changed.append("upstream_id")
    elif verdict.dispatch == Dispatch.REJECTED:
        order.status = Status.CANCELED
        order.finished_at = timezone.now()
        changed += ["status", "finished_at"]
    elif verdict.dispatch == Dispatch.QUEUED:
        order.not_before = Now() + verdict.delay
        order.sent_at = None
        changed += ["not_before", "sent_at"]
    order.save(update_fields=changed)
    if verdict.dispatch == Dispatch.ACCEPTED:
        _follow(order.pk, order.provider_id)


def _follow(order_id: int, provider_id: int) -> None:
    polls.follow(order_id=order_id, provider_id=provider_id, due_at=Now() + FIRST_POLL)


_UNDECIDED = {Outcome.CLAIMED, Outcome.SENDING, Outcome.UNKNOWN}
_ABOUT_TO_BE_SENT = {Dispatch.QUEUED, Dispatch.CLAIMED}
_CODES = {
    Dispatch.ACCEPTED: Code.ACCEPTED,
    Dispatch.REJECTED: Code.REJECTED,
    Dispatch.UNKNOWN: Code.UNKNOWN,
}


def _tell(order: Order, verdict: Verdict, claimed: Claim, *, late: bool) -> None:
    """One line of the timeline and one of the log; waiting on for the same reason is no news."""
    number, kind = claimed.attempt_no, verdict.kind or None
    if late:
        record(order, Code.LATE_ANSWER, attempt=number, outcome=verdict.outcome.value)
    if verdict.dispatch != Dispatch.QUEUED:
        if not (late and verdict.dispatch == Dispatch.UNKNOWN):
            record(order, _CODES[verdict.dispatch], attempt=number, kind=kind)
    elif verdict.waiting_for != claimed.waited_for:
        code = Code.NOT_SENT if verdict.outcome == Outcome.NOT_SENT else Code.WAITING
        record(order, code, attempt=number, reason=verdict.waiting_for)
    _log(claimed, verdict)


def _log(claimed: Claim, verdict: Verdict) -> None:
    logger.info(
        "attempt ended order=%s attempt=%s outcome=%s kind=%s",
        claimed.order_id,
        claimed.attempt_no,
        verdict.outcome.value,
        verdict.kind,
    )


def _note_late(order: Order, attempt: Attempt, verdict: Verdict) -> None:
    """The order was settled without this answer: keep it, tell staff, move no money."""
    was_claimed = attempt.outcome == Outcome.CLAIMED
    if verdict.outcome == Outcome.NOT_SENT and attempt.outcome in _UNDECIDED:
        attempt.outcome = Outcome.NOT_SENT
    attempt.is_late = True
    attempt.reason = attempt.reason or verdict.reason[:300]
    attempt.answer = verdict.answer or attempt.answer
    attempt.upstream_id = verdict.upstream_id or attempt.upstream_id
    attempt.finished_at = attempt.finished_at or timezone.now()
    attempt.save()
    if was_claimed:
        return
    record(order, Code.LATE_ANSWER, attempt=attempt.number, outcome=verdict.outcome.value)
    surprise = _surprise(order, verdict)
    if surprise:
        order.attention = surprise
        order.save(update_fields=["attention"])
        logger.error("late answer order=%s attempt=%s: %s", order.pk, attempt.number, surprise)


def _surprise(order: Order, verdict: Verdict) -> str:
    if verdict.dispatch != Dispatch.ACCEPTED or order.upstream_id == verdict.upstream_id:
        return ""
    if order.dispatch in {Dispatch.REJECTED, Dispatch.WITHDRAWN} or order.status == Status.CANCELED:
        return "placed_after_refund"
    return "placed_again"


@dataclass(frozen=True)
class Sweep:
    """What a sweep found: expired claims, lost answers, repeats, wake-ups sent, probes asked for."""

    queued: int
    unknown: int
    repeated: int
    woken: int
    probed: int

    def __str__(self) -> str:
        return (
            f"{self.woken} woken, {self.queued} claims expired, {self.unknown} answers lost, "
            f"{self.repeated} repeated, {self.probed} providers probed"
        )


def sweep(*, wake: Callable[[int], bool] = kick, ask: Callable[[int], bool] = kick_probe) -> Sweep:
    """Find everything that waits: expired leases, due orders, gates to probe. Safe to repeat.

    `wake` and `ask` hand an order or a provider to a worker; without a broker they do nothing,
    and no worker could hear them.
    """
    expired = claims.release_leases()
    repeated = repeat_unknowns()
    probed = sum(1 for provider_id in gates.due_probes() if ask(provider_id))
    woken = 0
    for provider_id in _providers_with_due():
        woken += sum(1 for order_id in _to_wake(provider_id) if wake(order_id))
    return Sweep(
        queued=expired.queued,
        unknown=expired.unknown,
        repeated=repeated,
        woken=woken,
        probed=probed,
    )


def _to_wake(provider_id: int) -> list[int]:
    """As many of the oldest due orders as the provider has free slots."""
    view = gates.view_of(gates.gate_of(provider_id))
    flying = len(gates.in_flight(provider_id))
    if gates.refusal(view, in_flight=flying):
        return []
    due = Order.objects.filter(
        provider_id=provider_id,
        provider__is_enabled=True,
        dispatch=Dispatch.QUEUED,
        not_before__lte=Now(),
    )
    return list(
        due.order_by("not_before", "pk").values_list("pk", flat=True)[: view.slots - flying]
    )


def repeat_unknowns(limit: int = 100) -> int:
    """Queue unknown orders again where the provider knows our request ID.

    Only attempts that carried the ID, under the name that the provider still has: it answers the
    repetition with the first order, so this can't place a second.
    """
    able = Provider.objects.filter(is_enabled=True).exclude(idempotency_param="")
    # All that bounds them is asked at once: those that can't be repeated must not fill the limit.
    lost = Attempt.objects.filter(
        order__dispatch=Dispatch.UNKNOWN,
        order__provider__in=list(able.values_list("pk", flat=True)),
        number=F("order__attempt_no"),
        outcome=Outcome.UNKNOWN,
        request_param=F("order__provider__idempotency_param"),
        finished_at__lte=Now() - REPEAT_AFTER,
        claimed_at__gte=Now() - REPEAT_WITHIN,
    )
    return sum(_repeat(attempt) for attempt in lost.order_by("pk")[:limit])


@transaction.atomic
def _repeat(attempt: Attempt) -> int:
    moved = Order.objects.filter(
        pk=attempt.order_id, dispatch=Dispatch.UNKNOWN, attempt_no=attempt.number
    ).update(dispatch=Dispatch.QUEUED, not_before=Now(), attention="", sent_at=None)
    if moved:
        Attempt.objects.filter(pk=attempt.pk).update(outcome=Outcome.REPEATED)
        record(attempt.order_id, Code.WAITING, reason="repeated")
    return moved
