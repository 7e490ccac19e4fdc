"""Counting how often something happens, in the cache that all processes share."""

import hashlib
import time

from django.core.cache import cache

_MINUTE = 60


def hit(name: str, *, limit: int) -> int:
    """Count one more of `name` in this minute; the seconds to wait when it is above the limit.

    0 means go on. While the cache is away nothing is limited: orders matter more.
    """
    return _seconds_left() if _increment(name) > limit else 0


def wait(name: str, *, limit: int) -> int:
    """The seconds to wait when `name` was counted `limit` times in this minute; counts nothing."""
    return _seconds_left() if cache.get(_place(name), 0) >= limit else 0


def remember(name: str, *, seconds: int) -> None:
    """Note that something happened lately."""
    cache.set(_key(name), 1, seconds)


def is_remembered(name: str) -> bool:
    """Whether `remember` was called for this name within its time."""
    return cache.get(_key(name)) is not None


def _increment(name: str) -> int:
    place = _place(name)
    cache.add(place, 0, 2 * _MINUTE)
    try:
        return int(cache.incr(place))
    except ValueError:
        return 1  # pushed out of the cache between the two


def _key(name: str) -> str:
    # An address may hold characters that some caches don't take.
    return f"throttle-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _place(name: str) -> str:
    return f"{_key(name)}-{int(time.time()) // _MINUTE}"


def _seconds_left() -> int:
    return _MINUTE - int(time.time()) % _MINUTE
