"""What a provider's answer to `add`, or its absence, means for the order. Pure: plain values only."""

import enum
from dataclasses import dataclass
from datetime import timedelta

from orders.states import Dispatch, Outcome
from upstream.answers import Placed
from upstream.errors import Kind, NotSent, OutcomeUnknown, Rejected, UpstreamError

Result = Placed | UpstreamError


class Signal(enum.Enum):
    """What an attempt says about the provider as a whole."""

    ANSWERED = "answered"  # it answered in words we understand
    NOT_SENT = "not_sent"  # it could not be reached, or wants us slower
    UNKNOWN = "unknown"  # an answer was lost
    FUNDS = "funds"  # our balance there is short
    ACCOUNT = "account"  # it refuses our key or account
    REDIRECT = "redirect"  # its address points elsewhere


@dataclass(frozen=True)
class Verdict:
    """What becomes of an order and its attempt.

    `dispatch` is ACCEPTED, REJECTED (refund), QUEUED (again after `delay`) or UNKNOWN. `answer`
    comes from the client, cut and without the key. `target` is the host a redirect points at.
    """

    dispatch: Dispatch
    outcome: Outcome
    signal: Signal
    reason: str = ""
    kind: str = ""
    waiting_for: str = ""
    delay: timedelta = timedelta(0)
    attention: str = ""
    upstream_id: str = ""
    answer: str = ""
    http_status: int | None = None
    target: str = ""
    holds_service: bool = False


@dataclass(frozen=True)
class _Backoff:
    """The wait before the next try: doubling from `first` to `longest` seconds."""

    first: int
    longest: int

    def delay(self, tries: int, jitter: float) -> timedelta:
        seconds = self.first * 2 ** min(tries - 1, 20)
        # Jitter only lengthens, so that a crowd of orders spreads and none comes early.
        return timedelta(seconds=min(self.longest, seconds * (1 + jitter / 4)))


NOT_SENT_BACKOFF = _Backoff(first=15, longest=600)
# Kinds of refusal after which nothing was placed and the same order may be sent again.
_WAITS = {
    Kind.FUNDS: _Backoff(first=60, longest=60),
    Kind.ACCOUNT: _Backoff(first=60, longest=60),
    Kind.DUPLICATE_LINK: _Backoff(first=120, longest=1800),
    Kind.RATE_LIMIT: _Backoff(first=15, longest=600),
    Kind.UNAVAILABLE: _Backoff(first=60, longest=600),
}
_SIGNALS = {
    Kind.FUNDS: Signal.FUNDS,
    Kind.ACCOUNT: Signal.ACCOUNT,
    Kind.RATE_LIMIT: Signal.NOT_SENT,
}


def judge(result: Result, *, tries: int, jitter: float) -> Verdict:
    """Decide. `tries` counts this order's tries that ended alike, this one included.

    `jitter` is a number from 0 to 1. Whatever isn't provably unsent, placed or refused is
    unknown: the money is held, and nobody sends again by a guess.
    """
    if isinstance(result, Placed):
        return Verdict(
            dispatch=Dispatch.ACCEPTED,
            outcome=Outcome.ACCEPTED,
            signal=Signal.ANSWERED,
            upstream_id=result.order,
            answer=result.answer,
        )
    if isinstance(result, NotSent):
        return not_sent(result.reason, tries=tries, jitter=jitter)
    if isinstance(result, Rejected) and result.kind != Kind.UNRECOGNISED:
        return _refused(result, tries=tries, jitter=jitter)
    return _lost(result)


def not_sent(reason: str, *, tries: int, jitter: float) -> Verdict:
    """No byte left this machine: queued again after a wait."""
    return Verdict(
        dispatch=Dispatch.QUEUED,
        outcome=Outcome.NOT_SENT,
        signal=Signal.NOT_SENT,
        reason=reason,
        waiting_for="not_sent",
        delay=NOT_SENT_BACKOFF.delay(tries, jitter),
    )


def unsendable(reason: str) -> NotSent:
    """What to judge when the client was never asked to send, or its hook failed."""
    return NotSent(reason)


def unknown(reason: str, *, attention: str = "unknown", answer: str = "") -> Verdict:
    """It may have been placed: the money is held until someone knows."""
    return Verdict(
        dispatch=Dispatch.UNKNOWN,
        outcome=Outcome.UNKNOWN,
        signal=Signal.UNKNOWN,
        reason=reason,
        attention=attention,
        answer=answer,
    )


def _refused(refusal: Rejected, *, tries: int, jitter: float) -> Verdict:
    kind = Kind(refusal.kind)
    wait = _WAITS.get(kind)
    return Verdict(
        dispatch=Dispatch.QUEUED if wait else Dispatch.REJECTED,
        outcome=Outcome.REJECTED,
        signal=_SIGNALS.get(kind, Signal.ANSWERED),
        reason=refusal.text,
        kind=kind.value,
        waiting_for=kind.value if wait else "",
        delay=wait.delay(tries, jitter) if wait else timedelta(0),
        attention="account" if kind == Kind.ACCOUNT else "",
        answer=refusal.answer,
        http_status=refusal.http_status,
        holds_service=kind == Kind.SERVICE,
    )


def _lost(error: UpstreamError) -> Verdict:
    vague = isinstance(error, Rejected)
    target = error.location if isinstance(error, OutcomeUnknown) else ""
    redirected = isinstance(error, OutcomeUnknown) and error.reason == "redirect"
    return Verdict(
        dispatch=Dispatch.UNKNOWN,
        outcome=Outcome.UNKNOWN,
        signal=Signal.REDIRECT if redirected else Signal.UNKNOWN,
        reason=error.text if isinstance(error, Rejected) else str(error),
        kind=Kind.UNRECOGNISED.value if vague else "",
        attention="unrecognised" if vague else "unknown",
        answer=error.answer,
        http_status=error.http_status,
        target=target,
    )
