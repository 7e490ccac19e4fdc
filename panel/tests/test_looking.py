"""Staff look at a customer's pages: as the customer sees them, without changing, never unseen."""

import uuid

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEntry, Device, User
from catalog.models import Service
from orders.models import Order
from orders.services import place_order


@pytest.fixture
def owner(client: Client, staff: User) -> Client:
    client.force_login(staff)
    return client


def look(client: Client, customer: User) -> str:
    url = reverse("admin:accounts_user_look_at_pages", args=[customer.pk])
    return client.post(url, {"token": uuid.uuid4()}, follow=True).content.decode()


@pytest.fixture
def order(customer: User, service: Service) -> Order:
    return place_order(
        customer=customer, service=service, client_token=uuid.uuid4(),
        values={"link": "https://example.com/a", "quantity": "100"},
    )  # fmt: skip


def test_the_customers_pages_are_shown_with_a_banner_and_noted(
    owner: Client, staff: User, customer: User, order: Order
) -> None:
    assert owner.get(order.get_absolute_url()).status_code == 404
    look(owner, customer)

    shown = owner.get(order.get_absolute_url())
    assert shown.status_code == 200
    assert "You look at the pages of customer@example.com" in shown.content.decode()
    assert f"looked at {order.get_absolute_url()}" in {
        each.action for each in AuditEntry.objects.all()
    }
    assert {each.actor for each in AuditEntry.objects.all()} == {staff}
    # In the admin they stay who they are.
    assert owner.get("/admin/").status_code == 200


def test_nothing_can_be_changed_while_looking(
    owner: Client, customer: User, service: Service, order: Order
) -> None:
    look(owner, customer)

    posts = {
        "/orders/new/": {"service": service.pk, "link": "https://a.b", "quantity": "10"},
        reverse("orders:cancel", args=[order.pk]): {},
        "/account/": {"name": "Other"},
    }
    for url, form in posts.items():
        assert owner.post(url, form).status_code == 403, url
    order.refresh_from_db()
    customer.refresh_from_db()
    assert (order.status, customer.name, Order.objects.count()) == ("pending", "", 1)


def test_the_customers_secrets_stay_their_own(owner: Client, staff: User, customer: User) -> None:
    look(owner, customer)

    assert owner.get("/accounts/email/").context["user"] == staff


def test_the_session_of_who_looks_is_not_among_the_customers(
    client: Client, staff: User, customer: User
) -> None:
    client.post("/accounts/login/", {"login": staff.email, "password": "a-Long-passw0rd"})
    look(client, customer)

    assert client.get("/account/sessions/").context["sessions"] == []
    assert {each.user for each in Device.objects.all()} == {staff}


def test_it_ends_with_the_button_and_with_the_right(
    owner: Client, staff: User, customer: User, order: Order
) -> None:
    look(owner, customer)
    owner.post(reverse("accounts:stop_looking"))
    assert owner.get(order.get_absolute_url()).status_code == 404
    assert "stopped" in str(AuditEntry.objects.first())

    look(owner, customer)
    User.objects.filter(pk=staff.pk).update(is_superuser=False)
    assert owner.get(order.get_absolute_url()).status_code == 404


def test_nobody_looks_at_staff_or_without_the_right(
    owner: Client, client: Client, staff: User, customer: User
) -> None:
    assert "Only an active customer" in look(owner, staff)
    clerk = User.objects.create_user("clerk@example.com", "a-Long-passw0rd", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_user"))
    client.force_login(clerk)
    url = reverse("admin:accounts_user_look_at_pages", args=[customer.pk])
    assert client.post(url, {"token": uuid.uuid4()}).status_code == 403
    assert client.get("/wallet/").context["user"] == clerk
