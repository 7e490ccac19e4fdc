from typing import Any

from allauth.account.models import EmailAddress
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email
from django.db import transaction

from accounts.models import User
from catalog.services import ensure_first_provider
from panel import env
from panel.roles import ensure_roles


class Command(BaseCommand):
    help = (
        "Bring the database up to date, make the roles of staff, the first admin from ADMIN_EMAIL and "
        "ADMIN_PASSWORD and the first provider from the environment. Repeating it changes nothing."
    )

    def handle(self, **_options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        self.stdout.write("The database is up to date.")
        self.stdout.write(str(ensure_roles()))
        self.stdout.write(_first_admin())
        provider = ensure_first_provider()
        self.stdout.write(f"Provider: {provider}." if provider else "No provider yet.")


def _first_admin() -> str:
    """Make the admin unless someone of that address is there; whoever is keeps their password."""
    email, password = env.text("ADMIN_EMAIL"), env.text("ADMIN_PASSWORD")
    if not email:
        return "No admin was made: ADMIN_EMAIL is not set."
    if User.objects.filter(email__iexact=email).exists():
        return f"{email} has an account already; nothing was changed."
    if not password:
        raise CommandError("ADMIN_PASSWORD (or ADMIN_PASSWORD_FILE) must be set with ADMIN_EMAIL")
    try:
        validate_email(email)
        validate_password(password, User(email=email))
    except ValidationError as exc:
        raise CommandError(" ".join(exc.messages)) from None
    _create(email, password)
    return f"Admin: {email}."


@transaction.atomic
def _create(email: str, password: str) -> None:
    user = User.objects.create_superuser(email, password)
    # Who sets the environment vouches for the address.
    EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=True)
