"""API keys, callbacks and messages in the admin: to look at, without a secret; a key can be ended."""

from collections.abc import Callable

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.keys import NewKey, create_key
from accounts.models import ApiKey, User
from catalog.models import Service
from orders.callbacks import set_callback
from orders.models import Callback, Delivery
from orders.states import Status
from orders.tests.api_world import Program


@pytest.fixture
def made(customer: User) -> NewKey:
    return create_key(user=customer, name="My shop", allowed_from="192.0.2.7, 127.0.0.1")


@pytest.fixture
def callback(customer: User) -> Callback:
    return set_callback(customer, "https://shop.example.com/told")


@pytest.fixture
def delivery(customer: User, service: Service, callback: Callback) -> Delivery:
    return Delivery.objects.create(
        callback=callback,
        order=Program(customer).order(service.pk),
        status=Status.COMPLETED,
        state=Delivery.State.FAILED,
        http_status=500,
        answer="the shop is closed",
        tried_at=timezone.now(),
    )


@pytest.fixture
def owner(staff: User) -> Client:
    client = Client()
    client.force_login(staff)
    return client


@pytest.fixture
def employee(db: None) -> Callable[..., Client]:
    def sign_in(*rights: str) -> Client:
        user = User.objects.create_user("clerk@example.com", "a-Long-passw0rd", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=rights))
        client = Client()
        client.force_login(user)
        return client

    return sign_in


def pages_of(*rows: ApiKey | Callback | Delivery) -> list[str]:
    names = [f"admin:{row._meta.app_label}_{row._meta.model_name}" for row in rows]
    lists = [reverse(f"{name}_changelist") for name in names]
    return lists + [
        reverse(f"{name}_change", args=[row.pk]) for name, row in zip(names, rows, strict=True)
    ]


def revoke_page(key: ApiKey) -> str:
    return reverse("admin:accounts_apikey_revoke", args=[key.pk])


def test_no_page_shows_a_secret(
    owner: Client, made: NewKey, callback: Callback, delivery: Delivery
) -> None:
    for page in [*pages_of(made.key, callback, delivery), revoke_page(made.key)]:
        response = owner.get(page)
        text = response.content.decode()
        assert response.status_code == 200
        # Compared here, so that a failure prints no secret.
        is_shown = any(each in text for each in (made.secret, made.key.digest, callback.secret))
        assert not is_shown, page


def test_the_pages_say_whose_key_it_is_and_what_a_message_met(
    owner: Client, made: NewKey, callback: Callback, delivery: Delivery
) -> None:
    keys, callbacks, deliveries, key, _callback, message = (
        owner.get(page).content.decode() for page in pages_of(made.key, callback, delivery)
    )

    assert made.key.prefix in keys
    assert "customer@example.com" in keys
    assert "192.0.2.7" in key
    assert callback.url in callbacks
    assert "given up" in deliveries
    assert "the shop is closed" in message


def test_nothing_is_added_edited_or_deleted_there(
    owner: Client, made: NewKey, callback: Callback, delivery: Delivery
) -> None:
    for row in (made.key, callback, delivery):
        name = f"admin:{row._meta.app_label}_{row._meta.model_name}"
        assert owner.get(reverse(f"{name}_add")).status_code == 403
        assert owner.post(reverse(f"{name}_delete", args=[row.pk])).status_code == 403
        assert (
            owner.post(reverse(f"{name}_change", args=[row.pk]), {"name": "x"}).status_code == 403
        )


def test_looking_at_the_question_revokes_nothing(owner: Client, made: NewKey) -> None:
    assert "Revoke" in owner.get(revoke_page(made.key)).content.decode()

    made.key.refresh_from_db()
    assert made.key.revoked_at is None


def test_a_revoked_key_works_no_more_and_the_history_says_who_did_it(
    owner: Client, staff: User, made: NewKey
) -> None:
    token = "3f0f7dd4-26a2-4a2d-a3a9-0d7d3b1a6c11"
    program = Program(made.key.user, made.secret)
    assert "balance" in program("balance")

    first = owner.post(revoke_page(made.key), {"token": token})
    again = owner.post(revoke_page(made.key), {"token": token})

    assert first.status_code == 302
    assert "The key was revoked before." in again.content.decode()
    assert program("balance") == {"error": "Invalid API key"}
    assert LogEntry.objects.get().user == staff


def test_whoever_may_only_look_revokes_nothing(
    employee: Callable[..., Client], made: NewKey
) -> None:
    client = employee("view_apikey")

    assert client.get(pages_of(made.key)[0]).status_code == 200
    assert client.post(revoke_page(made.key)).status_code == 403
    made.key.refresh_from_db()
    assert made.key.revoked_at is None


def test_whoever_lacks_the_right_sees_none_of_it(
    employee: Callable[..., Client], made: NewKey, callback: Callback, delivery: Delivery
) -> None:
    client = employee()

    assert {client.get(page).status_code for page in pages_of(made.key, callback, delivery)} == {
        403
    }
