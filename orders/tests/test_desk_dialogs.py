"""Refunds by what was not delivered, with a reason's code, and counts set by hand."""

import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from catalog.models import Service
from orders import desk
from orders.models import Order
from orders.states import Dispatch
from orders.tests.worlds import order_of
from orders.timeline import Code
from wallet.models import Entry

D = Decimal


@pytest.fixture
def owner(client: Client, staff: User) -> Client:
    client.force_login(staff)
    return client


@pytest.fixture
def order(customer: User, service: Service) -> Order:
    """At the provider; a charge of 2 for 1,000."""
    made = order_of(customer, service, quantity=1000)
    Order.objects.update(dispatch=Dispatch.ACCEPTED, upstream_id="7")
    made.refresh_from_db()
    return made


def act(client: Client, order: Order, name: str, **fields: Any) -> Any:
    url = reverse(f"admin:orders_order_{name}", args=[order.pk])
    form = {"reason": "they wrote", "code": "goodwill", "token": uuid.uuid4(), **fields}
    return client.post(url, form)


@pytest.mark.parametrize(
    ("remains", "refunded", "amount"),
    [
        (None, "0", "0"), (0, "0", "0"), (-5, "0", "0"), (250, "0", "0.5"), (333, "0", "0.666"),
        (250, "0.2", "0.3"), (250, "1", "0"), (5000, "0", "2"),
    ],
)  # fmt: skip
def test_what_was_not_delivered_is_reckoned_and_never_more_than_the_charge(
    order: Order, remains: int | None, refunded: str, amount: str
) -> None:
    order.remains, order.refunded = remains, D(refunded)

    assert desk.undelivered(order) == D(amount)


def test_the_undelivered_part_is_refunded_with_its_code(owner: Client, order: Order) -> None:
    assert act(owner, order, "set_counts", start_count="17", remains="250").status_code == 302
    assert act(owner, order, "refund", is_undelivered="on", code="dropped").status_code == 302

    entry = Entry.objects.get(kind="staff_refund")
    assert (entry.amount, entry.note) == (D("0.5"), "dropped: they wrote")
    again = act(owner, order, "refund", is_undelivered="on")
    assert "is_undelivered" in again.context["form"].errors
    assert Entry.objects.filter(kind="staff_refund").count() == 1


def test_an_amount_and_the_undelivered_part_are_not_both_meant(owner: Client, order: Order) -> None:
    Order.objects.update(remains=250)
    answer = act(owner, order, "refund", is_undelivered="on", amount="1")

    assert "amount" in answer.context["form"].errors
    assert not Entry.objects.filter(kind="staff_refund").exists()


def test_counts_set_by_hand_are_in_the_timeline_with_what_was_before(
    owner: Client, staff: User, order: Order
) -> None:
    Order.objects.update(start_count=3, remains=1000)
    act(owner, order, "set_counts", start_count="17", remains="250")

    order.refresh_from_db()
    event = order.events.get(code=Code.RESOLVED)
    assert (order.start_count, order.remains, order.refunded) == (17, 250, 0)
    assert (event.values["remains"], event.values["start_count"]) == ("1000 → 250", "3 → 17")
    assert event.actor == staff


@pytest.mark.parametrize(
    ("dispatch", "fields"),
    [(Dispatch.QUEUED, {"remains": "5"}), (Dispatch.ACCEPTED, {"remains": "1001"}),
     (Dispatch.ACCEPTED, {"remains": "5", "reason": ""})],
)  # fmt: skip
def test_counts_that_cannot_be_are_refused(
    owner: Client, order: Order, dispatch: str, fields: dict[str, str]
) -> None:
    Order.objects.update(dispatch=dispatch)
    answer = act(owner, order, "set_counts", **fields)

    assert answer.status_code == 200
    order.refresh_from_db()
    assert order.remains is None


@pytest.mark.parametrize("count", [str(2**63), str(-(2**63)), "1" + "0" * 30])
def test_a_start_count_that_cannot_be_kept_is_refused_beside_its_field(
    owner: Client, order: Order, count: str
) -> None:
    answer = act(owner, order, "set_counts", start_count=count, remains="250")

    assert answer.context["form"].errors["start_count"]
    order.refresh_from_db()
    assert (order.start_count, order.remains) == (None, None)
    assert act(owner, order, "set_counts", start_count=str(2**63 - 1)).status_code == 302
