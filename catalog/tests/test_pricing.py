from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.pricing import RATE_STEP, charge, price_rate, site_cost

D = Decimal
RATES = st.decimals(min_value="0.0000001", max_value="99999999", places=7)
PERCENTS = st.decimals(min_value=0, max_value=100_000, places=3)


def price(cost: str, *markups: str | None, pinned: str | None = None, exchange: str = "1") -> D:
    return price_rate(
        cost_rate=D(cost),
        exchange_rate=D(exchange),
        markups=[None if markup is None else D(markup) for markup in markups],
        pinned=None if pinned is None else D(pinned),
    )


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
    found = price_rate(cost_rate=cost, exchange_rate=exchange, markups=[markup], pinned=pinned)

    assert Fraction(found) >= Fraction(cost) * Fraction(exchange)
    assert found.as_tuple().exponent == RATE_STEP.as_tuple().exponent


@given(cost=RATES, exchange=RATES, lower=PERCENTS, more=PERCENTS)
def test_a_higher_markup_never_makes_a_lower_price(cost: D, exchange: D, lower: D, more: D) -> None:
    low, high = (
        price_rate(cost_rate=cost, exchange_rate=exchange, markups=[markup], pinned=None)
        for markup in (lower, lower + more)
    )

    assert low <= high


@given(cost=RATES, exchange=RATES, markup=PERCENTS)
def test_a_price_is_at_most_two_roundings_above_the_exact_one(
    cost: D, exchange: D, markup: D
) -> None:
    found = price_rate(cost_rate=cost, exchange_rate=exchange, markups=[markup], pinned=None)
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
