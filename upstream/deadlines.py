"""One thread that calls back at deadlines; a timer of each request's own would be a thread of its own."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(order=True)
class Deadline:
    """A moment of the monotonic clock, and what to call then unless it was cancelled."""

    at: float
    number: int
    call: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        """Forget it; a call that has begun goes on."""
        self.call = None


class Clock:
    """Calls back from a thread of its own, which begins with the first deadline."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[Deadline] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def call_in(self, seconds: float, call: Callable[[], None]) -> Deadline:
        """Call once after so many seconds; the call must be short and raise nothing."""
        with self._changed:
            deadline = Deadline(time.monotonic() + seconds, next(self._numbers), call)
            heapq.heappush(self._heap, deadline)
            # After a fork the thread is not there.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif self._heap[0] is deadline:
                self._changed.notify()
        return deadline

    def _run(self) -> None:
        while True:
            call = self._next().call
            if call is not None:
                call()

    def _next(self) -> Deadline:
        """Wait for the first deadline; cancelled ones are left out when their time has come."""
        with self._changed:
            while True:
                wait = self._heap[0].at - time.monotonic() if self._heap else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._heap)
                self._changed.wait(wait)


clock = Clock()
