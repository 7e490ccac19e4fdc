"""Refill and cancel requests: asked of the provider at most once, and followed until it answers.

A request changes nothing about the order: a refill is free, and a cancel that the provider accepts
brings money only with the status that follows. An answer that was lost leaves the request UNKNOWN;
it is shown, never sent again by itself, and staff close it (`orders.desk.close_request`).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from catalog.models import Provider
from orders import polls
from orders.decisions import FOLLOWED
from orders.errors import NotPossible
from orders.models import Order, Request
from orders.money import lock_order
from orders.refills import refill_refusal
from orders.services import withdraw
from orders.settlement import close_cancels
from orders.states import FINAL, REQUEST_OPEN, Dispatch, RequestState
from orders.timeline import Code, record
from upstream.answers import ItemError, RefillState, RefillStatus
from upstream.client import MAX_IDS, Client
from upstream.errors import Abort, Kind, NotSent, OutcomeUnknown, Rejected, UpstreamError

logger = logging.getLogger(__name__)

# A refill whose ID names none is asked about no more; it counts as done after this time.
_BLIND_FOR = timedelta(hours=24)
# Claimed and not marked in this time: its worker died before anything was sent.
CLAIM_LASTS = timedelta(seconds=20)
# Marked and not answered in this time: its worker died and something may have been sent.
SENDING_LASTS = timedelta(seconds=60)
FIRST_WAIT = timedelta(seconds=15)
LONGEST_WAIT = timedelta(minutes=10)
GIVE_UP_AFTER = timedelta(days=30)

# Refused for now, with nothing done: it may be sent again later.
_WAITS = {Kind.RATE_LIMIT, Kind.UNAVAILABLE, Kind.ACCOUNT, Kind.FUNDS, Kind.DUPLICATE_LINK}
_DONE = {RefillState.COMPLETED, RefillState.PARTIAL}
_REFUSED = {RefillState.REJECTED, RefillState.CANCELED, RefillState.REFUNDED, RefillState.ERROR}
_CODES = {Request.Kind.REFILL: Code.REFILL_STATE, Request.Kind.CANCEL: Code.CANCEL_STATE}


@dataclass(frozen=True)
class _Verdict:
    """What came of sending a request."""

    state: RequestState
    upstream_id: str = ""
    answer: str = ""


def cancel_refusal(order: Order, now: datetime) -> str:  # noqa: ARG001 - one shape for both
    """Why this order can't be cancelled now, as a sentence for its customer; empty when it can."""
    if order.status in FINAL:
        return _("This order is finished.")
    if order.dispatch in (Dispatch.QUEUED, Dispatch.CLAIMED):
        return ""
    if order.dispatch not in FOLLOWED:
        return _("This order is just being sent. Try again in a few minutes.")
    if not order.service.cancel:
        return _("This service can't be cancelled once it has been sent.")
    if order.requests.filter(kind=Request.Kind.CANCEL, state__in=REQUEST_OPEN).exists():
        return _("A cancel was requested; the provider has not decided yet.")
    return ""


@transaction.atomic
def request_refill(*, order_id: int, actor: User | None) -> Request:
    """Queue a refill request, or put it before staff where the service or its provider says so.

    Raises NotPossible with the sentence of `refill_refusal`.
    """
    order = lock_order(order_id).order
    return _queue(order, Request.Kind.REFILL, refill_refusal, actor)


def cancel_order(*, order_id: int, actor: User | None) -> Request | None:
    """Take the order back and refund it while it has not been sent (None), else queue a cancel
    request to the provider. Raises NotPossible with the sentence of `cancel_refusal`."""
    if withdraw(order_id, actor=actor):
        return None
    with transaction.atomic():
        order = lock_order(order_id).order
        if order.dispatch in (Dispatch.QUEUED, Dispatch.CLAIMED):
            raise NotPossible(_("This order is just being sent. Try again in a few minutes."))
        return _queue(order, Request.Kind.CANCEL, cancel_refusal, actor)


def _queue(
    order: Order,
    kind: Request.Kind,
    refusal: Callable[[Order, datetime], str],
    actor: User | None,
) -> Request:
    if text := refusal(order, timezone.now()):
        raise NotPossible(text)
    is_refill = kind == Request.Kind.REFILL
    waits = is_refill and order.service.is_refilled_by_staff
    record(order, Code.REFILL_REQUESTED if is_refill else Code.CANCEL_REQUESTED, actor=actor)
    return Request.objects.create(
        order=order, provider_id=order.provider_id, kind=kind, requested_by=actor,
        state=RequestState.ASKED if waits else RequestState.QUEUED,
    )  # fmt: skip


