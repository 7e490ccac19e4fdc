from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.pricing import (
    RATE_STEP,
    Layer,
    Price,
    Rule,
    charge,
    customer_rate,
    floor_rate,
    is_loss,
    rounded_up,
    site_cost,
    work_out,
)

D = Decimal
RATES = st.decimals(min_value="0.0000001", max_value="99999999", places=7)
PERCENTS = st.decimals(min_value=0, max_value=100_000, places=3)


def number(text: str | None) -> D | None:
    return None if text is None else D(text)


def price(cost: str, *markups: str | None, pinned: str | None = None, exchange: str = "1") -> D:
    return work_out(
        cost_rate=D(cost),
        exchange_rate=D(exchange),
        rules=[Rule(number(markup)) for markup in markups],
        pinned=number(pinned),
    ).rate


def priced(cost: D, exchange: D, markup: D, pinned: D | None = None) -> D:
    found = work_out(cost_rate=cost, exchange_rate=exchange, rules=[Rule(markup)], pinned=pinned)
    return found.rate


@pytest.mark.parametrize(
    ("cost", "exchange", "expected"),
    [
        ("1", "1", "1"),
        ("0.9", "1.1", "0.99"),
        ("0.0000001", "0.5", "0.0000001"),
        ("1.2345678", "1.2345678", "1.5241577"),
        ("99999999", "0.0000001", "9.9999999"),
    ],
)
def test_the_cost_in_the_site_s_currency_is_rounded_up(
    cost: str, exchange: str, expected: str
) -> None:
    assert site_cost(D(cost), D(exchange)) == D(expected)


@pytest.mark.parametrize(
    ("markups", "expected"),
    [
        (("100", "50", "20", "10"), "2"),
        ((None, "50", "20", "10"), "1.5"),
        ((None, None, "20", "10"), "1.2"),
        ((None, None, None, "10"), "1.1"),
        (("0", "50", "20", "10"), "1"),  # 0 % is a decision, not a gap
        ((None, None, None, None), "1"),
        (("-50",), "1"),
    ],
)
def test_the_nearest_markup_wins(markups: tuple[str | None, ...], expected: str) -> None:
    assert price("1", *markups) == D(expected)


def test_a_pinned_price_wins_over_every_markup() -> None:
    assert price("1", "100", "50", pinned="1.25") == D("1.25")


def test_a_pinned_price_is_raised_to_cost() -> None:
    assert price("1", pinned="0.5", exchange="3") == 3


def test_a_third_of_a_step_counts_as_a_whole_one() -> None:
    assert price("0.0000001", "1") == D("0.0000002")


@given(cost=RATES, exchange=RATES, markup=PERCENTS, pinned=st.none() | RATES)
def test_no_price_is_below_cost(cost: D, exchange: D, markup: D, pinned: D | None) -> None:
    found = priced(cost, exchange, markup, pinned)

    assert Fraction(found) >= Fraction(cost) * Fraction(exchange)
    assert found.as_tuple().exponent == RATE_STEP.as_tuple().exponent


@given(cost=RATES, exchange=RATES, lower=PERCENTS, more=PERCENTS)
def test_a_higher_markup_never_makes_a_lower_price(cost: D, exchange: D, lower: D, more: D) -> None:
    low, high = (priced(cost, exchange, markup) for markup in (lower, lower + more))

    assert low <= high


@given(cost=RATES, exchange=RATES, markup=PERCENTS)
def test_a_price_is_at_most_two_roundings_above_the_exact_one(
    cost: D, exchange: D, markup: D
) -> None:
    found = priced(cost, exchange, markup)
    factor = 1 + Fraction(markup) / 100
    exact = Fraction(cost) * Fraction(exchange) * factor

    assert exact <= Fraction(found) < exact + Fraction(RATE_STEP) * (1 + factor)


@pytest.mark.parametrize(
    ("rate", "units", "flat", "expected"),
    [
        ("2", 1000, False, "2"),
        ("2", 1, False, "0.002"),
        ("0.0000001", 1, False, "0.00001"),
        ("0.28", 333, False, "0.09324"),
        ("5.5", 1, True, "5.5"),
        ("5.5000001", 1, True, "5.50001"),
        ("99999999", 10**12, False, "99999999000000000"),
    ],
)
def test_a_charge_is_by_the_thousand_or_flat_and_rounded_up(
    rate: str, units: int, flat: bool, expected: str
) -> None:
    assert charge(D(rate), units, flat=flat) == D(expected)


@given(rate=RATES, units=st.integers(1, 10**12))
def test_a_charge_covers_the_exact_price_and_at_most_a_step_more(rate: D, units: int) -> None:
    exact = Fraction(rate) * units / 1000

    assert exact <= Fraction(charge(rate, units, flat=False)) < exact + Fraction(1, 100_000)


def worked_out(cost: str, *rules: Rule, pinned: str | None = None) -> Price:
    empty = [Rule()] * (4 - len(rules))
    return work_out(
        cost_rate=D(cost), exchange_rate=D(1), rules=[*empty, *rules], pinned=number(pinned)
    )


