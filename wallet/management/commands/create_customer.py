from decimal import Decimal
from typing import Any

from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email
from django.db import transaction
from django.urls import reverse

from accounts.models import User
from wallet.errors import InvalidAmount
from wallet.management.arguments import amount
from wallet.services import open_account, top_up


class Command(BaseCommand):
    help = "Create a customer and print the link at which they choose their password."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--balance", help="credited at once")

    def handle(self, *, email: str, balance: str | None, **_options: Any) -> None:
        credit = amount(balance) if balance else None
        try:
            validate_email(email)
        except ValidationError:
            raise CommandError(f"{email!r} is not an e-mail address") from None
        if User.objects.filter(email__iexact=email).exists():
            raise CommandError(f"{email} has an account already; top_up credits it")
        try:
            user = _create(email, credit)
        except InvalidAmount as exc:
            raise CommandError(str(exc)) from None
        self.stdout.write(f"{user.email} can choose a password at:\n{_password_link(user)}")


@transaction.atomic
def _create(email: str, credit: Decimal | None) -> User:
    user = User.objects.create_user(email)
    # Who runs this command vouches for the address.
    EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=True)
    open_account(user)
    if credit:
        top_up(user=user, amount=credit, note="Opening balance")
    return user


def _password_link(user: User) -> str:
    path = reverse(
        "account_reset_password_from_key",
        kwargs={
            "uidb36": user_pk_to_url_str(user),
            "key": default_token_generator.make_token(user),
        },
    )
    return f"{settings.SITE_URL}{path}"
