"""A panel with a simulated provider, and the oracle that compares the two."""

import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from catalog.models import Category, Provider, Service
from orders.models import Attempt, Gate, Order
from orders.services import place_order
from orders.states import Dispatch, Status
from upstream.simulator import Simulator
from wallet.models import Account, Entry

KEY = "canary-key-6f1d"
# One service of the simulator's price list: 1 per 1000, 10 to 10,000 units.
FOLLOWERS: dict[str, Any] = {
    "service": 1,
    "name": "Followers, fast",
    "type": "Default",
    "category": "Followers",
    "rate": "1",
    "min": "10",
    "max": "10000",
    "refill": True,
    "cancel": True,
    "dripfeed": True,
}


def buy_from(simulator: Simulator, **fields: Any) -> Service:
    """A provider at the simulator and its one service, sold at twice its rate."""
    provider = Provider.objects.create(name="Simulated", url=simulator.url, api_key=KEY, **fields)
    return Service.objects.create(
        provider=provider,
        category=Category.objects.get_or_create(name="Followers")[0],
        upstream_id="1",
        name="Followers, fast",
        type="Default",
        order_type="default",
        cost_rate=1,
        price_rate=2,
        min_quantity=10,
        max_quantity=10_000,
        dripfeed=True,
    )


def order_of(customer: User, service: Service, *, link: str = "", quantity: int = 100) -> Order:
    """An order on a link of its own, so that the oracle can tell orders apart."""
    return place_order(
        customer=customer,
        service=service,
        values={"link": link or f"https://example.com/{uuid.uuid4()}", "quantity": str(quantity)},
        client_token=uuid.uuid4(),
        allow_duplicate=True,
    )


def make_due(orders: "QuerySet[Order] | Order") -> None:
    """Let the waiting time of orders be over."""
    rows = Order.objects.filter(pk=orders.pk) if isinstance(orders, Order) else orders
    rows.update(not_before=timezone.now() - timedelta(seconds=1))


def expire_lease(order: Order) -> None:
    """Let the time that a worker has for this order be over."""
    Order.objects.filter(pk=order.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def let_gate_time_pass(provider: Provider) -> None:
    """Let the breaker's time and the wait between probes be over."""
    past = timezone.now() - timedelta(seconds=1)
    Gate.objects.filter(provider=provider, open_until__isnull=False).update(open_until=past)
    Gate.objects.filter(provider=provider).update(probe_at=past)


def placed_on(simulator: Simulator, link: str) -> list[str]:
    """The IDs of the orders that the simulator really holds on this link."""
    return [str(order["order"]) for order in simulator.world.truth(link)["orders"]]


def balance_of(user: User) -> Decimal:
    return Decimal(Account.objects.get(user=user).balance)


def assert_sound(simulator: Simulator) -> None:
    """The oracle: orders, money and attempts agree with each other and with the provider's truth.

    No order is placed twice; an accepted one is placed once, under its ID; a rejected or
    withdrawn one is not placed and is refunded; the ledger adds up; the key is nowhere.
    """
    for order in Order.objects.all():
        placements = placed_on(simulator, order.link)
        assert len(placements) <= 1, f"{order} was placed {len(placements)} times"
        if order.dispatch == Dispatch.ACCEPTED:
            assert placements == [order.upstream_id]
        if order.dispatch in {Dispatch.REJECTED, Dispatch.WITHDRAWN}:
            assert placements == []
            assert order.refunded == order.charge
            assert order.status == Status.CANCELED
    assert_ledger_adds_up()
    for attempt in Attempt.objects.all():
        assert KEY not in attempt.answer + attempt.reason


def assert_ledger_adds_up() -> None:
    """Every balance is the sum of its entries, and every order's money is what its row says."""
    for account in Account.objects.all():
        amounts = account.entries.values_list("amount", flat=True)
        assert sum(amounts, Decimal(0)) == account.balance
    for order in Order.objects.all():
        entries = Entry.objects.filter(order_number=order.pk)
        charges = [entry.amount for entry in entries if entry.kind == Entry.Kind.CHARGE]
        refunds = [entry.amount for entry in entries if entry.kind != Entry.Kind.CHARGE]
        assert charges == [-order.charge]
        assert sum(refunds, Decimal(0)) == order.refunded
