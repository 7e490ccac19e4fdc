"""How amounts are written: in the site's currency, with the reader's separators."""

from decimal import Decimal

from django import template
from django.conf import settings
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from wallet.money import STEP

register = template.Library()

_SYMBOLS = {
    "USD": "$", "EUR": "€", "GBP": "£", "TRY": "₺", "INR": "₹", "JPY": "¥", "BRL": "R$",
    "RUB": "₽", "UAH": "₴", "NGN": "₦", "VND": "₫", "KRW": "₩",
}  # fmt: skip
_MINUS = "\u2212"
_RATE_STEP = Decimal("0.0000001")


def _places(amount: Decimal, *, least: int) -> int:
    """The decimal places that say something, but not fewer than `least`."""
    exponent = amount.normalize().as_tuple().exponent
    return max(least, -exponent) if isinstance(exponent, int) else least


def _write(amount: Decimal, step: Decimal) -> str:
    exact = abs(amount).quantize(step)
    digits = number_format(
        exact, decimal_pos=_places(exact, least=2), use_l10n=True, force_grouping=True
    )
    sign = _MINUS if amount < 0 else ""
    if symbol := _SYMBOLS.get(settings.CURRENCY):
        return f"{sign}{symbol}{digits}"
    # A no-break space keeps the code with its number.
    return f"{sign}{digits}\u00a0{settings.CURRENCY}"


@register.filter
def money(amount: Decimal | None) -> str:
    """An amount: two decimals, up to five when they are not nothing."""
    return "" if amount is None else _write(Decimal(amount), STEP)


@register.filter
def amount(text: str) -> str:
    """An amount that was kept as text, as in a mail's values."""
    return money(Decimal(text))


@register.filter
def signed_money(amount: Decimal) -> str:
    """An amount that came in or went out, with its sign."""
    return f"+{money(amount)}" if amount > 0 else money(amount)


@register.filter
def rate(amount: Decimal | None) -> str:
    """A price per 1,000, as fine as it is stored."""
    return "" if amount is None else _write(Decimal(amount), _RATE_STEP)


@register.filter
def percent(value: Decimal) -> str:
    """A percentage without its sign: the word beside it says bonus or fee."""
    exact = abs(value)
    digits = number_format(exact, decimal_pos=_places(exact, least=0), use_l10n=True)
    # As the language writes it: "5%" or "%5".
    return _("%(number)s%%") % {"number": digits}


@register.filter
def number(value: int | None) -> str:
    """A whole number with the reader's thousands separator."""
    return "" if value is None else str(number_format(value, use_l10n=True, force_grouping=True))
