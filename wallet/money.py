"""What money is here: how it is stored, and the one place where it is rounded.

A value has at most 15 digits, because SQLite keeps a decimal as a double and a double keeps 15 digits
exactly. Sums are made in Python's Decimal under the account's lock; SQL never adds money, but for the
one statement that places an order on PostgreSQL, whose `numeric` is as exact.
"""

from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Any

from django.db import models

ZERO = Decimal(0)
STEP = Decimal("0.00001")
# What fits MoneyField; a top-up or a charge above it is refused before it reaches the database.
LIMIT = Decimal("999999999")


def round_money(amount: Decimal, *, up: bool) -> Decimal:
    """Round to 0.00001: what a customer pays goes up, what a customer gets back goes down."""
    return amount.quantize(STEP, rounding=ROUND_UP if up else ROUND_DOWN)


class MoneyField(models.DecimalField[Any, Any]):
    """An amount in the site's currency (or the currency the name says)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.update(max_digits=15, decimal_places=6)
        super().__init__(*args, **kwargs)


class RateField(models.DecimalField[Any, Any]):
    """A price per 1,000 units (or an exchange rate), finer than money."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.update(max_digits=15, decimal_places=7)
        super().__init__(*args, **kwargs)