@pytest.mark.parametrize(
    ("rules", "rate", "markup", "margin", "step"),
    [
        # From the service down to the site.
        ([Rule(D(50))], "1.5", Layer.SITE, None, None),
        ([Rule(D(20)), Rule(D(50))], "1.2", Layer.PROVIDER, None, None),
        ([Rule(D(10)), Rule(D(20)), Rule(D(50))], "1.1", Layer.CATEGORY, None, None),
        ([Rule(D(5)), Rule(D(10)), Rule(D(20)), Rule(D(50))], "1.05", Layer.SERVICE, None, None),
        # Percent and fixed amount are one markup: the nearest layer with either makes both.
        ([Rule(D(50), D("0.3"))], "1.8", Layer.SITE, None, None),
        ([Rule(None, D("0.3")), Rule(D(50))], "1.3", Layer.PROVIDER, None, None),
        ([Rule(D(0)), Rule(D(50), D("0.3"))], "1", Layer.PROVIDER, None, None),
        # A minimum margin of 50 % of the price doubles the cost, and only raises.
        ([Rule(D(50), margin=D(50))], "2", Layer.SITE, Layer.SITE, None),
        ([Rule(margin=D(20)), Rule(D(10), margin=D(50))], "1.25", Layer.SITE, Layer.PROVIDER, None),
        ([Rule(D(300), margin=D(50))], "4", Layer.SITE, None, None),
        # A margin of 0 is a decision too.
        ([Rule(margin=D(0)), Rule(D(10), margin=D(50))], "1.1", Layer.SITE, None, None),
        # Rounding comes last and goes up.
        ([Rule(D(51), step=D("0.25"))], "1.75", Layer.SITE, None, Layer.SITE),
        ([Rule(D(50), step=D("0.25"))], "1.5", Layer.SITE, None, Layer.SITE),
        ([Rule(step=D(1)), Rule(D(50), step=D("0.25"))], "2", Layer.SITE, None, Layer.PROVIDER),
        ([Rule(D(10), margin=D(30), step=D("0.05"))], "1.45", Layer.SITE, Layer.SITE, Layer.SITE),
        ([], "1", None, None, None),
    ],
)
def test_each_rule_is_the_nearest_layers(
    rules: list[Rule], rate: str, markup: Layer | None, margin: Layer | None, step: Layer | None
) -> None:
    found = worked_out("1", *rules)

    assert (found.rate, found.markup, found.margin, found.step) == (D(rate), markup, margin, step)


def test_a_pinned_price_beats_margin_and_step_and_says_so() -> None:
    rule = Rule(D(50), margin=D(50), step=D(1))

    assert worked_out("1", rule, pinned="1.37")[:4] == (D("1.37"), D(1), D(2), True)
    assert worked_out("1", rule, pinned="0.5").is_raised
    assert worked_out("1", rule, pinned="0.5").rate == 1


@given(cost=RATES, margin=st.decimals(min_value=0, max_value=99, places=3))
def test_a_floor_leaves_the_margin_and_not_a_step_more(cost: D, margin: D) -> None:
    floor = Fraction(floor_rate(cost, margin))
    step = Fraction(RATE_STEP)

    assert (floor - Fraction(cost)) / floor >= Fraction(margin) / 100
    less = floor - step
    assert less <= Fraction(cost) or (less - Fraction(cost)) / less < Fraction(margin) / 100


@given(rate=RATES, step=st.decimals(min_value="0.0000001", max_value=1000, places=7))
def test_rounding_reaches_the_next_multiple(rate: D, step: D) -> None:
    found = Fraction(rounded_up(rate, step))

    assert found % Fraction(step) == 0
    assert Fraction(rate) <= found < Fraction(rate) + Fraction(step)


@pytest.mark.parametrize(
    ("terms", "rate", "source", "is_below"),
    [
        ({}, "2", "list", False),
        ({"discount": D(0)}, "2", "list", False),
        ({"discount": D(10)}, "1.8", "group", False),
        ({"discount": D(50)}, "1.25", "group", False),  # the floor holds it
        ({"discount": D(50), "group_may_undercut": True}, "1", "group", True),
        ({"own": D("1.9"), "discount": D(50)}, "1.9", "own", False),
        ({"own": D(3)}, "3", "own", False),
        ({"own": D(1)}, "1.25", "own", False),
        ({"own": D("0.5"), "own_may_undercut": True}, "0.5", "own", True),
        # The tick belongs to the price or the group it stands on.
        ({"own": D(1), "discount": D(50), "group_may_undercut": True}, "1.25", "own", False),
    ],
)
def test_a_customers_price_stays_above_the_floor_unless_it_is_ticked(
    terms: dict[str, D | bool], rate: str, source: str, is_below: bool
) -> None:
    found = customer_rate(list_rate=D(2), floor=D("1.25"), **terms)  # type: ignore[arg-type]

    assert found == (D(rate), source, is_below)


def test_a_discount_never_raises_a_list_price_that_is_below_the_floor() -> None:
    assert customer_rate(list_rate=D(1), floor=D(2), discount=D(10)).rate == 1


@pytest.mark.parametrize(
    ("cost", "tolerance", "is_one"),
    [
        ("1.99", "0", False), ("2", "0", True), ("2.01", "0", True),
        ("2", "5", False), ("2.1", "5", False), ("2.11", "5", True),
    ],
)  # fmt: skip
def test_a_loss_begins_where_the_cost_reaches_the_price_or_the_tolerance_ends(
    cost: str, tolerance: str, is_one: bool
) -> None:
    assert is_loss(cost=D(cost), price=D(2), tolerance=D(tolerance)) is is_one
