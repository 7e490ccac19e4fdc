"""A customer's archive: everything of theirs, nothing of anybody else's, and never in one piece."""

import io
import json
import uuid
import zipfile
from decimal import Decimal
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts import mail
from accounts.keys import create_key
from accounts.models import Device, User
from catalog.models import Service
from orders.models import Order
from orders.personal import archive
from orders.tests.worlds import order_of
from wallet.models import TopUpMethod
from wallet.topups import file_request

EXPORT = "/account/data/export/"
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(100)


def opened(content: bytes) -> dict[str, Any]:
    """Every file of the archive: lists from JSON, pictures as they are."""
    with zipfile.ZipFile(io.BytesIO(content)) as made:
        assert made.testzip() is None
        return {
            name: json.loads(made.read(name)) if name.endswith(".json") else made.read(name)
            for name in made.namelist()
        }


def test_the_archive_holds_everything_of_its_owner_and_nothing_else(
    customer: User, staff: User, service: Service, settings: Settings, tmp_path: Any
) -> None:
    settings.VAR_DIR = tmp_path
    order = order_of(customer, service, link="https://example.com/mine")
    theirs = User.objects.create_user("other@example.com", "x")
    secret = create_key(user=customer, name="My shop", allowed_from="203.0.113.5").secret
    create_key(user=theirs, name="Their shop")
    Device.objects.create(user=customer, session_key="secret-session-key", agent="Firefox, Linux")
    mail.write(customer, mail.Kind.COMPLETED, order=order.pk)
    method = TopUpMethod.objects.create(name="Bank", instructions="Pay.")
    filed = file_request(
        user=customer, method=method, amount=Decimal(20), reference="tr-17",
        client_token=uuid.uuid4(), proof=ContentFile(PICTURE, "r.png"),
    )  # fmt: skip
    client = Client()
    client.force_login(customer)

    answer = client.post(EXPORT)

    assert answer["Content-Type"] == "application/zip"
    assert "no-store" in answer["Cache-Control"]
    content = b"".join(answer)
    files = opened(content)
    [account] = files["account.json"]
    assert (account["email"], account["balance"]) == ("customer@example.com", "9.800000")
    [kept] = files["orders.json"]
    assert (kept["number"], kept["link"], kept["charge"]) == (
        order.pk, "https://example.com/mine", "0.200000",
    )  # fmt: skip
    assert [line["what"] for line in kept["timeline"]] == ["placed"]
    assert [entry["amount"] for entry in files["transactions.json"]] == ["10.000000", "-0.200000"]
    assert [key["name"] for key in files["api_keys.json"]] == ["My shop"]
    assert "Firefox, Linux" in [each["agent"] for each in files["sessions.json"]]
    assert [each["kind"] for each in files["mails.json"]] == ["completed"]
    [top_up] = files["top_ups.json"]
    assert (top_up["reference"], top_up["paid"]) == ("tr-17", "20.000000")
    assert files[f"receipts/{filed.pk}.png"] == files[top_up["receipt"]] == PICTURE
    assert files["requests.json"] == []
    everything = json.dumps({name: str(value) for name, value in files.items()})
    for word in (secret, "secret-session-key", "other@example.com", "Their shop"):
        assert word not in everything


def test_it_is_read_in_pages_and_written_in_small_parts(customer: User, service: Service) -> None:
    first = order_of(customer, service)
    columns = {
        each.attname: getattr(first, each.attname)
        for each in Order._meta.concrete_fields
        if each.attname not in {"id", "client_token", "not_before", "link"}
    }
    Order.objects.bulk_create(
        (Order(**columns, link=f"https://example.com/{number}") for number in range(2500)),
        batch_size=500,
    )

    with CaptureQueriesContext(
        connection,
    ) as asked:
        parts = list(archive(customer))

    assert len(opened(b"".join(parts))["orders.json"]) == 2501
    # Three pages of a thousand with their timelines, an empty one at the end, and the small lists.
    orders = [each for each in asked.captured_queries if 'FROM "orders_order"' in each["sql"]]
    assert len(orders) == 4
    assert len(asked.captured_queries) < 40
    assert max(map(len, parts)) < 70_000


def test_staff_who_look_at_a_customers_pages_get_no_archive(customer: User, staff: User) -> None:
    client = Client()
    client.force_login(staff)
    client.post(f"/admin/accounts/user/{customer.pk}/look_at_pages/", {"token": str(uuid.uuid4())})
    assert "customer@example.com" in client.get("/account/data/").content.decode()

    assert client.post(EXPORT).status_code == 403
    assert client.post("/account/data/delete/").status_code == 403
    customer.refresh_from_db()
    assert customer.deleted_at is None


def test_an_archive_is_for_its_owner_by_post_and_not_all_the_time(customer: User) -> None:
    client = Client()
    assert client.post(EXPORT)["Location"].startswith("/accounts/login/")
    client.force_login(customer)
    assert client.get(EXPORT).status_code == 405

    statuses = [client.post(EXPORT).status_code for _ in range(4)]

    assert statuses == [200, 200, 200, 302]


@pytest.mark.parametrize("page", ["/account/data/", "/account/"])
def test_the_pages_lead_there(customer: User, page: str) -> None:
    client = Client()
    client.force_login(customer)
    assert "/account/data/" in client.get(page).content.decode()
