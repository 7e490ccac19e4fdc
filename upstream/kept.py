"""Connections that carried one submission and may carry the next: for a second, no longer.

A provider may close an idle connection at the very moment in which an order is written to it, and
then nobody knows whether it was read. So a connection is used again only while it is warm: servers
are known to wait two seconds and more. One that is closed or has unasked bytes on it never is.
"""

import ssl
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, field

from urllib3.connection import HTTPConnection

IDLE_SECONDS = 1.0
# Then the name is looked up, and its addresses checked, anew: a provider may move.
AGE_SECONDS = 60.0


@dataclass(eq=False)
class Warm:
    """An open connection, since when it is open, and since when nobody uses it."""

    connection: HTTPConnection
    opened: float = field(default_factory=time.monotonic)
    idle_since: float = field(default_factory=time.monotonic)

    @property
    def is_cold(self) -> bool:
        now = time.monotonic()
        return now - self.idle_since > IDLE_SECONDS or now - self.opened > AGE_SECONDS

    @property
    def is_usable(self) -> bool:
        """Whether it is warm and open, and nothing came on it unasked."""
        return not self.is_cold and self.is_open

    @property
    def is_open(self) -> bool:
        """Whether it is young and open, and nothing came on it unasked: enough for a read."""
        if time.monotonic() - self.opened > AGE_SECONDS or not self.connection.is_connected:
            return False
        sock = self.connection.sock
        return not (isinstance(sock, ssl.SSLSocket) and sock.pending())


class Kept:
    """The warm connections of a process by where they lead; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Hashable, list[Warm]] = {}

    def take(self, target: Hashable) -> Warm | None:
        """The one that was used last and is usable; it is the caller's from now on."""
        while True:
            with self._lock:
                idle = self._idle.get(target)
                if not idle:
                    return None
                latest = idle.pop()
            if latest.is_usable:
                return latest
            latest.connection.close()

    def give(self, target: Hashable, warm: Warm) -> None:
        """Keep it for the next; those that have grown cold are closed."""
        warm.idle_since = time.monotonic()
        cold = []
        with self._lock:
            idle = self._idle.setdefault(target, [])
            while idle and idle[0].is_cold:
                cold.append(idle.pop(0))
            idle.append(warm)
        for each in cold:
            each.connection.close()

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            idle = [warm for each in self._idle.values() for warm in each]
            self._idle.clear()
        for each in idle:
            each.connection.close()
