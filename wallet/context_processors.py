from collections.abc import Callable
from decimal import Decimal
from functools import cache

from django.http import HttpRequest

from wallet.models import Account
from wallet.money import ZERO


def balance(request: HttpRequest) -> dict[str, Callable[[], Decimal]]:
    """The customer's balance, read once and only by pages that show it; nothing without account."""
    user = request.user

    @cache
    def read() -> Decimal:
        if not user.is_authenticated:
            return ZERO
        return balance_of(user.pk)

    return {"balance": read}


def balance_of(user_id: int) -> Decimal:
    """What the customer has now; 0 before the account exists."""
    found = Account.objects.filter(user_id=user_id).values_list("balance", flat=True).first()
    return ZERO if found is None else Decimal(found)
