from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.views.decorators.debug import sensitive_variables

from accounts.keys import InvalidNetwork, create_key
from accounts.models import User


class Command(BaseCommand):
    help = "Create an API key for a customer; the last line printed is the key and nothing else."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument(
            "--name", default="Command line", help="how the customer's page lists it"
        )
        parser.add_argument(
            "--allow", action="append", default=[], help="an address or network it may be used from"
        )

    @sensitive_variables("made")
    def handle(self, *, email: str, name: str, allow: list[str], **_options: Any) -> None:
        user = User.objects.filter(email__iexact=email).first()
        if user is None:
            raise CommandError(f"nobody has the address {email}; create_customer makes an account")
        try:
            made = create_key(user=user, name=name, allowed_from="\n".join(allow))
        except InvalidNetwork as exc:
            raise CommandError(str(exc)) from None
        self.stderr.write(f"A key for {user.email}. It is not shown again:")
        self.stdout.write(made.secret)
