"""The shared cache when its server may be away: then it is empty, and nothing else breaks.

What lives here is politeness (rate limits, back-off, prepared pages), never money or state, so a
customer signs in and orders while Redis is restarted. After a failure it is left alone for a while:
a frozen server would otherwise cost every request its time-out again.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

T = TypeVar("T")

logger = logging.getLogger(__name__)

REST_SECONDS = 10.0


class ForgivingRedisCache(RedisCache):
    """Django's Redis cache; while its server is away every key is missing and no write is kept."""

    # By server, for all of a process's threads: each has an instance of its own.
    _rests_until: ClassVar[dict[str, float]] = {}

    def _try(self, work: Callable[[], T], otherwise: T) -> T:
        server = str(self._servers)  # type: ignore[attr-defined] # the stubs lack it
        if time.monotonic() < self._rests_until.get(server, 0.0):
            return otherwise
        try:
            return work()
        except RedisError as error:
            self._rests_until[server] = time.monotonic() + REST_SECONDS
            logger.warning("the cache is away: %s", type(error).__name__)
            return otherwise

    def add(self, *args: Any, **kwargs: Any) -> bool:
        return self._try(lambda: super(ForgivingRedisCache, self).add(*args, **kwargs), True)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return self._try(
            lambda: super(ForgivingRedisCache, self).get(key, default, version), default
        )

    def set(self, *args: Any, **kwargs: Any) -> None:
        self._try(lambda: super(ForgivingRedisCache, self).set(*args, **kwargs), None)

    def touch(self, *args: Any, **kwargs: Any) -> bool:
        return self._try(lambda: super(ForgivingRedisCache, self).touch(*args, **kwargs), False)

    def delete(self, *args: Any, **kwargs: Any) -> bool:
        return self._try(lambda: super(ForgivingRedisCache, self).delete(*args, **kwargs), False)

    def get_many(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return self._try(lambda: super(ForgivingRedisCache, self).get_many(*args, **kwargs), {})

    def has_key(self, *args: Any, **kwargs: Any) -> bool:
        return self._try(lambda: super(ForgivingRedisCache, self).has_key(*args, **kwargs), False)

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        counted = self._try(
            lambda: super(ForgivingRedisCache, self).incr(key, delta, version), None
        )
        if counted is None:
            raise ValueError("no such key")  # as for a key that is missing
        return int(counted)

    def set_many(self, *args: Any, **kwargs: Any) -> list[Any]:
        return self._try(lambda: super(ForgivingRedisCache, self).set_many(*args, **kwargs), [])

    def delete_many(self, *args: Any, **kwargs: Any) -> None:
        self._try(lambda: super(ForgivingRedisCache, self).delete_many(*args, **kwargs), None)

    def clear(self) -> None:
        self._try(lambda: super(ForgivingRedisCache, self).clear(), None)
