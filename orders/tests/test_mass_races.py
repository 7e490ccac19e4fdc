"""Lists pressed at the same moment, on PostgreSQL."""

import uuid
from functools import partial

import pytest

from accounts.models import User
from catalog.models import Service
from orders import services
from orders.bulk import Wanted
from orders.models import Order
from orders.services import place_many
from orders.tests.races import at_once
from orders.tests.worlds import assert_ledger_adds_up, balance_of
from wallet.errors import InsufficientFunds
from wallet.models import Account

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def place(customer: User, service: Service, token: uuid.UUID, start: int) -> list[Order]:
    wanted = [
        Wanted(service.pk, {"link": f"https://example.com/{start}/{number}", "quantity": "500"})
        for number in range(3)
    ]
    return place_many(customer=customer, wanted=wanted, client_token=token)


def test_lists_at_once_buy_what_the_balance_covers(customer: User, service: Service) -> None:
    results = at_once([partial(place, customer, service, uuid.uuid4(), at) for at in range(8)])

    refused = [found for found in results if isinstance(found, InsufficientFunds)]
    assert (len(refused), Order.objects.count()) == (5, 9)
    assert balance_of(customer) == 1
    assert_ledger_adds_up()


def test_the_same_list_at_once_is_placed_once(customer: User, service: Service) -> None:
    token = uuid.uuid4()

    results = at_once([partial(place, customer, service, token, 0)] * 8)

    assert all(isinstance(found, list) and len(found) == 3 for found in results), results
    assert Order.objects.count() == 3
    assert_ledger_adds_up()


def test_without_the_lock_more_is_bought_than_paid(
    customer: User, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: the same reads and writes with no lock on the account."""
    monkeypatch.setattr(
        services, "lock_account", lambda user_id: Account.objects.get(user_id=user_id)
    )

    for start in (0, 100, 200):
        at_once([partial(place, customer, service, uuid.uuid4(), start + at) for at in range(8)])

    assert balance_of(customer) != 10 - Order.objects.count()
