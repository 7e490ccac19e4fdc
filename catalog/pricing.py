"""What a service costs us and what it costs the customer: pure arithmetic in exact Decimal."""

from collections.abc import Sequence
from decimal import ROUND_UP, Context, Decimal

from wallet.money import ZERO, round_money

RATE_STEP = Decimal("0.0000001")
# What fits RateField: 15 digits, 7 of them after the point.
RATE_LIMIT = Decimal("99999999")

# Two rates of 15 digits multiply to 30; the default context would round them at 28, to either side.
_EXACT = Context(prec=100)


def _round_rate(rate: Decimal) -> Decimal:
    return rate.quantize(RATE_STEP, ROUND_UP, _EXACT)


def site_cost(cost_rate: Decimal, exchange_rate: Decimal) -> Decimal:
    """A provider's rate in the site's currency, rounded up to what RateField keeps."""
    return _round_rate(_EXACT.multiply(cost_rate, exchange_rate))


def price_rate(
    *,
    cost_rate: Decimal,
    exchange_rate: Decimal,
    markups: Sequence[Decimal | None],
    pinned: Decimal | None,
) -> Decimal:
    """The price of 1,000 units (of one package) in the site's currency, never below cost.

    `markups` are the percentages of service, category, provider and site: the first that is
    given wins, and a pinned price wins over all of them. The result may be too large for
    RateField; whoever stores it compares it with RATE_LIMIT.
    """
    cost = site_cost(cost_rate, exchange_rate)
    if pinned is not None:
        return max(_round_rate(pinned), cost)
    markup = next((markup for markup in markups if markup is not None), ZERO)
    marked_up = _EXACT.multiply(cost, _EXACT.add(markup, Decimal(100))).scaleb(-2, _EXACT)
    return max(_round_rate(marked_up), cost)


def charge(rate: Decimal, units: int, *, flat: bool) -> Decimal:
    """What `units` cost at `rate` per 1,000 (at `rate` once when flat), rounded up to 0.00001."""
    if flat:
        return round_money(rate, up=True)
    return round_money(_EXACT.multiply(rate, Decimal(units)).scaleb(-3, _EXACT), up=True)
