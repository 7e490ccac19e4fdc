"""Nobody sees what is another's, nothing changes by looking, and every page carries the policy."""

import uuid
from collections.abc import Callable
from decimal import Decimal

import pytest
from allauth.account.models import EmailAddress
from django.apps import apps
from django.contrib import admin
from django.core import serializers
from django.core.files.base import ContentFile
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from accounts.models import User
from catalog.models import Provider, Service
from orders.models import Gate, Order, Request
from orders.services import place_order
from orders.states import Status
from panel.models import Job
from panel.urls import urlpatterns as real_patterns
from tests.site_map import Address, addresses
from wallet.models import Entry, TopUpMethod
from wallet.services import top_up
from wallet.topups import file_request


# What an address with parameters leads to: one of these, or the answer a stranger's value gets.
def receipt_of(order: Order) -> object:
    """A picture that the order's customer has sent in with a top-up."""
    method, _ = TopUpMethod.objects.get_or_create(name="Bank", defaults={"instructions": "Pay."})
    request = file_request(
        user=order.customer,
        method=method,
        amount=Decimal(20),
        reference="tr-17",
        client_token=uuid.UUID(int=1),
        proof=ContentFile(b"\x89PNG\r\n\x1a\n" + bytes(100), "receipt.png"),
    )
    return request.pk


OBJECTS: dict[str, Callable[[Order], object]] = {
    "orders:detail": lambda order: order.pk,
    "orders:live": lambda order: order.pk,
    "orders:refill": lambda order: order.pk,
    "orders:cancel": lambda order: order.pk,
    "wallet:proof": receipt_of,
}
# Keys out of e-mails, which name nobody's object: whoever has one may use it.
SECRETS = {"account_confirm_email", "account_reset_password_from_key"}
# Tables that are written beside the request itself.
_ASIDE = {"sessions.session", "accounts.device", "panel.job"}


@pytest.fixture
def order(customer: User, service: Service) -> Order:
    return place_order(
        customer=customer,
        service=service,
        values={"link": "https://example.com/a", "quantity": "100"},
        client_token=uuid.uuid4(),
    )


@pytest.fixture
def other(db: None) -> User:
    """A customer with money and no order."""
    user = User.objects.create_user("other@example.com", "a-Long-passw0rd")
    top_up(user=user, amount=Decimal(5), reference="other")
    return user


def everything() -> set[str]:
    """All rows of all tables, but those that are written beside a request."""
    tables = [model for model in apps.get_models() if model._meta.label_lower not in _ASIDE]
    return {
        serializers.serialize("json", [row])
        for table in tables
        for row in table._default_manager.all()
    }


def with_parameters() -> list[Address]:
    return [each for each in addresses() if each.parameters and not each.is_admin]


def test_every_address_with_a_parameter_is_in_the_table() -> None:
    names = {each.name for each in with_parameters()}

    assert names == OBJECTS.keys() | SECRETS


def test_another_customers_objects_are_not_there(client: Client, order: Order, other: User) -> None:
    client.force_login(other)
    pages = [
        each.filled(OBJECTS[each.name](order))
        for each in with_parameters()
        if each.name not in SECRETS
    ]
    before = everything()

    for page in pages:
        statuses = {client.get(page).status_code, client.post(page).status_code}
        # Where only one of the two is taken, the other is refused whatever the number.
        assert statuses in ({404}, {404, 405}), page

    assert everything() == before


def test_their_owner_finds_them(client: Client, order: Order) -> None:
    client.force_login(order.customer)

    assert client.get(f"/orders/{order.pk}/").status_code == 200
    assert client.get(f"/orders/{order.pk}/live/").status_code == 200


def test_lists_and_exports_hold_ones_own_alone(client: Client, order: Order, other: User) -> None:
    client.force_login(other)

    for page in ("/orders/", "/orders/rows/", "/orders/export/", "/wallet/"):
        answer = client.get(page)
        content = b"".join(answer) if answer.streaming else answer.content
        assert answer.status_code in {200, 204}, page
        assert b"example.com/a" not in content, page


def paths_for(objects: dict[str, object]) -> list[str]:
    """Every address of the site; parameters are the row's of the table that the name begins with."""
    found = []
    for each in addresses():
        model = each.name.removeprefix("admin:").rpartition("_")[0]
        value = next((row for name, row in objects.items() if model.startswith(name)), 1)
        found.append(each.filled(value))
    return found


