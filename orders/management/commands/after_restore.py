from typing import Any

from django.core.management.base import BaseCommand

from orders.restore import after_restore


class Command(BaseCommand):
    help = (
        "Run once after restoring a backup: orders that may have been sent since are held, "
        "searched for, and never sent again by themselves; sending stays paused."
    )

    def handle(self, **_options: Any) -> None:
        held = after_restore()
        self.stdout.write(
            f"{held.orders} orders and {held.requests} refill or cancel requests are held. "
            f"Sending is paused for {held.providers} providers: look at the unconfirmed orders, "
            "then run `manage.py resume_sending PROVIDER` for each."
        )
