"""How often providers are asked for statuses: by an order's age, after failures, within a budget.

When is decided on plain values; pauses and budgets are kept in the cache, so that they hold for every
process. Should the cache forget them, a provider is at worst asked a little early.
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.core.cache import cache

GIVE_UP_AFTER = timedelta(days=90)
# How long an order that is asked about for the last time is left alone, should no answer come.
LAST_CALL_LASTS = timedelta(hours=1)
FIRST_PAUSE = timedelta(seconds=15)
LONGEST_PAUSE = timedelta(minutes=10)
# Calls of one burst: runs are some seconds apart, and what was not called meanwhile is caught up with.
_BURST_SECONDS = 10.0
_WINDOW_SECONDS = 60.0


def next_poll(now: datetime, sent_at: datetime) -> datetime | None:
    """When to ask again: often for a young order, rarely for an old one, None after 90 days."""
    age = now - sent_at
    young = timedelta(seconds=settings.POLL_YOUNG_SECONDS)
    if age < timedelta(hours=1):
        return now + young
    if age < timedelta(days=1):
        return now + max(young, timedelta(minutes=10))
    if age < GIVE_UP_AFTER:
        return now + max(young, timedelta(hours=1))
    return None


def pause(failures: int) -> timedelta:
    """How long a provider is left alone after this many failed calls in a row."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * (1 << min(failures - 1, 10)))


def share(places: int, providers: int) -> int:
    """How many calls one of so many providers may have under way: a slow one takes no more."""
    return -(-places // max(1, providers))


def after_call(due: float, now: float, per_minute: int) -> float | None:
    """When the next call's turn is, in seconds like `now`; None when even this one must wait.

    `due` is what this gave for the call before. However the calls bunch, there are never more than
    `per_minute` in any 60 seconds.
    """
    if due - now > _BURST_SECONDS:
        return None
    return max(due, now) + (_WINDOW_SECONDS + _BURST_SECONDS) / per_minute


def may_call(provider_id: int, per_minute: int | None, now: float) -> bool:
    """Whether the provider's budget has a call left."""
    return per_minute is None or after_call(_due(provider_id), now, per_minute) is not None


def note_call(provider_id: int, per_minute: int | None, now: float) -> None:
    """Take a call from the provider's budget."""
    due = None if per_minute is None else after_call(_due(provider_id), now, per_minute)
    if due is not None:
        # Rounded up well: Redis keeps whole seconds, and forgets at once what is to live for none.
        cache.set(_budget_key(provider_id), due, due - now + _WINDOW_SECONDS)


def _due(provider_id: int) -> float:
    due: float = cache.get(_budget_key(provider_id), 0.0)
    return due


def _budget_key(provider_id: int) -> str:
    return f"orders-poll-budget-{provider_id}"


def is_paused(provider_id: int, now: datetime) -> bool:
    kept: tuple[int, datetime] | None = cache.get(_pause_key(provider_id))
    return kept is not None and kept[1] > now


def note_failure(provider_id: int, now: datetime, *, is_first: bool) -> datetime:
    """Remember a failed call and say until when to wait; calls that fail together count once."""
    failures = max(1, failures_of(provider_id) + is_first)
    until = now + pause(failures)
    cache.set(_pause_key(provider_id), (failures, until), LONGEST_PAUSE.total_seconds() * 2)
    return until


def forgive(provider_id: int) -> None:
    """A call succeeded."""
    if failures_of(provider_id):
        cache.delete(_pause_key(provider_id))


def failures_of(provider_id: int) -> int:
    """How many calls in a row the provider has not answered; calls that fail together count once."""
    kept: tuple[int, datetime] | None = cache.get(_pause_key(provider_id))
    return kept[0] if kept else 0


def _pause_key(provider_id: int) -> str:
    return f"orders-poll-pause-{provider_id}"
