"""Keys rotate: put a new one first, run the command, remove the old one."""

import io

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.encryption import UnreadableSecret, decrypt, encrypt
from accounts.models import User
from catalog.models import Provider
from panel.rotation import encrypted_fields

OLD, NEW = "old-key-" + "x" * 40, "new-key-" + "y" * 40


def stored_key() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT api_key FROM catalog_provider")
        return str(cursor.fetchone()[0])


def test_the_old_key_can_be_removed_after_the_command(
    db: None, staff: User, settings: LazySettings
) -> None:
    settings.SECRET_KEYS = [OLD]
    Provider.objects.create(name="Upstream", url="https://example.com", api_key="its-key")
    secret = generate_totp_secret()
    TOTP.activate(staff, secret)
    RecoveryCodes.activate(staff)
    codes = Authenticator.objects.get(type="recovery_codes").wrap().generate_codes()
    before = stored_key()

    settings.SECRET_KEYS = [NEW, OLD]
    said = io.StringIO()
    call_command("rotate_keys", stdout=said)

    settings.SECRET_KEYS = [NEW]
    assert "1 stored keys and 2 second factors" in said.getvalue()
    assert stored_key() != before
    assert Provider.objects.get().api_key == "its-key"
    factors = {each.type: each.wrap() for each in Authenticator.objects.all()}
    assert factors["recovery_codes"].generate_codes() == codes

    assert decrypt(factors["totp"].instance.data["secret"]) == secret


def test_codes_that_came_from_elsewhere_rotate_too(staff: User, settings: LazySettings) -> None:
    settings.SECRET_KEYS = [OLD]
    Authenticator.objects.create(
        user=staff, type="recovery_codes",
        data={"migrated_codes": [encrypt("one"), encrypt("two")]},
    )  # fmt: skip
    settings.SECRET_KEYS = [NEW, OLD]
    call_command("rotate_keys", stdout=io.StringIO())

    settings.SECRET_KEYS = [NEW]
    assert Authenticator.objects.get().wrap().get_unused_codes() == ["one", "two"]


def test_without_the_old_key_nothing_is_changed_and_the_command_says_so(
    db: None, settings: LazySettings
) -> None:
    settings.SECRET_KEYS = [OLD]
    Provider.objects.create(name="Upstream", url="https://example.com", api_key="its-key")
    before = stored_key()
    settings.SECRET_KEYS = [NEW]

    with pytest.raises(CommandError, match="Nothing was changed"):
        call_command("rotate_keys")

    assert stored_key() == before
    with pytest.raises(UnreadableSecret):
        Provider.objects.get()


def test_the_providers_key_is_among_the_columns() -> None:
    assert ("provider", "api_key") in {
        (model._meta.model_name, field.name) for model, field in encrypted_fields()
    }
