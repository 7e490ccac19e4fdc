"""Secrets at rest: provider keys and two-factor secrets, under a list of keys that can rotate."""

import base64
import functools
import hashlib
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models


class UnreadableSecret(Exception):
    """The stored secret was encrypted with a key that PANEL_SECRET_KEYS no longer lists."""


def _fernet() -> MultiFernet:
    return _fernet_of(tuple(settings.SECRET_KEYS))


@functools.lru_cache(maxsize=4)
def _fernet_of(keys: tuple[str, ...]) -> MultiFernet:
    # Any text serves as a key: it is stretched to the 32 bytes that Fernet wants.
    return MultiFernet(
        Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())) for key in keys
    )


def encrypt(secret: str) -> str:
    """Encrypt with the first key of the list."""
    return _fernet().encrypt(secret.encode()).decode()


def decrypt(stored: str) -> str:
    """Decrypt with any key of the list; raises UnreadableSecret when none fits."""
    try:
        return _fernet().decrypt(stored.encode()).decode()
    except InvalidToken:
        raise UnreadableSecret("no key of PANEL_SECRET_KEYS reads this secret") from None


def rotate(stored: str) -> str:
    """The same secret under the first key of the list."""
    return encrypt(decrypt(stored))


class EncryptedTextField(models.TextField[str, str]):
    """Text that the database only ever sees encrypted; empty stays empty."""

    def get_prep_value(self, value: Any) -> Any:
        return encrypt(value) if value else ""

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> str:  # noqa: ARG002
        return decrypt(value) if value else ""