@pytest.fixture
def rows(order: Order, provider: Provider) -> dict[str, object]:
    """One row of what the admin has pages for, so that they are really drawn."""
    return {
        "orders_order": order.pk,
        "orders_request": Request.objects.create(order=order, provider=provider, kind="cancel").pk,
        "orders_gate": Gate.objects.get_or_create(provider=provider)[0].pk,
        "catalog_provider": provider.pk,
        "catalog_service": order.service_id,
        "catalog_category": order.service.category_id,
        "accounts_user": order.customer_id,
        "wallet_account": Entry.objects.first().account_id,  # type: ignore[union-attr]
        "wallet_entry": Entry.objects.first().pk,  # type: ignore[union-attr]
        "panel_job": Job.objects.get_or_create(name="sweep")[0].pk,
    }


@pytest.mark.parametrize("who", ["nobody", "customer", "staff"])
def test_no_get_changes_anything_and_every_answer_carries_the_policy(
    client: Client, customer: User, staff: User, rows: dict[str, object], who: str
) -> None:
    people = {"customer": customer, "staff": staff}
    for person in people.values():
        # As signing up writes it; the page of addresses makes up for it where it is missing.
        EmailAddress.objects.create(user=person, email=person.email, primary=True)
    if who in people:
        client.force_login(people[who])
    before = everything()

    drawn = []
    for page in paths_for(rows):
        answer = client.get(page)
        assert answer.status_code < 500, page
        drawn += [page] if answer.status_code == 200 and page.startswith("/admin/") else []
        policy = answer["Content-Security-Policy"]
        assert "default-src 'self'" in policy, page
        assert "frame-ancestors 'none'" in policy, page
        assert ("unsafe" in policy) == page.startswith("/admin/"), page
        assert answer["X-Content-Type-Options"] == "nosniff", page

    assert everything() ^ before == set()
    if who != "staff":
        assert drawn == []
        return
    assert len(drawn) > len(admin.site._registry)
    assert f"/admin/orders/order/{rows['orders_order']}/refund/" in drawn


def _fail(_request: HttpRequest) -> HttpResponse:
    raise RuntimeError("on purpose")


urlpatterns = [*real_patterns, path("fails/", _fail, name="fails")]


@pytest.mark.urls(__name__)
@pytest.mark.parametrize(("page", "status"), [("/fails/", 500), ("/nowhere/", 404)])
def test_error_pages_carry_the_policy_and_tell_nothing(page: str, status: int, db: None) -> None:
    answer = Client(raise_request_exception=False).get(page)

    assert answer.status_code == status
    assert "default-src 'self'" in answer["Content-Security-Policy"]
    assert "on purpose" not in answer.content.decode()
    assert "Traceback" not in answer.content.decode()


def test_fields_that_a_form_does_not_have_are_ignored(
    client: Client, other: User, service: Service, customer: User
) -> None:
    client.force_login(other)
    client.post(
        "/orders/new/",
        {
            "service": str(service.pk), "link": "https://example.com/b", "quantity": "1000",
            "token": str(uuid.uuid4()), "client_token": str(uuid.uuid4()), "seen_charge": "2.00",
            "charge": "0", "cost": "0", "price_rate": "0", "customer": str(customer.pk),
            "status": "completed", "dispatch": "accepted", "upstream_id": "1", "source": "staff",
        },
    )  # fmt: skip

    order = Order.objects.get()
    assert (order.customer, order.charge, order.cost) == (other, Decimal(2), Decimal(1))
    assert (order.status, order.upstream_id, order.source) == (Status.PENDING, "", "web")


def test_a_customer_can_give_themselves_no_rights(client: Client, other: User) -> None:
    client.force_login(other)
    client.post(
        "/account/",
        {"name": "Other", "is_staff": "on", "is_superuser": "on", "email": "x@example.com"},
    )

    other.refresh_from_db()
    assert other.name == "Other"
    assert (other.is_staff, other.is_superuser, other.email) == (False, False, "other@example.com")


def test_signing_up_gives_no_rights(client: Client, db: None) -> None:
    client.post(
        "/accounts/signup/",
        {"email": "new@example.com", "password1": "a-Long-passw0rd", "is_staff": "on",
         "is_superuser": "on", "balance": "100", "terms": "on"},
    )  # fmt: skip

    new = User.objects.get(email="new@example.com")
    assert (new.is_staff, new.is_superuser) == (False, False)
    assert not Entry.objects.exists()