def send_due(limit: int = 100) -> int:
    """Send queued requests, each at most once; gives how many were sent. Outside transactions."""
    now = timezone.now()
    _lose_abandoned(now)
    due = Request.objects.filter(state=RequestState.QUEUED, not_before__lte=now)
    ids = list(due.order_by("provider_id", "not_before", "pk").values_list("pk", flat=True)[:limit])
    return sum(_send(pk) for pk in ids)


def _lose_abandoned(now: datetime) -> None:
    """A request whose sender died after the mark may have arrived."""
    abandoned = Request.objects.filter(state=RequestState.SENDING, lease_until__lt=now)
    for request in list(abandoned):
        _conclude(request, _Verdict(RequestState.UNKNOWN))


def _send(request_id: int) -> bool:
    request = _claim(request_id)
    if request is None:
        return False
    try:
        with request.provider.client() as client:
            verdict = _ask(client, request)
    except Abort:
        return False
    except UpstreamError as error:
        verdict = _failed(error)
    return _conclude(request, verdict)


def _claim(request_id: int) -> Request | None:
    """Take a queued request for a moment; a later sender has another attempt number."""
    now = timezone.now()
    free = Request.objects.filter(pk=request_id, state=RequestState.QUEUED, not_before__lte=now)
    # F() on a counter, never on money.
    if not free.update(not_before=now + CLAIM_LASTS, attempt_no=F("attempt_no") + 1):
        return None
    request = Request.objects.select_related("order", "provider").get(pk=request_id)
    if request.kind == Request.Kind.CANCEL and request.order.status in FINAL:
        close_cancels([request.order_id], now=now)
        return None
    return request


def _mark(request: Request) -> None:
    """Commit that bytes may leave, before they do; a claim that was lost sends nothing."""
    mine = Request.objects.filter(
        pk=request.pk, state=RequestState.QUEUED, attempt_no=request.attempt_no
    )
    until = timezone.now() + SENDING_LASTS
    if not mine.update(state=RequestState.SENDING, lease_until=until):
        raise Abort("the claim was lost")


def _ask(client: Client, request: Request) -> _Verdict:
    mark = partial(_mark, request)
    upstream_id = request.order.upstream_id
    if request.kind == Request.Kind.REFILL:
        refill = client.refill(upstream_id, before_send=mark)
        return _Verdict(RequestState.ACCEPTED, upstream_id=refill)
    # One order per call: each has its own mark, and panels that answer without IDs are understood.
    answer = client.cancel([upstream_id], before_send=mark)[upstream_id]
    if answer is None:
        return _Verdict(RequestState.ACCEPTED)
    if answer.missing:
        return _Verdict(RequestState.UNKNOWN, answer=answer.text)
    return _failed(Rejected(answer.kind, answer.text))


def _failed(error: UpstreamError) -> _Verdict:
    """A text nobody knows counts as refused, unlike at `add`: no money hangs on it."""
    if isinstance(error, NotSent):
        return _Verdict(RequestState.QUEUED)
    if isinstance(error, Rejected):
        state = RequestState.QUEUED if error.kind in _WAITS else RequestState.REJECTED
        return _Verdict(state, answer=error.text)
    reason = error.reason if isinstance(error, OutcomeUnknown) else ""
    return _Verdict(RequestState.UNKNOWN, answer=error.answer or reason)


@transaction.atomic
def _conclude(request: Request, verdict: _Verdict) -> bool:
    """Write what came of it, unless another attempt or staff have; True when it was sent."""
    now = timezone.now()
    if request.kind == Request.Kind.CANCEL:
        # Before the request, as whoever ends the order locks them; nor does it end unseen meanwhile.
        Order.objects.select_for_update(no_key=True).only("pk").get(pk=request.order_id)
    mine = Request.objects.filter(
        pk=request.pk,
        attempt_no=request.attempt_no,
        state__in=[RequestState.QUEUED, RequestState.SENDING, RequestState.UNKNOWN],
    )
    is_waiting = verdict.state == RequestState.QUEUED
    if not mine.update(
        state=verdict.state,
        upstream_id=verdict.upstream_id,
        answer=verdict.answer[:2000],
        lease_until=None,
        not_before=now + wait(request.attempt_no) if is_waiting else request.not_before,
        next_poll_at=_first_poll(request, verdict, now),
        finished_at=now if verdict.state == RequestState.REJECTED else None,
    ):
        return False
    if is_waiting:
        return False
    record(request.order_id, _CODES[Request.Kind(request.kind)], state=verdict.state)
    _look_soon(request, now)
    return True


def wait(attempts: int) -> timedelta:
    """How long a request waits after it could not be sent this many times."""
    doublings = min(max(attempts, 1) - 1, 10)
    return min(LONGEST_WAIT, FIRST_WAIT * (1 << doublings))


