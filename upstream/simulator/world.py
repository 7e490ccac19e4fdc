"""A simulated provider without its wire: requests in, answers out, truth on request.

One lock guards everything. Time comes from a clock that can be moved forward.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from upstream.simulator import course
from upstream.simulator.answers import ACTIONS, Fields, Json, error
from upstream.simulator.book import FIRST_ID, Book, Event
from upstream.simulator.faults import REWRITES, Fault, FaultPlan, Told
from upstream.simulator.forms import Refusal
from upstream.simulator.life import OUTCOMES_THAT_END, Order
from upstream.simulator.services import shipped_catalogue
from upstream.simulator.settings import Settings
from upstream.simulator.truth import Counts, describe

_SECRETS = {"key", "action"}


@dataclass(frozen=True)
class Reply:
    """What the World says to a request: an answer, and the fault that spoils it, if any."""

    answer: Json
    fault: Fault | None = None


class World:
    """One provider with one customer account; safe to use from any thread.

    clock gives seconds since the epoch. Without services it sells the shipped catalogue.
    scripted: answers given by heart, by the sorted fields of the request without its key.
    """

    def __init__(
        self,
        services: Iterable[Mapping[str, Any]] | None = None,
        *,
        key: str = "simulator-key",
        balance: Decimal = Decimal(1000),
        settings: Settings | None = None,
        seed: int = 0,
        clock: Callable[[], float] = time.time,
        first_id: int = FIRST_ID,
    ) -> None:
        self.lock = threading.RLock()
        self.counts = Counts()
        self.offset = 0.0
        self.scripted: dict[tuple[tuple[str, str], ...], Json] = {}
        self._key = key
        self._clock = clock
        self._last: dict[str, Json] = {}
        self.book = Book(
            shipped_catalogue() if services is None else services,
            settings=settings or Settings(),
            balance=balance,
            seed=seed,
            first_id=first_id,
        )
        self.faults = FaultPlan(self.book.rng)

    @property
    def balance(self) -> Decimal:
        """What is left on the account."""
        with self.lock:
            self._catch_up()
            return self.book.balance

    @property
    def orders(self) -> list[Order]:
        """Every order of ours it holds, oldest first."""
        with self.lock:
            self._catch_up()
            return list(self.book.orders.values())

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.book.settings

    def now(self) -> float:
        """Its time, in seconds since the epoch."""
        return self._clock() + self.offset

    def advance(self, seconds: float) -> None:
        """Move its clock forward and let everything due until then happen."""
        if seconds < 0:
            raise ValueError("time goes forward")
        with self.lock:
            self.offset += seconds
            self._catch_up()

    def change(self, **settings: Any) -> None:
        """Change settings; raises ValueError for one it does not have."""
        with self.lock:
            self._catch_up()
            self.book.settings = self.book.settings.changed(**settings)

    def sell(self, services: Iterable[Mapping[str, Any]]) -> None:
        """Replace the price list."""
        with self.lock:
            self.book.sell(services)

    def set_balance(self, balance: Decimal) -> None:
        """Top the account up to this, or take money out."""
        with self.lock:
            self._catch_up()
            self.book.set_balance(balance)

    def break_with(self, action: str, kind: str, **options: Any) -> None:
        """Switch a fault on; raises ValueError or TypeError for one that does not exist."""
        with self.lock:
            self.faults.add(Fault(action, kind, **options))

    def heal(self) -> None:
        """Switch all faults off."""
        with self.lock:
            self.faults.clear()

    def take_fault(self, action: str) -> Fault | None:
        """The fault for a request of which no more is known; it counts as used."""
        with self.lock:
            return self.faults.take(action, {})

    def reply(self, fields: Fields) -> Reply:
        """Take a request as it comes from the wire, faults included."""
        action = fields.get("action", "")
        with self.lock:
            self.counts.received[action if action in ACTIONS else "other"] += 1
            fault = self.faults.take(action, fields)
            if fault is None:
                return Reply(self.answer(fields))
            if fault.kind == "late":
                self._postpone(fields, fault.seconds)
            last = self._last.get(action)
            answer = self.answer(fields) if fault.processes else error("not processed")
            rewrite = REWRITES.get(fault.kind)
            if rewrite:
                answer = rewrite(answer, Told(fault, fields, self.book, last))
            return Reply(answer, fault)

    def refuse(self) -> Reply:
        """Answer what is no call of the API: another path, another method."""
        with self.lock:
            self.counts.received["other"] += 1
        return Reply(error("Incorrect request"))

    def answer(self, fields: Fields) -> Json:
        """Process a request and answer it, without faults."""
        with self.lock:
            self._catch_up()
            answer = self._answer(fields)
            self._last[fields.get("action", "")] = answer
            return answer

    def place_by_hand(self, service: str, **fields: str) -> str:
        """Someone orders on the provider's site with our account; gives the order's ID."""
        with self.lock:
            self._catch_up()
            found = self.book.services[service]
            return course.place(self.book, found, fields, self.now(), source="hand").id

    def others_order(self, count: int) -> None:
        """Other customers place this many orders, each taking an ID."""
        with self.lock:
            self.book.ids.foreign_order(count)

    def force(self, order_id: str, **shown: Any) -> None:
        """Set what an order answers: status, remains, charge, start_count, as given.

        A status that ends an order ends it here too, even after another end, and gives money
        back up to what it would; money once given back stays so.
        An empty call ends the forcing. Raises KeyError for an order it does not hold.
        """
        with self.lock:
            self._catch_up()
            order = self.book.orders[order_id]
            order.forced = {**order.forced, **shown} if shown else {}
            if shown.get("status") in OUTCOMES_THAT_END:
                left = str(shown.get("remains", order.quantity)).strip()
                remains = int(left) if left.isdecimal() else 0
                course.finish(self.book, order, shown["status"], min(remains, order.quantity))

    def truth(self, link: str = "") -> dict[str, Any]:
        """Everything it holds, for comparing; with a link, only orders on that link."""
        with self.lock:
            self._catch_up()
            return describe(self.book, self.counts, self.now(), link)

    def _answer(self, fields: Fields) -> Json:
        if fields.get("key") != self._key:
            return error("Invalid API key")
        action = fields.get("action", "")
        if action not in ACTIONS:
            return error("Incorrect request")
        asked = tuple(sorted((name, each) for name, each in fields.items() if name != "key"))
        if asked in self.scripted:
            return self.scripted[asked]
        own = {name: each for name, each in fields.items() if name not in _SECRETS}
        return self._process(action, own, self.now())

    def _process(self, action: str, fields: Fields, at: float) -> Json:
        try:
            answer = ACTIONS[action](self.book, fields, at)
        except Refusal as refusal:
            return error(str(refusal))
        self.counts.processed[action] += 1
        return answer

    def _postpone(self, fields: Fields, seconds: float) -> None:
        if fields.get("key") != self._key or fields.get("action") not in ACTIONS:
            return
        kept = {name: each for name, each in fields.items() if name != "key"}
        self.book.schedule(self.now() + seconds, "late", "", kept)

    def _catch_up(self) -> None:
        """Let everything that is due by now happen, in its order and at its own time."""
        now = self.now()
        while event := self.book.pop_due(now):
            self._happen(event)

    def _happen(self, event: Event) -> None:
        if event.kind == "late":
            fields = dict(event.fields)
            self._process(fields.pop("action"), fields, event.due)
            return
        order = self.book.orders[event.order]
        course.HAPPENINGS[event.kind](self.book, order, event.due)
