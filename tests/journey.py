"""The main job, as a customer sees it: three orders, three endings, and every cent in its place."""

from decimal import ROUND_DOWN, Decimal

from tests.visitor import Placed, Seen, Visitor

STEP = Decimal("0.00001")


def order_three(visitor: Visitor) -> dict[str, Placed]:
    """Place an order that completes, one that ends Partial and one that ends Canceled."""
    service = visitor.simple_service(cheapest_of="followers")
    quantity = 1000
    return {
        "Completed": visitor.order(service, link="https://example.com/me", quantity=quantity),
        "Partial": visitor.order(service, link="https://example.com/partial", quantity=quantity),
        "Canceled": visitor.order(service, link="https://example.com/cancel", quantity=quantity),
    }


def watch_three(visitor: Visitor, orders: dict[str, Placed], *, balance_before: Decimal) -> None:
    """Wait for each ending and reckon the money independently of the panel."""
    seen = {status: visitor.wait_for(order, status, seconds=60) for status, order in orders.items()}
    expected = {
        "Completed": Decimal(0),
        "Partial": _partial(orders["Partial"], seen["Partial"]),
        "Canceled": orders["Canceled"].charge,
    }
    for status, order in orders.items():
        refunds = [expected[status]] if expected[status] else []
        assert seen[status].movements == [-order.charge, *refunds], status
    paid = sum(order.charge for order in orders.values()) - sum(expected.values())
    assert visitor.balance() == balance_before - paid


def _partial(order: Placed, seen: Seen) -> Decimal:
    assert seen.remains is not None
    assert 0 < seen.remains < order.quantity
    return (order.charge * seen.remains / order.quantity).quantize(STEP, rounding=ROUND_DOWN)
