"""From the customer's order to the settled end: every part is the real one."""

from decimal import Decimal

import pytest
from django.db import connection

from accounts.models import User
from orders.audit import check
from orders.following import poll_due
from orders.fulfilment import run_due
from orders.models import Order
from orders.requests import cancel_order, send_due
from orders.states import Dispatch, Status
from orders.tests.upstream_world import Upstream, balance, due, running_upstream

pytestmark = pytest.mark.django_db(transaction=True)


def follow(upstream: Upstream, *orders: Order) -> None:
    """Let the provider's time pass and ask until nothing is open."""
    for _ in range(6):
        upstream.world.advance(2.5)
        due(*Order.objects.filter(pk__in=[order.pk for order in orders], finished_at=None))
        poll_due()
    for order in orders:
        order.refresh_from_db()


def test_orders_are_placed_forwarded_followed_and_settled(customer: User) -> None:
    with running_upstream() as upstream:
        words = ["complete", "partial", "cancel"]
        orders = [upstream.place(customer, link=f"https://example.com/{word}") for word in words]
        assert balance(customer) == 4
        run_due(10)
        follow(upstream, *orders)
        assert [order.status for order in orders] == [
            Status.COMPLETED, Status.PARTIAL, Status.CANCELED,
        ]  # fmt: skip
        assert [order.refunded for order in orders] == [0, Decimal("0.8"), 2]
        assert balance(customer) == Decimal("6.8")
        truth = upstream.world.truth()
        assert len(truth["orders"]) == 3
        assert [finding for finding in check() if finding.is_error] == []
    connection.close()


def test_a_cancel_after_sending_goes_to_the_provider_and_comes_back_as_money(
    customer: User,
) -> None:
    with running_upstream() as upstream:
        sent, kept = upstream.place(customer), upstream.place(customer)
        assert cancel_order(order_id=kept.pk, actor=customer) is None
        run_due(10)
        sent.refresh_from_db()
        assert sent.dispatch == Dispatch.ACCEPTED
        request = cancel_order(order_id=sent.pk, actor=customer)
        assert request is not None
        assert send_due() == 1
        follow(upstream, sent)
        assert sent.status == Status.CANCELED
        assert balance(customer) == 10
        assert upstream.world.counts.processed["add"] == 1
        assert [finding for finding in check() if finding.is_error] == []
    connection.close()
