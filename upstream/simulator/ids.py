"""Order IDs: one sequence for all customers, with others ordering in between."""

from __future__ import annotations

import bisect
import random
import string
from collections.abc import Iterable

from upstream.simulator.settings import Settings

_ALPHABET = string.digits + string.ascii_uppercase


class Ids:
    """Hands out order IDs and remembers which ones went to other customers."""

    def __init__(self, first: int, rng: random.Random) -> None:
        self.next = first
        self.ranges: list[tuple[int, int]] = []
        self._rng = rng
        self._used: set[str] = set()
        self._counted_until: float | None = None

    def take(self, settings: Settings, at: float) -> str:
        """An ID for an order of ours, after whatever the neighbours took meanwhile."""
        self._neighbours(self._since_last(settings, at))
        if settings.neighbours_per_order:
            self._neighbours(self._rng.randint(0, settings.neighbours_per_order))
        if settings.ids == "sequence":
            self.next += 1
            return str(self.next - 1)
        return self._unused(settings.ids)

    def is_foreign(self, order_id: str) -> bool:
        """Whether another customer holds this ID."""
        if not (order_id.isascii() and order_id.isdigit()):
            return False
        number = int(order_id)
        at = bisect.bisect_right(self.ranges, number, key=lambda span: span[0]) - 1
        return at >= 0 and number <= self.ranges[at][1]

    def never_again(self, order_ids: Iterable[str]) -> None:
        """These IDs are in use already."""
        self._used.update(order_ids)

    def foreign_order(self, count: int) -> None:
        """Other customers place this many orders."""
        self._neighbours(count)

    def _since_last(self, settings: Settings, at: float) -> int:
        if self._counted_until is None or not settings.neighbours_per_second:
            self._counted_until = at
            return 0
        count = int((at - self._counted_until) * settings.neighbours_per_second)
        self._counted_until += count / settings.neighbours_per_second
        return count

    def _neighbours(self, count: int) -> None:
        if count <= 0:
            return
        if self.ranges and self.ranges[-1][1] == self.next - 1:
            self.ranges[-1] = (self.ranges[-1][0], self.next + count - 1)
        else:
            self.ranges.append((self.next, self.next + count - 1))
        self.next += count

    def _unused(self, kind: str) -> str:
        while True:
            made = self._random(kind)
            if made not in self._used:
                self._used.add(made)
                return made

    def _random(self, kind: str) -> str:
        if kind == "random":
            # Above the sequence, so that neither kind ever repeats the other.
            return str(self._rng.randint(10**9, 10**10 - 1))
        return "ord_" + "".join(self._rng.choices(_ALPHABET, k=16))
