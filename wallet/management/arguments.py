"""What the wallet's commands read from their command line."""

from decimal import Decimal, InvalidOperation

from django.core.management.base import CommandError

from accounts.models import User


def amount(text: str) -> Decimal:
    """An amount of money above nothing; raises CommandError."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise CommandError(f"{text!r} is not an amount, such as 25 or 9.90") from None
    if not value.is_finite() or value <= 0:
        raise CommandError(f"{text!r} is not an amount above nothing")
    return value


def customer(email: str) -> User:
    """The person with that address, in any case; raises CommandError."""
    user = User.objects.filter(email__iexact=email).first()
    if user is None:
        raise CommandError(f"nobody has the address {email}; create_customer makes a customer")
    return user
