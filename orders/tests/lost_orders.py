"""Losing answers at a simulated provider, and letting time pass without waiting."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db.models import F
from django.utils import timezone

from accounts.models import User
from catalog.models import BalanceSample, Provider, Service
from orders import gates, reconcile
from orders.fulfilment import forward
from orders.models import Attempt, Order, Scan
from orders.reconcile import ReconcileReport
from orders.tests.worlds import order_of
from upstream.simulator import Simulator
from wallet.services import top_up

_MOMENTS: dict[type[Any], list[str]] = {
    Attempt: ["claimed_at", "sending_at", "finished_at"],
    Order: ["created_at", "sent_at"],
    BalanceSample: ["asked_at", "answered_at"],
    Scan: ["paused_until", "next_call_at", "review_until", "canary_at"],
}


def pass_time(seconds: float) -> None:
    """Move everything that was recorded into the past by this much."""
    for model, names in _MOMENTS.items():
        model.objects.update(**{name: F(name) - timedelta(seconds=seconds) for name in names})


def placed(customer: User, service: Service, quantity: int = 100, **more: str) -> Order:
    """An order that goes well, three seconds after the last."""
    pass_time(3)
    order = order_of(customer, service, quantity=quantity, **more)
    forward(order.pk)
    order.refresh_from_db()
    assert order.upstream_id
    return order


def history(customer: User, service: Service, count: int = 22) -> None:
    """As many accepted orders as a search wants to see, and then some minutes."""
    top_up(user=customer, amount=Decimal(1000), reference=f"history-{service.pk}")
    for _ in range(count):
        placed(customer, service, 50)
    pass_time(600)


def lose(
    simulator: Simulator,
    customer: User,
    service: Service,
    quantity: int,
    *,
    kind: str = "lost_after",
) -> Order:
    """An order whose answer is lost: carried out with "lost_after", not with "lost_before"."""
    pass_time(3)
    simulator.world.break_with("add", kind)
    order = order_of(customer, service, quantity=quantity)
    forward(order.pk)
    order.refresh_from_db()
    assert order.dispatch == "unknown"
    # One lost answer after the other opens the breaker, which is not what these tests are about.
    gates.resume(order.provider_id)
    return order


def look(times: int = 1, *, every: float = 5) -> ReconcileReport:
    """Run the job so often, with this many seconds between."""
    report = ReconcileReport()
    for _ in range(times):
        report += reconcile.reconcile_due()
        pass_time(every)
    return report


def allow_search(provider: Provider, **settings: Any) -> Scan:
    """As if the test had passed just now."""
    scan, _ = Scan.objects.update_or_create(
        provider=provider,
        defaults={
            "canary": Scan.Canary.PASSED,
            "canary_at": timezone.now(),
            "foreign_text": "incorrect order id",
            **settings,
        },
    )
    return scan


def status_calls(simulator: Simulator) -> int:
    """How many status calls the provider has counted."""
    return int(simulator.world.truth()["received"].get("status", 0))


def true_id(simulator: Simulator, order: Order) -> str | None:
    """The ID under which the provider really holds the order."""
    held = simulator.world.truth(order.link)["orders"]
    assert len(held) <= 1
    return str(held[0]["order"]) if held else None


def charge_of(quantity: int) -> Decimal:
    """What the provider takes for so many units."""
    return Decimal(quantity) / 1000
