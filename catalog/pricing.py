"""What a service costs us and what it costs the customer: pure arithmetic in exact Decimal."""

from collections.abc import Sequence
from decimal import ROUND_UP, Context, Decimal
from enum import StrEnum
from typing import NamedTuple

from wallet.money import ZERO, round_money

RATE_STEP = Decimal("0.0000001")
# What fits RateField: 15 digits, 7 of them after the point.
RATE_LIMIT = Decimal("99999999")

# Two rates of 15 digits multiply to 30; the default context would round them at 28, to either side.
_EXACT = Context(prec=100)
_HUNDRED = Decimal(100)


class Layer(StrEnum):
    """Where a rule stands, the nearest to the service first."""

    SERVICE = "service"
    CATEGORY = "category"
    PROVIDER = "provider"
    SITE = "site"


LAYERS = tuple(Layer)


class Rule(NamedTuple):
    """One layer's rules: markup in percent of cost and fixed per 1,000 in the site's currency, the
    least margin in percent of the price, and the step to which prices are rounded up."""

    percent: Decimal | None = None
    fixed: Decimal | None = None
    margin: Decimal | None = None
    step: Decimal | None = None

    @property
    def makes_markup(self) -> bool:
        return self.percent is not None or self.fixed is not None


NO_RULE = Rule()


class Price(NamedTuple):
    """A price and how it came about.

    `markup`, `margin` and `step` are the layers whose rule was used; None when none was: a pinned
    price has no markup, `margin` is there only when the minimum margin (or, without a layer, bare
    cost) raised the price.
    """

    rate: Decimal
    cost: Decimal
    floor: Decimal
    is_pinned: bool
    markup: Layer | None
    margin: Layer | None
    step: Layer | None
    is_raised: bool


def _round_rate(rate: Decimal) -> Decimal:
    return rate.quantize(RATE_STEP, ROUND_UP, _EXACT)


def site_cost(cost_rate: Decimal, exchange_rate: Decimal) -> Decimal:
    """A provider's rate in the site's currency, rounded up to what RateField keeps."""
    return _round_rate(_EXACT.multiply(cost_rate, exchange_rate))


def floor_rate(cost: Decimal, margin: Decimal | None) -> Decimal:
    """The lowest price of which `margin` percent stay with us; cost itself without a margin."""
    if not margin:
        return cost
    exact = _EXACT.divide(_EXACT.multiply(cost, _HUNDRED), _EXACT.subtract(_HUNDRED, margin))
    return _round_rate(exact)


def rounded_up(rate: Decimal, step: Decimal | None) -> Decimal:
    """The next multiple of `step`, or of what RateField keeps."""
    if not step:
        return _round_rate(rate)
    steps = _EXACT.divide(rate, step).quantize(Decimal(1), ROUND_UP, _EXACT)
    return _EXACT.multiply(steps, step)


def work_out(
    *,
    cost_rate: Decimal,
    exchange_rate: Decimal,
    rules: Sequence[Rule],
    pinned: Decimal | None,
) -> Price:
    """The price of 1,000 units (of one package) in the site's currency, never below cost.

    `rules` are those of service, category, provider and site. The nearest layer with a percentage
    or a fixed amount makes the markup with both of them; minimum margin and rounding step are each
    the nearest one's. A pinned price wins over all of them. The result may be too large for
    RateField; whoever stores it compares it with RATE_LIMIT.
    """
    cost = site_cost(cost_rate, exchange_rate)
    markup_at, margin_at, step_at = _nearest(rules)
    floor = floor_rate(cost, rules[margin_at].margin if margin_at is not None else None)
    if pinned is not None:
        rate = max(_round_rate(pinned), cost)
        return Price(rate, cost, floor, True, None, None, None, is_raised=rate > pinned)
    marked_up = _marked_up(cost, rules[markup_at] if markup_at is not None else NO_RULE)
    is_raised = marked_up < floor
    step = rules[step_at].step if step_at is not None else None
    return Price(
        rate=rounded_up(max(marked_up, floor), step),
        cost=cost,
        floor=floor,
        is_pinned=False,
        markup=_layer(markup_at),
        margin=_layer(margin_at) if is_raised else None,
        step=_layer(step_at),
        is_raised=is_raised,
    )


def _nearest(rules: Sequence[Rule]) -> tuple[int | None, int | None, int | None]:
    """Where the first markup, the first minimum margin and the first step are."""
    markup_at = margin_at = step_at = None
    for at, rule in enumerate(rules):
        if rule is NO_RULE:
            continue  # the common case, thousands of times in a sync
        percent, fixed, margin, step = rule
        if markup_at is None and (percent is not None or fixed is not None):
            markup_at = at
        if margin_at is None and margin is not None:
            margin_at = at
        if step_at is None and step is not None:
            step_at = at
    return markup_at, margin_at, step_at


def _layer(at: int | None) -> Layer | None:
    return None if at is None else LAYERS[at]


def _marked_up(cost: Decimal, rule: Rule) -> Decimal:
    percent = _EXACT.add(rule.percent or ZERO, _HUNDRED)
    marked_up = _EXACT.multiply(cost, percent).scaleb(-2, _EXACT)
    return _EXACT.add(marked_up, rule.fixed or ZERO)


class CustomerRate(NamedTuple):
    """What one customer pays per 1,000 (per package), and by which rule.

    `is_below_floor` marks a price that somebody allowed to fall below cost plus minimum margin.
    """

    rate: Decimal
    source: str  # "list", "group" or "own"
    is_below_floor: bool


def customer_rate(
    *,
    list_rate: Decimal,
    floor: Decimal,
    own: Decimal | None = None,
    own_may_undercut: bool = False,
    discount: Decimal | None = None,
    group_may_undercut: bool = False,
) -> CustomerRate:
    """The customer's own price, else the list's less the group's discount, else the list's.

    None of them falls below `floor` unless it may; a list price that lies below it already (a
    pinned one) is not raised for a member of a group.
    """
    if own is not None:
        rate = own if own_may_undercut else max(own, floor)
        return CustomerRate(rate, "own", rate < floor)
    if not discount:
        return CustomerRate(list_rate, "list", False)
    part = _EXACT.multiply(list_rate, _EXACT.subtract(_HUNDRED, discount)).scaleb(-2, _EXACT)
    rate = _round_rate(part)
    if not group_may_undercut:
        rate = max(rate, min(floor, list_rate))
    return CustomerRate(rate, "group", rate < min(floor, list_rate))


def is_loss(*, cost: Decimal, price: Decimal, tolerance: Decimal) -> bool:
    """Whether something that costs `cost` must not be sold at `price`.

    Without tolerance the cost may not even reach the price; with one it may be that many percent
    above it.
    """
    if not tolerance:
        return cost >= price
    return _EXACT.multiply(cost, _HUNDRED) > _EXACT.multiply(price, _EXACT.add(_HUNDRED, tolerance))


def charge(rate: Decimal, units: int, *, flat: bool) -> Decimal:
    """What `units` cost at `rate` per 1,000 (at `rate` once when flat), rounded up to 0.00001."""
    if flat:
        return round_money(rate, up=True)
    return round_money(_EXACT.multiply(rate, Decimal(units)).scaleb(-3, _EXACT), up=True)
