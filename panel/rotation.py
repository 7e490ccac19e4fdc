"""Puts every stored secret under the first key of PANEL_SECRET_KEYS, so that the others can go."""

from dataclasses import dataclass
from typing import Any

from allauth.mfa.models import Authenticator
from django.apps import apps
from django.db import models, transaction

from accounts.encryption import EncryptedTextField, rotate


@dataclass(frozen=True)
class Rotated:
    """How many rows were written anew."""

    fields: int
    factors: int


@transaction.atomic
def rotate_all() -> Rotated:
    """Encrypt all secrets anew: every one, or none.

    Raises UnreadableSecret when one of them was encrypted with a key that is no longer listed.
    """
    fields = sum(_rotate_field(model, field) for model, field in encrypted_fields())
    authenticators = Authenticator.objects.select_for_update().order_by("pk")
    factors = sum(_rotate_factor(each) for each in authenticators)
    return Rotated(fields=fields, factors=factors)


def encrypted_fields() -> list[tuple[type[models.Model], EncryptedTextField]]:
    """Every column that is encrypted, in every model: a new one is rotated by itself."""
    return [
        (model, field)
        for model in apps.get_models()
        for field in model._meta.get_fields()
        if isinstance(field, EncryptedTextField)
    ]


def _rotate_field(model: type[models.Model], field: EncryptedTextField) -> int:
    rows = model._default_manager.select_for_update().order_by("pk")
    secrets = rows.exclude(**{field.name: ""}).values_list("pk", field.name)
    for pk, secret in list(secrets):
        # Reading decrypts with any key, writing encrypts with the first.
        model._default_manager.filter(pk=pk).update(**{field.name: secret})
    return len(secrets)


def _rotate_factor(authenticator: Authenticator) -> bool:
    """The second factor's secret, or a set of recovery codes' seed and own codes."""
    data: dict[str, Any] = dict(authenticator.data)
    for name in ("secret", "seed"):
        if name in data:
            data[name] = rotate(data[name])
    if "migrated_codes" in data:
        data["migrated_codes"] = [rotate(code) for code in data["migrated_codes"]]
    if data == authenticator.data:
        return False
    authenticator.data = data
    authenticator.save(update_fields=["data"])
    return True
