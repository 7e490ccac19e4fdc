"""Counting how often something happens, in the cache that all processes share."""

import hashlib
import logging
import time

from django.core.cache import cache
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

_MINUTE = 60


def hit(name: str, *, limit: int) -> int:
    """Count one more of `name` in this minute; the seconds to wait when it is above the limit.

    0 means go on. While the cache is away nothing is limited: orders matter more.
    """
    try:
        count = _increment(name)
    except RedisError as exc:
        logger.warning("Rate limits are off, the cache is away: %s", type(exc).__name__)
        return 0
    return _seconds_left() if count > limit else 0


def wait(name: str, *, limit: int) -> int:
    """The seconds to wait when `name` was counted `limit` times in this minute; counts nothing."""
    try:
        count = cache.get(_place(name), 0)
    except RedisError:
        return 0
    return _seconds_left() if count >= limit else 0


def remember(name: str, *, seconds: int) -> None:
    """Note that something happened lately."""
    try:
        cache.set(_key(name), 1, seconds)
    except RedisError:
        return


def is_remembered(name: str) -> bool:
    """Whether `remember` was called for this name within its time."""
    try:
        return cache.get(_key(name)) is not None
    except RedisError:
        return False


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
