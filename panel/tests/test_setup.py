"""`manage.py setup` makes a usable site out of an environment, once."""

import io
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import User
from panel.roles import APPS, DEFAULTS, ensure_roles
from wallet.models import Ceiling

PASSWORD = "a-Long-passw0rd"


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_EMAIL", "owner@example.com")
    monkeypatch.setenv("ADMIN_PASSWORD", PASSWORD)


def run() -> str:
    said = io.StringIO()
    call_command("setup", stdout=said)
    return said.getvalue()


def test_the_first_admin_can_sign_in_and_open_the_admin(
    client: Client, admin: None, db: None
) -> None:
    assert "Admin: owner@example.com." in run()

    client.post("/accounts/login/", {"login": "owner@example.com", "password": PASSWORD})
    assert client.get("/admin/").status_code == 200


def test_repeating_it_changes_nothing_and_keeps_a_changed_password(admin: None, db: None) -> None:
    run()
    owner = User.objects.get()
    owner.set_password("an0ther-Long-one")
    owner.save()

    said = run()

    owner.refresh_from_db()
    assert "has an account already" in said
    assert owner.check_password("an0ther-Long-one")
    assert PASSWORD not in said


def test_the_password_may_come_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, db: None
) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    monkeypatch.setenv("ADMIN_EMAIL", "owner@example.com")
    monkeypatch.setenv("ADMIN_PASSWORD_FILE", str(tmp_path / "password"))

    run()

    assert User.objects.get().check_password(PASSWORD)


@pytest.mark.parametrize(
    ("email", "password", "said"),
    [
        ("owner@example.com", "", "ADMIN_PASSWORD"),
        ("owner@example.com", "12345678", "common"),
        ("owner", PASSWORD, "valid email"),
    ],
)
def test_an_admin_who_could_not_be_safe_is_refused(
    monkeypatch: pytest.MonkeyPatch, db: None, email: str, password: str, said: str
) -> None:
    monkeypatch.setenv("ADMIN_EMAIL", email)
    monkeypatch.setenv("ADMIN_PASSWORD", password)

    with pytest.raises(CommandError, match=said):
        run()
    assert not User.objects.exists()


def test_without_an_admin_in_the_environment_none_is_made(
    monkeypatch: pytest.MonkeyPatch, db: None
) -> None:
    monkeypatch.delenv("ADMIN_EMAIL", raising=False)

    assert "No admin was made" in run()
    assert not User.objects.exists()


def test_the_roles_are_made_and_kept_complete(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    monkeypatch.delenv("ADMIN_EMAIL", raising=False)
    Group.objects.all().delete()

    assert "made Support, Pricing, Owner" in run()

    ours = Permission.objects.filter(content_type__app_label__in=APPS)
    assert Group.objects.get(name="Owner").permissions.count() == ours.count()
    support = Group.objects.get(name="Support")
    assert support.permissions.count() == len(DEFAULTS["Support"])
    assert (Ceiling.objects.get().group, Ceiling.objects.get().refund) == (support, 50)


def test_what_the_operator_took_away_stays_away_and_owners_get_what_is_new(db: None) -> None:
    ensure_roles()
    support, owner = Group.objects.get(name="Support"), Group.objects.get(name="Owner")
    support.permissions.remove(Permission.objects.get(codename="refund_order"))
    owner.permissions.remove(Permission.objects.get(codename="delete_customer_data"))

    done = ensure_roles()

    assert (done.made, done.given) == ([], 1)
    assert not support.permissions.filter(codename="refund_order").exists()
    assert owner.permissions.filter(codename="delete_customer_data").exists()
    assert ensure_roles().given == 0
