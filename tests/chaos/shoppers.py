"""Customers of a chaos run: they order over HTTP and through the service, and never give up.

Each order has a link and a form token of its own. A customer whose page fails sends the same form
again until it is answered, as people do; so each token must end as exactly one order.
"""

import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

import requests
from django.db import Error, OperationalError, close_old_connections, connection

from accounts.models import User
from catalog.models import Service
from catalog.pricing import charge
from orders.services import place_order, withdraw
from tests.visitor import Visitor

PASSWORD = "a-Long-passw0rd"
_PATIENCE = 240.0


@dataclass
class Orders:
    """What was ordered, by token; guarded by the lock. Shopping ends at `most`, if there is one."""

    most: int = 0

    told: set[uuid.UUID] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest_page: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def are_enough(self) -> bool:
        return 0 < self.most <= len(self.told)

    def note(self, token: uuid.UUID, way: str) -> None:
        with self.lock:
            self.told.add(token)
            self.counts[way] += 1

    def fail(self, sentence: str) -> None:
        with self.lock:
            self.failures.append(sentence)


@dataclass(frozen=True)
class Shopper:
    """One customer, ordering at a steady rate until told to stop."""

    user: User
    services: list[Service]
    orders: Orders
    stop: threading.Event
    pause: float
    seed: int

    def buy_through_the_service(self) -> None:
        """In this process, as an import or an API would; some are withdrawn at once."""
        chance = random.Random(self.seed)
        while not self.stop.wait(chance.expovariate(1 / self.pause)):
            if not self.orders.are_enough:
                self._place(chance)
        connection.close()

    def _place(self, chance: random.Random) -> None:
        token, link = uuid.uuid4(), _link()
        values = {"link": link, "quantity": str(chance.randrange(10, 2000))}
        service = chance.choice(self.services)
        ends = time.monotonic() + _PATIENCE
        while True:
            try:
                order = place_order(
                    customer=self.user, service=service, values=values, client_token=token
                )
                break
            except OperationalError:
                connection.close()
                if time.monotonic() > ends:
                    self.orders.fail(f"place_order never succeeded for {token}")
                    return
        self.orders.note(token, "service")
        if chance.random() < 0.03:
            self._withdraw(order.pk)

    def _withdraw(self, order_id: int) -> None:
        try:
            if withdraw(order_id, actor=self.user):
                with self.orders.lock:
                    self.orders.counts["withdrawn"] += 1
        except Error:
            close_old_connections()

    def buy_over_http(self, site: str) -> None:
        """Through the pages; a form whose answer is lost is sent again, with the same token."""
        chance = random.Random(self.seed)
        visitor = Visitor(site)
        signed_in = False
        while not self.stop.wait(chance.expovariate(1 / self.pause)):
            try:
                if not signed_in:
                    visitor.sign_in(self.user.email, PASSWORD)
                    signed_in = True
            except (requests.RequestException, AssertionError, ValueError):
                continue
            if not self.orders.are_enough:
                self._order(visitor, chance)

    def _order(self, visitor: Visitor, chance: random.Random) -> None:
        service = chance.choice(self.services)
        quantity = chance.randrange(10, 2000)
        fields = {
            "service": str(service.pk),
            "token": str(uuid.uuid4()),
            "link": _link(),
            "quantity": str(quantity),
            "seen_charge": str(_charge(service, quantity)),
            "action": "place",
        }
        ends = time.monotonic() + _PATIENCE
        while not self._sent(visitor, fields):
            if time.monotonic() > ends:
                self.orders.fail(f"the page never placed {fields['token']}")
                return
            time.sleep(0.3)
        if chance.random() < 0.1:
            self._sent(visitor, fields)  # pressed twice

    def _sent(self, visitor: Visitor, fields: dict[str, str]) -> bool:
        begun = time.monotonic()
        try:
            placed = visitor.send_order(fields)
        except requests.RequestException:
            with self.orders.lock:
                self.orders.counts["pages lost"] += 1
            return False
        if placed:
            with self.orders.lock:
                took = time.monotonic() - begun
                self.orders.slowest_page = max(self.orders.slowest_page, took)
                self.orders.counts["http"] += uuid.UUID(fields["token"]) not in self.orders.told
                self.orders.told.add(uuid.UUID(fields["token"]))
        return placed


def _link() -> str:
    return f"https://example.com/{uuid.uuid4()}"


def _charge(service: Service, quantity: int) -> Decimal:
    return charge(service.price_rate, quantity, flat=False)
