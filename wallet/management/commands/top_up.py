from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from wallet.errors import AlreadyPosted, InvalidAmount
from wallet.management.arguments import amount, customer
from wallet.services import top_up


class Command(BaseCommand):
    help = "Credit a customer's wallet with a payment."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("amount")
        parser.add_argument("--note", required=True, help="what was paid, for the ledger")
        parser.add_argument(
            "--reference", default="", help="the payment's own number: it is credited only once"
        )

    def handle(self, *, email: str, note: str, reference: str, **options: Any) -> None:
        value = amount(options["amount"])
        user = customer(email)
        try:
            entry = top_up(user=user, amount=value, note=note, reference=reference)
        except InvalidAmount as exc:
            raise CommandError(str(exc)) from None
        except AlreadyPosted:
            raise CommandError(f"the payment {reference} was credited before") from None
        self.stdout.write(
            f"{user.email}: {value} {settings.CURRENCY} added, "
            f"balance {entry.balance_after} {settings.CURRENCY}"
        )
