"""Threads of one process that want an order to send claim together.

A claim locks the provider's gate, so one at a time is all that there can be. While one thread
claims, the others that come line up here, not at the database; the next claim is for all of them.
An order is never kept in stock: each that is claimed has a thread waiting to send it.
"""

import threading
from collections import defaultdict
from dataclasses import dataclass, field

from orders import claims
from orders.claims import Claim

# More at a time would go, come back and wait in step with each other.
AT_ONCE = 8


@dataclass(eq=False)
class _Ticket:
    """A thread that waits: called with a claim, with none, or to claim for all that wait."""

    called: threading.Event = field(default_factory=threading.Event)
    claim: Claim | None = None
    must_lead: bool = False


class _Line:
    """Those who wait for one provider's orders; the first to come leads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Ticket] = []
        self._is_led = False

    def next(self, provider_id: int) -> Claim | None:
        mine = _Ticket()
        with self._lock:
            self._waiting.append(mine)
            leads, self._is_led = not self._is_led, True
        if not leads:
            mine.called.wait()
            if not mine.must_lead:
                return mine.claim
        return self._lead(provider_id, mine)

    def _lead(self, provider_id: int, mine: _Ticket) -> Claim | None:
        """Claim for all that wait now; then one of those that came meanwhile leads."""
        with self._lock:
            served = self._waiting[:AT_ONCE]
            del self._waiting[:AT_ONCE]
        try:
            claimed = claims.claim_many(provider_id, len(served))
            for ticket, claim in zip(served, claimed, strict=False):
                ticket.claim = claim
        finally:
            # Also when the database failed: then the others find nothing, and the sweep finds them.
            self._hand_over()
            for ticket in served:
                ticket.called.set()
        return mine.claim

    def _hand_over(self) -> None:
        with self._lock:
            self._is_led = bool(self._waiting)
            if self._waiting:
                self._waiting[0].must_lead = True
                self._waiting[0].called.set()


_lines: defaultdict[int, _Line] = defaultdict(_Line)
_lines_lock = threading.Lock()


def claim_next(provider_id: int) -> Claim | None:
    """Claim the oldest due order of this provider that may run now."""
    with _lines_lock:
        line = _lines[provider_id]
    return line.next(provider_id)
