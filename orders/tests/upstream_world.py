"""A simulated provider that the tests' orders really are at."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.test import override_settings
from django.utils import timezone

from accounts.models import User
from catalog.models import Category, Provider, Service
from orders import polls
from orders.models import Attempt, Order
from orders.poll_models import Poll
from orders.services import place_order
from orders.states import Dispatch, Outcome, Status
from upstream.simulator import Settings, Simulator, World
from wallet.models import Account

KEY = "key-of-the-simulated-provider"

SERVICES: list[dict[str, Any]] = [
    {"service": 1, "name": "Followers", "type": "Default", "category": "A", "rate": "1.00",
     "min": "1", "max": "100000", "refill": True, "cancel": True, "dripfeed": True},
    {"service": 2, "name": "Pack", "type": "Package", "category": "A", "rate": "3.00",
     "min": "1", "max": "1", "refill": False, "cancel": False, "dripfeed": False},
    {"service": 3, "name": "Posts", "type": "Subscriptions", "category": "A", "rate": "1.00",
     "min": "10", "max": "1000", "refill": False, "cancel": True, "dripfeed": False},
]  # fmt: skip


@dataclass
class Upstream:
    """The simulator, the row that points at it, and its services on sale here at twice the cost."""

    simulator: Simulator
    provider: Provider
    services: dict[str, Service]

    @property
    def world(self) -> World:
        return self.simulator.world

    def place(self, customer: User, *, service: str = "1", **values: str) -> Order:
        """A paid order that has not been sent."""
        given = {"link": "https://example.com/p", "quantity": "1000"} if service == "1" else {}
        return place_order(
            customer=customer,
            service=self.services[service],
            values=given | values,
            client_token=uuid.uuid4(),
            allow_duplicate=True,
        )

    def accept(self, customer: User, *, service: str = "1", **values: str) -> Order:
        """A paid order that is at the provider; the worker's part is done here by hand."""
        order = self.place(customer, service=service, **values)
        with self.provider.client() as client:
            placed = client.add(order.service.upstream_id, order.parameters)
        now = timezone.now()
        Attempt.objects.create(
            order=order,
            number=1,
            outcome=Outcome.ACCEPTED,
            upstream_id=placed.order,
            sending_at=now,
        )
        Order.objects.filter(pk=order.pk).update(
            dispatch=Dispatch.ACCEPTED,
            upstream_id=placed.order,
            attempt_no=1,
            sent_at=now,
        )
        polls.follow(order_id=order.pk, provider_id=order.provider_id, due_at=now)
        order.refresh_from_db()
        return order

    def lose(self, customer: User, **values: str) -> Order:
        """A paid order whose answer was lost, an hour ago."""
        order = self.place(customer, **values)
        then = timezone.now() - timedelta(hours=1)
        Attempt.objects.create(
            order=order, number=1, outcome=Outcome.UNKNOWN, claimed_at=then, sending_at=then
        )
        Order.objects.filter(pk=order.pk).update(
            dispatch=Dispatch.UNKNOWN, attempt_no=1, sent_at=then
        )
        order.refresh_from_db()
        return order


def due(*orders: Order) -> None:
    """Have these orders asked about in the next poll, and give them their latest state."""
    Poll.objects.filter(pk__in=[order.pk for order in orders]).update(due_at=timezone.now())


def due_at(order: Order) -> datetime | None:
    """When the order is asked about next; None when it is not followed."""
    return Poll.objects.filter(pk=order.pk).values_list("due_at", flat=True).first()


def move_to(order: Order, provider: Provider) -> None:
    """Have an order that is followed be another provider's."""
    Order.objects.filter(pk=order.pk).update(provider=provider)
    Poll.objects.filter(pk=order.pk).update(provider=provider)


def end(order: Order) -> None:
    """Have the order be completed, without any of the code that does it."""
    Order.objects.filter(pk=order.pk).update(status=Status.COMPLETED, finished_at=timezone.now())
    Poll.objects.filter(pk=order.pk).delete()


def balance(user: User) -> Decimal:
    """What the customer has now."""
    found: Decimal = Account.objects.get(user=user).balance
    return found


@contextmanager
def running_upstream(rows: list[dict[str, Any]] = SERVICES, **chosen: Any) -> Iterator[Upstream]:
    """An open simulator that sells `rows`, and its row; keywords are the simulator's settings.

    Its clock stands still until a test advances it.
    """
    rules = Settings(pace=10, **chosen)
    with (
        Simulator(
            world=World(rows, key=KEY, settings=rules, clock=lambda: 1_780_000_000.0)
        ) as simulator,
        override_settings(ALLOW_PRIVATE_UPSTREAM=True),
    ):
        provider = Provider.objects.create(name="Simulated", url=simulator.url, api_key=KEY)
        category = Category.objects.create(name="Simulated")
        services = {
            str(row["service"]): Service.objects.create(
                provider=provider,
                category=category,
                upstream_id=str(row["service"]),
                name=row["name"],
                type=row["type"],
                order_type=row["type"].lower(),
                cost_rate=Decimal(row["rate"]),
                price_rate=Decimal(row["rate"]) * 2,
                min_quantity=int(row["min"]),
                max_quantity=int(row["max"]),
                refill=row["refill"],
                cancel=row["cancel"],
                dripfeed=row["dripfeed"],
            )
            for row in rows
        }
        yield Upstream(simulator=simulator, provider=provider, services=services)
