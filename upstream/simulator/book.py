"""The provider's books: orders, refills, the balance, and what is due later.

A Book knows nothing of threads or of the wire; the World holds its lock and asks it.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from upstream.simulator.forms import Refusal
from upstream.simulator.ids import Ids
from upstream.simulator.life import Order, Refill, plan
from upstream.simulator.services import Service, money, read_services
from upstream.simulator.settings import Settings

FIRST_ID = 100_001
_MAX_START_COUNT = 5000


@dataclass(frozen=True, order=True)
class Event:
    """Something that happens at `due` (seconds since the epoch); `number` keeps their order."""

    due: float
    number: int
    kind: str
    order: str
    fields: tuple[tuple[str, str], ...] = ()


class Book:
    """Everything the provider remembers of one customer's account.

    Balance = started with + topped up - costs of all orders + everything given back, always.
    """

    def __init__(
        self,
        services: Iterable[Mapping[str, Any]],
        *,
        settings: Settings,
        balance: Decimal,
        seed: int,
        first_id: int = FIRST_ID,
    ) -> None:
        self.known: dict[str, Service] = {}
        self.services: dict[str, Service] = {}
        self.sell(services)
        self.settings = settings
        self.balance = balance
        self.paid_in = balance
        # Reproducible play, no secret.
        self.rng = random.Random(seed)  # noqa: S311
        self.ids = Ids(first_id, self.rng)
        self.orders: dict[str, Order] = {}
        self.refills: dict[str, Refill] = {}
        self.refills_of: dict[str, list[str]] = {}
        self.next_refill = 1
        self.events: list[Event] = []
        self.event_number = itertools.count(1)
        self.by_request: dict[str, str] = {}
        self.last_on_link: dict[tuple[str, str], str] = {}

    def sell(self, services: Iterable[Mapping[str, Any]]) -> None:
        """Replace the price list; orders of services that vanish keep their terms."""
        self.services = read_services(services)
        self.known |= self.services

    def schedule(
        self, due: float, kind: str, order: str, fields: Mapping[str, str] | None = None
    ) -> None:
        """Have `kind` happen at `due`."""
        number = next(self.event_number)
        event = Event(due, number, kind, order, tuple((fields or {}).items()))
        heapq.heappush(self.events, event)

    def pop_due(self, at: float) -> Event | None:
        """The next event that is due by then."""
        if not self.events or self.events[0].due > at:
            return None
        return heapq.heappop(self.events)

    def charge(self, amount: Decimal) -> None:
        """Take an amount from the balance; raises Refusal when it is not there."""
        if amount > self.balance:
            raise Refusal("Not enough funds on balance")
        self.balance -= amount

    def give_back(self, order: Order, total: Decimal) -> None:
        """Raise what was given back for an order to `total`, never above its price."""
        more = min(money(total), order.price) - order.given_back
        if more > 0:
            order.given_back += more
            self.balance += more

    def set_balance(self, balance: Decimal) -> None:
        """Top up (or take out) so that the balance is this."""
        self.paid_in += balance - self.balance
        self.balance = balance

    def open(self, service: Service, at: float, **facts: Any) -> Order:
        """Put an order on the books: charge it, give it an ID, plan its life.

        Facts are fields of Order; `link`, `quantity`, `price` and `cost` must be among them.
        Raises Refusal when the balance does not cover the cost, and then nothing is written.
        """
        self.charge(facts["cost"])
        outcome, life = plan(facts["link"], self.settings, self.rng)
        facts = {"kind": "order", "source": "api", "fields": {}} | facts
        order = Order(
            id=self.ids.take(self.settings, at),
            service=service.id,
            type=service.type,
            born=at,
            life=life,
            outcome=outcome,
            start_count=self.rng.randrange(_MAX_START_COUNT),
            **facts,
        )
        self.orders[order.id] = order
        self.last_on_link[order.service, order.link] = order.id
        if order.kind == "order":
            self.schedule(at + life, "end", order.id)
        return order

    def open_refill(self, order: Order, at: float) -> Refill:
        """Put a refill request on the books."""
        outcome = "Rejected" if "reject" in order.link.lower() else "Completed"
        refill = Refill(str(self.next_refill), order.id, at, self.settings.pace, outcome)
        self.next_refill += 1
        self.refills[refill.id] = refill
        self.refills_of.setdefault(order.id, []).append(refill.id)
        return refill