def _first_poll(request: Request, verdict: _Verdict, now: datetime) -> datetime | None:
    if request.kind != Request.Kind.REFILL or verdict.state != RequestState.ACCEPTED:
        return None
    return now + (timedelta(0) if _is_followed(request.provider_id, verdict) else _BLIND_FOR)


def _is_followed(provider_id: int, verdict: _Verdict) -> bool:
    """Seen at real panels: every refill is answered with 1, which names none."""
    same = Request.objects.filter(
        provider_id=provider_id, kind=Request.Kind.REFILL, upstream_id=verdict.upstream_id
    )
    return verdict.upstream_id != "1" and not same.exists()


def _look_soon(request: Request, now: datetime) -> None:
    """A cancel shows in the order's status; if that is final already, the request is answered."""
    if request.kind != Request.Kind.CANCEL:
        return
    polls.look_soon(request.order_id, now)
    if Order.objects.filter(pk=request.order_id, status__in=FINAL).exists():
        close_cancels([request.order_id], now=now)


def poll_due(limit: int = 1000) -> int:
    """Ask about refills that are due, 100 of one provider per call; gives how many changed."""
    now = timezone.now()
    due = list(_claim_polls(now, limit))
    changed = 0
    for _provider, group in groupby(due, key=lambda each: each.provider_id):
        requests = list(group)
        for start in range(0, len(requests), MAX_IDS):
            changed += _poll(requests[start : start + MAX_IDS], now)
    return changed


@transaction.atomic
def _claim_polls(now: datetime, limit: int) -> Sequence[Request]:
    due = Request.objects.filter(next_poll_at__lte=now, state=RequestState.ACCEPTED)
    locked = due.select_for_update(skip_locked=True, no_key=True, of=("self",))
    requests = list(locked.order_by("provider_id", "next_poll_at", "pk")[:limit])
    for every in (timedelta(minutes=10), timedelta(hours=1)):
        ids = [each.pk for each in requests if _every(now - each.created_at) == every]
        if ids:
            Request.objects.filter(pk__in=ids).update(next_poll_at=now + every)
    return requests


def _every(age: timedelta) -> timedelta:
    return timedelta(minutes=10) if age < timedelta(days=1) else timedelta(hours=1)


def _poll(requests: Sequence[Request], now: datetime) -> int:
    blind = [each for each in requests if each.upstream_id == "1" or _is_shared(each)]
    changed = sum(_settle(each, RequestState.COMPLETED, "", now) for each in blind)
    asked = [each for each in requests if each not in blind]
    if not asked:
        return changed
    provider = Provider.objects.prefetch_related("error_rules").get(pk=asked[0].provider_id)
    try:
        with provider.client() as client:
            answers = client.refill_statuses([each.upstream_id for each in asked])
    except UpstreamError as error:
        logger.warning(
            "refill status failed provider=%s reason=%s", provider.pk, type(error).__name__
        )
        return changed
    return changed + sum(_hear(each, answers, now) for each in asked)


def _is_shared(request: Request) -> bool:
    """An ID that two requests have tells nothing about either."""
    same = Request.objects.filter(
        provider_id=request.provider_id,
        kind=Request.Kind.REFILL,
        upstream_id=request.upstream_id,
    )
    return same.exclude(pk=request.pk).exists()


def _hear(request: Request, answers: Mapping[str, RefillStatus | ItemError], now: datetime) -> bool:
    answer = answers[request.upstream_id]
    if isinstance(answer, RefillStatus) and answer.state in _DONE:
        return _settle(request, RequestState.COMPLETED, answer.raw_status, now)
    if isinstance(answer, RefillStatus) and answer.state in _REFUSED:
        return _settle(request, RequestState.REJECTED, answer.raw_status, now)
    # Since it was sent: it may have waited for staff before.
    if now - request.not_before > GIVE_UP_AFTER:
        # Nothing was heard for a month: closed, so that the customer may ask again.
        return _settle(request, RequestState.REJECTED, request.raw_status, now)
    raw = answer.raw_status if isinstance(answer, RefillStatus) else answer.text
    if raw[:60] != request.raw_status:
        Request.objects.filter(pk=request.pk).update(raw_status=raw[:60])
    return False


@transaction.atomic
def _settle(request: Request, state: RequestState, raw_status: str, now: datetime) -> bool:
    open_ones = Request.objects.filter(pk=request.pk, state=RequestState.ACCEPTED)
    if not open_ones.update(
        state=state, raw_status=raw_status[:60], finished_at=now, next_poll_at=None
    ):
        return False
    record(request.order_id, Code.REFILL_STATE, state=state)
    return True
