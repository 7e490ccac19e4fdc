"""What a customer's pages ask and weigh at 20,000 services and 100,000 orders, on PostgreSQL."""

import uuid

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from catalog.models import Category, Service
from orders.models import Order
from orders.services import place_order
from tests.crowds import multiply, new_uuid
from wallet.models import Entry

pytestmark = [pytest.mark.postgres, pytest.mark.django_db]

SERVICES, ORDERS = 20_000, 100_000
MOST_QUERIES = 12
MOST_BYTES = 60_000


@pytest.fixture
def signed_in(client: Client, customer: User, service: Service) -> Client:
    """A customer with 100,000 orders in a shop of 20,000 services."""
    name = "🔥 INSTAGRAM LIKES – INSTANT START – SUPER FAST – LIFETIME GUARANTEE – NON-DROP "
    Service.objects.update(name=name * 2, description=name * 30)
    Category.objects.bulk_create(Category(name=f"{name} {number}") for number in range(400))
    first = Category.objects.order_by("pk")[1].pk
    multiply(
        service, SERVICES,
        {"upstream_id": "'u' || n", "category_id": f"{first} + n % 400"},
    )  # fmt: skip
    order = place_order(
        customer=customer,
        service=service,
        values={"link": "https://instagram.com/" + "long" * 50, "quantity": "100"},
        client_token=uuid.uuid4(),
    )
    multiply(
        order, ORDERS,
        {
            "client_token": new_uuid(), "link": "link || n", "dispatch": "'accepted'",
            "upstream_id": "'o' || n", "status": "(ARRAY['completed', 'in_progress'])[1 + n % 2]",
            "finished_at": "CASE WHEN n % 2 = 0 THEN now() END", "remains": "n % 100",
        },
    )  # fmt: skip
    entry = Entry.objects.get(kind="charge")
    multiply(
        entry, ORDERS,
        {"reference": "'copy-' || n", "order_number": f"{order.pk} + n"},
    )  # fmt: skip
    client.force_login(customer)
    return client


def addresses() -> list[str]:
    service = Service.objects.latest("pk").pk
    middle = Order.objects.order_by("pk")[50_000].pk
    return [
        "/orders/new/", "/orders/new/?q=instagram", "/orders/new/results/?q=likes",
        f"/orders/new/?service={service}", "/orders/mass/",
        "/orders/", "/orders/?status=completed", f"/orders/?q={middle}", f"/orders/?before={middle}",
        f"/orders/{middle}/", "/orders/help/",
        "/services/", "/services/?q=likes&sort=price", "/services/?platform=instagram",
        "/services/?page=200", "/services/?favourites=1",
        "/wallet/", "/wallet/?type=charge", f"/wallet/?before={middle}",
        "/account/", "/account/mails/", "/account/sessions/",
    ]  # fmt: skip


def test_every_page_asks_little_and_weighs_little_at_full_size(
    signed_in: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for address in addresses():
        with django_assert_max_num_queries(MOST_QUERIES, info=address):
            page = signed_in.get(address)
        assert page.status_code == 200, address
        assert len(page.content) <= MOST_BYTES, f"{address}: {len(page.content)} bytes"
