"""Customers who press at the same moment, on PostgreSQL."""

import uuid
from decimal import Decimal
from functools import partial

import pytest

from accounts.models import User
from catalog.models import Service
from orders import services
from orders.errors import DuplicateLink, TokenReused
from orders.models import Order
from orders.services import place_order, withdraw
from orders.tests.races import at_once
from orders.tests.worlds import assert_ledger_adds_up, balance_of
from wallet.errors import InsufficientFunds
from wallet.models import Account, Entry

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


@pytest.fixture(params=["in one statement", "under the lock"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways in which an order is written."""
    if request.param == "under the lock":
        monkeypatch.setattr(services, "charge_at_once", lambda *_args, **_more: None)


both_ways = pytest.mark.usefixtures("way")


def place(
    customer: User, service: Service, token: uuid.UUID, number: int = 0, quantity: str = "500"
) -> Order:
    return place_order(
        customer=customer,
        service=service,
        values={"link": f"https://example.com/p/{number}", "quantity": quantity},
        client_token=token,
    )


@both_ways
def test_twenty_at_once_buy_what_the_balance_covers(customer: User, service: Service) -> None:
    results = at_once([partial(place, customer, service, uuid.uuid4(), at) for at in range(20)])

    refused = [found for found in results if isinstance(found, InsufficientFunds)]
    assert (len(refused), Order.objects.count()) == (10, 10)
    assert balance_of(customer) == 0
    assert_ledger_adds_up()


def test_without_the_lock_money_appears_from_nowhere(
    customer: User, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: the same reads and writes with no lock on the account."""
    monkeypatch.setattr(services, "charge_at_once", lambda *_args, **_more: None)
    monkeypatch.setattr(
        services, "lock_account", lambda user_id: Account.objects.get(user_id=user_id)
    )

    for start in (0, 100, 200):
        at_once([partial(place, customer, service, uuid.uuid4(), start + at) for at in range(20)])

    spent = sum(Entry.objects.filter(kind="charge").values_list("amount", flat=True), Decimal(0))
    assert balance_of(customer) != 10 + spent


@both_ways
def test_the_same_form_at_once_is_one_order(customer: User, service: Service) -> None:
    for at in range(5):
        results = at_once([partial(place, customer, service, uuid.UUID(int=at), at)] * 8)

        assert len({found.pk if isinstance(found, Order) else found for found in results}) == 1
    assert Order.objects.count() == 5
    assert balance_of(customer) == 5
    assert_ledger_adds_up()


@both_ways
def test_one_token_with_two_contents_at_once_is_one_order(customer: User, service: Service) -> None:
    token = uuid.uuid4()

    results = at_once([partial(place, customer, service, token, at) for at in range(8)])

    assert sum(isinstance(found, Order) for found in results) == 1
    assert sum(isinstance(found, TokenReused) for found in results) == 7
    assert balance_of(customer) == 9


@both_ways
def test_the_same_link_at_once_is_asked_about(customer: User, service: Service) -> None:
    results = at_once([partial(place, customer, service, uuid.uuid4()) for _ in range(8)])

    assert sum(isinstance(found, Order) for found in results) == 1
    assert sum(isinstance(found, DuplicateLink) for found in results) == 7


def test_withdrawing_at_once_refunds_once(customer: User, service: Service) -> None:
    order = place(customer, service, uuid.uuid4())

    results = at_once([partial(withdraw, order.pk, actor=customer)] * 8)

    assert sorted(map(bool, results)) == [False] * 7 + [True]
    assert balance_of(customer) == 10
    assert_ledger_adds_up()
