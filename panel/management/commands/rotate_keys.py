from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.encryption import UnreadableSecret
from panel.rotation import rotate_all


class Command(BaseCommand):
    help = (
        "Encrypt all provider keys and two-factor secrets with the first key of PANEL_SECRET_KEYS; "
        "the other keys can be removed afterwards."
    )

    def handle(self, **_options: Any) -> None:
        try:
            done = rotate_all()
        except UnreadableSecret as exc:
            raise CommandError(f"Nothing was changed: {exc}") from None
        self.stdout.write(
            f"{done.fields} stored keys and {done.factors} second factors are under the first key; "
            "the other keys can be removed."
        )
