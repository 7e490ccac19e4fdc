"""Nothing is sold or sent at a loss by itself: at the moment of sale, and again at that of sending."""

import uuid
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from catalog.models import CustomerPrice, Provider, Service
from orders.errors import NotOnSale, PriceChanged
from orders.fulfilment import forward, run_due
from orders.models import Order
from orders.quotes import quote
from orders.services import place_order, withdraw
from orders.states import Dispatch
from orders.tests.worlds import assert_sound, balance_of, make_due, order_of, placed_on
from orders.timeline import Code, lines
from upstream.simulator import Simulator

pytestmark = pytest.mark.django_db(transaction=True)
D = Decimal
VALUES = {"link": "https://example.com/a", "quantity": "100"}


def page(order: Order, name: str = "change") -> str:
    return reverse(f"admin:orders_order_{name}", args=[order.pk])


@pytest.mark.parametrize(
    ("cost", "listed", "exchange", "tolerance", "is_sold"),
    [
        ("1.99", None, "1", "0", True),
        ("2", None, "1", "0", False),
        ("1", None, "2", "0", False),
        ("1", "2", "1", "0", False),  # the list says 2 now, and that is held
        ("2.1", None, "1", "5", True),
        ("2.11", None, "1", "5", False),
    ],
)
def test_a_service_whose_cost_reaches_its_price_is_not_sold(
    customer: User,
    service: Service,
    cost: str,
    listed: str | None,
    exchange: str,
    tolerance: str,
    is_sold: bool,
) -> None:
    Service.objects.update(cost_rate=D(cost), listed_cost_rate=D(listed) if listed else None)
    Provider.objects.update(exchange_rate=D(exchange), loss_tolerance=D(tolerance))

    if is_sold:
        assert order_of(customer, service).charge == D("0.2")
        return
    with pytest.raises(NotOnSale):
        order_of(customer, service)
    assert balance_of(customer) == 10
    assert not Order.objects.exists()


def test_a_price_that_was_allowed_to_be_a_loss_is_sold_and_sent(
    customer: User, simulator: Simulator, sold: Service
) -> None:
    CustomerPrice.objects.create(customer=customer, service=sold, rate=D("0.5"), may_undercut=True)
    order = order_of(customer, sold)
    forward(order.pk)

    order.refresh_from_db()
    assert (order.charge, order.may_lose, order.dispatch) == (D("0.05"), True, Dispatch.ACCEPTED)


def test_what_a_customer_pays_is_one_price_in_quote_form_list_and_order(
    client: Client, customer: User, service: Service
) -> None:
    CustomerPrice.objects.create(customer=customer, service=service, rate=D("1.77"))
    client.force_login(customer)

    assert quote(service, VALUES).charge == D("0.2")
    assert quote(service, VALUES, customer).charge == D("0.177")
    for url in ("/services/", "/orders/new/?q=followers", f"/orders/new/?service={service.pk}"):
        assert "1.77" in client.get(url).content.decode(), url
    form = {**VALUES, "service": service.pk, "token": str(uuid.uuid4()), "action": "quote"}
    assert "0.177" in client.post("/orders/new/", form).content.decode()
    order = order_of(customer, service)
    assert (order.charge, order.price_rate) == (D("0.177"), D("1.77"))


def test_a_price_changed_for_the_customer_is_shown_before_it_is_charged(
    customer: User, service: Service
) -> None:
    CustomerPrice.objects.create(customer=customer, service=service, rate=D("1.5"))

    with pytest.raises(PriceChanged) as caught:
        place_order(
            customer=customer, service=service, values=VALUES, client_token=uuid.uuid4(),
            seen_charge=D("0.2"),
        )  # fmt: skip
    assert caught.value.now == D("0.15")


def test_an_order_that_became_a_loss_is_held_and_the_next_one_sent(
    customer: User, simulator: Simulator, sold: Service
) -> None:
    held = order_of(customer, sold)
    Service.objects.update(price_rate=4)
    fine = order_of(customer, sold)
    Service.objects.update(cost_rate=3)

    run_due()
    run_due()

    held.refresh_from_db()
    fine.refresh_from_db()
    assert (held.dispatch, held.attention, held.attempt_no) == (Dispatch.QUEUED, "loss", 0)
    assert fine.dispatch == Dispatch.ACCEPTED
    assert placed_on(simulator, held.link) == []
    event = held.events.get(code=Code.HELD_BACK)
    assert {D(value) for value in event.values.values()} == {3, 2}
    assert Code.HELD_BACK not in {line.event.code for line in lines(held, for_staff=False)}
    assert_sound(simulator)


def test_a_held_order_goes_out_by_itself_when_its_cost_falls_again(
    customer: User, simulator: Simulator, sold: Service
) -> None:
    order = order_of(customer, sold)
    Provider.objects.update(exchange_rate=3)
    forward(order.pk)
    make_due(order)
    forward(order.pk)
    assert order.events.filter(code=Code.HELD_BACK).count() == 1
    Provider.objects.update(exchange_rate=1)
    make_due(order)
    forward(order.pk)

    order.refresh_from_db()
    assert (order.dispatch, order.attention) == (Dispatch.ACCEPTED, "")


def test_staff_see_both_figures_and_send_or_withdraw_a_held_order(
    client: Client, staff: User, customer: User, simulator: Simulator, sold: Service
) -> None:
    order, other = order_of(customer, sold), order_of(customer, sold)
    Service.objects.update(listed_cost_rate=D("2.75"))
    run_due()
    client.force_login(staff)
    listed = client.get("/admin/orders/order/?attention=loss").content.decode()
    assert page(order) in listed

    shown = client.get(page(order, "send_at_loss")).content.decode()
    assert "2.75" in shown
    assert "2.00" in shown
    client.post(page(order, "send_at_loss"), {"reason": "promised", "token": uuid.uuid4()})
    assert withdraw(other.pk, actor=staff)
    run_due()

    order.refresh_from_db()
    other.refresh_from_db()
    assert order.dispatch == Dispatch.ACCEPTED
    assert (other.dispatch, other.attention) == (Dispatch.WITHDRAWN, "")
    assert order.events.get(code=Code.RESOLVED).actor == staff
    assert_sound(simulator)


def test_orders_for_which_the_provider_charged_more_are_listed(
    client: Client, staff: User, customer: User, service: Service
) -> None:
    more, same = order_of(customer, service), order_of(customer, service)
    done = {
        "status": "completed", "dispatch": "accepted", "finished_at": more.created_at,
    }  # fmt: skip
    Order.objects.filter(pk=more.pk).update(upstream_id="7", upstream_charge=D("0.11"), **done)
    Order.objects.filter(pk=same.pk).update(upstream_id="8", upstream_charge=D("0.1"), **done)
    client.force_login(staff)

    listed = client.get("/admin/orders/order/?attention=charged_more").content.decode()

    assert page(more) in listed
    assert page(same) not in listed
