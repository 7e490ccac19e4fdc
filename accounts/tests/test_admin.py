"""Users and groups in the admin, and what all its pages share."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import reverse

from accounts.models import User
from accounts.staff import figure


@pytest.fixture
def owner(client: Client, staff: User) -> Client:
    client.force_login(staff)
    return client


@pytest.fixture
def clerk(client: Client, db: None) -> User:
    """Staff who may edit users; signed in."""
    user = User.objects.create_user("clerk@example.com", "a-Long-passw0rd", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["view_user", "change_user", "change_group"])
    )
    client.force_login(user)
    return user


def change(user: User) -> str:
    return reverse("admin:accounts_user_change", args=[user.pk])


def test_a_user_is_made_with_an_e_mail_address_and_a_password(owner: Client) -> None:
    answer = owner.post(
        reverse("admin:accounts_user_add"),
        {
            "email": "new@example.com",
            "usable_password": "true",
            "password1": "a-Long-passw0rd",
            "password2": "a-Long-passw0rd",
        },
    )

    user = User.objects.get(email="new@example.com")
    assert answer["Location"] == change(user)
    assert user.check_password("a-Long-passw0rd")
    assert not user.is_staff


def test_an_owner_makes_somebody_staff(owner: Client, customer: User) -> None:
    owner.post(change(customer), {"email": customer.email, "is_active": "on", "is_staff": "on"})

    customer.refresh_from_db()
    assert customer.is_staff


def test_a_clerk_can_give_nobody_rights(client: Client, clerk: User, customer: User) -> None:
    rights = {"is_staff": "on", "is_superuser": "on", "groups": "1", "user_permissions": "1"}
    client.post(change(customer), {"email": customer.email, "is_active": "on", **rights})
    client.post(change(clerk), {"email": clerk.email, "is_active": "on", **rights})

    for user in (customer, clerk):
        user.refresh_from_db()
        assert not user.is_superuser
        assert not user.groups.exists()
    assert not customer.is_staff
    assert clerk.user_permissions.count() == 3


def test_a_clerk_can_take_over_no_other_member_of_staff(
    client: Client, clerk: User, staff: User
) -> None:
    password = reverse("admin:auth_user_password_change", args=[staff.pk])
    fields = {"password1": "an0ther-Long-one", "password2": "an0ther-Long-one"}

    assert client.post(password, {**fields, "usable_password": "true"}).status_code == 403
    assert client.post(change(staff), {"email": "clerk2@example.com"}).status_code == 403
    staff.refresh_from_db()
    assert staff.check_password("a-Long-passw0rd")
    assert staff.email == "staff@example.com"


def test_a_clerk_cannot_open_groups(client: Client, clerk: User) -> None:
    group = Group.objects.create(name="support")

    page = reverse("admin:auth_group_change", args=[group.pk])
    assert client.post(page, {"name": "owners"}).status_code == 403
    assert client.get(reverse("admin:auth_group_add")).status_code == 403


def test_nobody_is_deleted(owner: Client, customer: User) -> None:
    page = reverse("admin:accounts_user_delete", args=[customer.pk])

    assert owner.post(page, {"post": "yes"}).status_code == 403
    assert User.objects.filter(pk=customer.pk).exists()


@pytest.mark.parametrize(
    ("value", "places", "shown"),
    [
        (Decimal("1.500000"), 2, "1.50"),
        (Decimal("0.00001"), 2, "0.00001"),
        (Decimal(12), 2, "12.00"),
        (Decimal("-3.2500000"), 2, "-3.25"),
        (Decimal("33.30"), 1, "33.3"),
        (Decimal("7.00"), 0, "7"),
        (Decimal("1E+3"), 2, "1000.00"),
        (None, 2, "–"),
    ],
)
def test_figures_lose_their_empty_decimals_and_nothing_else(
    value: Decimal | None, places: int, shown: str
) -> None:
    assert figure(value, places=places) == shown
