"""The time that a request has, and whether a byte of it has left."""

import os
import socket
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self

from upstream.deadlines import clock


@dataclass(frozen=True)
class Timeouts:
    """Seconds: `connect` for each address and the TLS handshake, `read` for each wait for bytes,
    `total` for everything after the look-up of the name, however slowly bytes drip in."""

    connect: float = 10.0
    read: float = 30.0
    total: float = 35.0


class Exchange:
    """The clock and the book of one request: its deadline, and whether a byte has left.

    At the deadline the clock's thread shuts the socket down, which ends a wait in any phase, also
    when bytes drip so that no single wait times out. It works on a duplicate of the socket, because
    TLS takes the first one over and http.client closes its own before the body is read.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self.sent = False
        self.expired = False
        self._ends = time.monotonic() + timeouts.total
        self._lock = threading.Lock()
        self._lever: socket.socket | None = None

    def __enter__(self) -> Self:
        self._token = current.set(self)
        self._deadline = clock.call_in(self._ends - time.monotonic(), self._expire)
        return self

    def __exit__(self, *_: object) -> None:
        current.reset(self._token)
        self._deadline.cancel()
        with self._lock:
            self._drop()

    def remaining(self) -> float:
        """Return the seconds left, at least 0."""
        return 0.0 if self.expired else max(0.0, self._ends - time.monotonic())

    def hold(self, sock: socket.socket) -> None:
        """Keep a way to shut this connection at the deadline."""
        with self._lock:
            self._drop()
            self._lever = socket.socket(fileno=os.dup(sock.fileno()))
            if self.expired:
                self._pull()

    def _expire(self) -> None:
        with self._lock:
            self.expired = True
            self._pull()

    def _pull(self) -> None:
        if self._lever is None:
            return
        try:
            self._lever.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other side was faster

    def _drop(self) -> None:
        if self._lever is not None:
            self._lever.close()
            self._lever = None


# The exchange that this thread is in the midst of.
current: ContextVar[Exchange] = ContextVar("upstream_exchange")
