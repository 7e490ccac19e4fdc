"""A deletion and an order at the same moment, on PostgreSQL: one of the two, and the books whole."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial

import pytest

from accounts import audit
from accounts.models import User
from catalog.models import Service
from orders.audit import check
from orders.closing import NotClosable, close_account
from orders.models import Order
from orders.tests.races import at_once
from orders.tests.worlds import order_of
from wallet.errors import InsufficientFunds
from wallet.models import Account
from wallet.services import top_up

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def test_either_the_order_or_the_deletion(staff: User, service: Service) -> None:
    outcomes = set()
    for number in range(8):
        buyer = User.objects.create_user(f"buyer{number}@example.com", "a-Long-passw0rd")
        top_up(user=buyer, amount=Decimal(10), reference=f"race-{number}")

        actions: list[Callable[[], object]] = [
            partial(close_account, buyer, actor=staff, gives_up=Decimal(10)),
            *[partial(order_of, buyer, service)] * 2,
        ]
        deleted, *ordered = at_once(actions)

        buyer.refresh_from_db()
        placed = sum(isinstance(each, Order) for each in ordered)
        if buyer.deleted_at:
            assert all(isinstance(each, InsufficientFunds) for each in ordered), ordered
            assert Account.objects.get(user=buyer).balance == 0
        else:
            assert isinstance(deleted, NotClosable), deleted
            assert placed == 2, ordered
        outcomes.add(bool(buyer.deleted_at))

    assert outcomes
    assert [finding for finding in check() if finding.is_error] == []
    assert list(audit.problems()) == []


def test_pressed_twice_it_is_done_once(customer: User) -> None:
    press = partial(close_account, customer, actor=customer, gives_up=Decimal(10))

    results = at_once([press] * 6)

    assert sum(isinstance(each, str) for each in results) == 1
    assert all(isinstance(each, str | NotClosable) for each in results), results
    assert list(audit.problems()) == []
