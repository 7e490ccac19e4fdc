from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from catalog.models import Provider
from orders import gates
from orders.errors import NotPossible


class Command(BaseCommand):
    help = "Send orders to a provider again after a pause."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("provider", help="its name or its number")

    def handle(self, *, provider: str, **_options: Any) -> None:
        found = Provider.objects.filter(name=provider).first()
        if found is None and provider.isdecimal():
            found = Provider.objects.filter(pk=int(provider)).first()
        if found is None:
            names = ", ".join(Provider.objects.values_list("name", flat=True))
            raise CommandError(f"There is no provider {provider!r}; there are: {names}.")
        try:
            gates.resume(found.pk)
        except NotPossible as exc:
            raise CommandError(str(exc)) from None
        self.stdout.write(f"Sending to {found} again.")
