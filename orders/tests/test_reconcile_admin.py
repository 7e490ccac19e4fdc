"""Staff see the evidence, look now, and test a provider, in the admin's own pages."""

import uuid

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from catalog.models import Service
from orders.models import Order, Scan
from orders.tests.lost_orders import history, look, lose, pass_time, placed, status_calls, true_id
from upstream.simulator import Simulator

pytestmark = pytest.mark.django_db(transaction=True)


def page_of(order: Order) -> str:
    return reverse("admin:orders_order_change", args=[order.pk])


def test_the_page_of_an_unconfirmed_order_shows_the_evidence_and_changes_nothing(
    client: Client, simulator: Simulator, customer: User, staff: User, sold: Service
) -> None:
    order = lose(simulator, customer, sold, 777)
    client.force_login(staff)

    page = client.get(page_of(order)).content.decode()

    assert "waits for the test of this provider" in page
    assert "0.777" in page
    assert not Scan.objects.exists()
    assert status_calls(simulator) == 0


def test_the_page_shows_candidates_when_people_have_to_decide(
    client: Client, simulator: Simulator, customer: User, staff: User, sold: Service
) -> None:
    history(customer, sold)
    order = lose(simulator, customer, sold, 777)
    lose(simulator, customer, sold, 777, kind="lost_before")
    pass_time(310)
    placed(customer, sold)
    look(4)
    client.force_login(staff)

    page = client.get(page_of(order)).content.decode()

    assert f"Candidate {true_id(simulator, order)}" in page
    assert "several orders and IDs fit each other" in page


def test_look_now_finds_the_order(
    client: Client, simulator: Simulator, customer: User, staff: User, sold: Service
) -> None:
    history(customer, sold)
    order = lose(simulator, customer, sold, 777)
    pass_time(310)
    placed(customer, sold)
    look()  # the test of the provider
    client.force_login(staff)

    client.post(reverse("admin:orders_order_look_now", args=[order.pk]), {"token": uuid.uuid4()})

    order.refresh_from_db()
    assert order.upstream_id == true_id(simulator, order)


def test_the_button_tests_the_provider_and_refuses_with_the_reason(
    client: Client, simulator: Simulator, customer: User, staff: User, sold: Service
) -> None:
    client.force_login(staff)
    url = reverse("admin:catalog_provider_test_search", args=[sold.provider_id])

    early = client.post(url, {"token": uuid.uuid4()}).content.decode()
    history(customer, sold)
    client.post(url, {"token": uuid.uuid4()})

    assert "20 accepted orders are needed" in early
    assert Scan.objects.get().canary == Scan.Canary.PASSED
    page = client.get(reverse("admin:catalog_provider_change", args=[sold.provider_id]))
    assert "It tells our orders and no others." in page.content.decode()


def test_a_member_of_staff_without_the_permission_cannot_look(
    client: Client, simulator: Simulator, customer: User, sold: Service
) -> None:
    order = lose(simulator, customer, sold, 777)
    client.force_login(User.objects.create_user("helper@example.com", is_staff=True))

    answer = client.post(reverse("admin:orders_order_look_now", args=[order.pk]))

    assert answer.status_code == 403
    assert status_calls(simulator) == 0
