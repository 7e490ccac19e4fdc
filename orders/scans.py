"""Asking a provider about IDs: whether that is allowed now, politely, and what comes back.

One call in three seconds, a limit per day, and any refusal, failure or unusual answer ends it for
ten minutes. The row of a provider is only changed by conditional updates, so two processes that
look at the same time make one call.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Case, F, Q, Value, When

from catalog.models import Provider
from orders.models import Scan
from upstream.answers import ItemError, OrderStatus
from upstream.client import MAX_IDS
from upstream.errors import UpstreamError
from upstream.verdicts import normalise

logger = logging.getLogger(__name__)

CALL_EVERY = timedelta(seconds=3)
PAUSE = timedelta(minutes=10)
REVIEW = timedelta(days=30)
# IDs are numbers that fit the database's; anything else can't be counted through.
_MOST_DIGITS = 18

Answers = Mapping[str, OrderStatus | ItemError]


@dataclass(frozen=True)
class Stop:
    """Why a scan ended before its answer could be used; a constant text, never the answer's."""

    note: str


def scan_of(provider: Provider) -> Scan:
    """The provider's row, made the first time."""
    return Scan.objects.get_or_create(provider=provider)[0]


def number_of(upstream_id: str) -> int | None:
    """An ID as a number; None for one that is none."""
    text = upstream_id.strip()
    if not (text.isascii() and text.isdecimal()) or len(text) > _MOST_DIGITS:
        return None
    return int(text)


def is_resting(scan: Scan, now: datetime) -> bool:
    """Whether nothing may be asked now: switched off, or after a stop."""
    return not scan.is_enabled or (scan.paused_until is not None and scan.paused_until > now)


def take_calls(scan: Scan, now: datetime, count: int = 1) -> bool:
    """Reserve the right to `count` calls now; False when it is too soon, or enough for today."""
    today = now.date()
    # The day begins anew with the first call of another date.
    below = ~Q(calls_on=today) | Q(calls_on=None) | Q(calls_today__lte=F("calls_per_day") - count)
    due = Q(next_call_at=None) | Q(next_call_at__lte=now)
    rested = Q(paused_until=None) | Q(paused_until__lte=now)
    taken = Scan.objects.filter(due, below, rested, pk=scan.pk, is_enabled=True).update(
        next_call_at=now + count * CALL_EVERY,
        calls_today=Case(When(calls_on=today, then=F("calls_today") + count), default=Value(count)),
        calls_on=today,
    )
    return bool(taken)


def rest(scan: Scan, note: str, now: datetime) -> None:
    """Leave the provider alone for a while."""
    Scan.objects.filter(pk=scan.pk).update(paused_until=now + PAUSE, pause_note=note[:300])
    logger.warning("scan stopped provider=%s: %s", scan.provider_id, note)


def ask(provider: Provider, ids: Sequence[int | str]) -> Answers | Stop:
    """Ask for the status of up to 100 IDs. Call outside transactions."""
    if len(ids) > MAX_IDS:
        raise ValueError("at most 100 IDs in a call")
    try:
        with provider.client() as client:
            return client.statuses([str(each) for each in ids])
    except UpstreamError as error:
        # The type and the HTTP status alone: an answer's text has no place in a log.
        status = f" HTTP {error.http_status}" if error.http_status else ""
        return Stop(f"{type(error).__name__}{status}")


def unusual(answers: Answers, *, control: str, foreign_text: str) -> str:
    """Why answers to a scan prove nothing; empty when they are like those of the test.

    Our own order among them must answer with data, and every other ID with data or with the very
    refusal that the test has met.
    """
    if not isinstance(answers.get(control), OrderStatus):
        return "our own order was not answered"
    for answer in answers.values():
        if isinstance(answer, OrderStatus):
            continue
        if answer.missing or normalise(answer.text) != foreign_text:
            return "an answer of another shape"
    return ""
