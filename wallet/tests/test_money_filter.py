from decimal import Decimal

import pytest
from django.utils import translation
from pytest_django import Settings

from wallet.templatetags.money import money, number, rate, signed_money


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0.00"),
        ("5", "$5.00"),
        ("0.35000", "$0.35"),
        ("0.27819", "$0.27819"),
        ("1234567.5", "$1,234,567.50"),
        ("-3.5", "\u2212$3.50"),
        ("1E+3", "$1,000.00"),
        ("999999999.12345", "$999,999,999.12345"),
    ],
)
def test_an_amount_shows_two_decimals_and_more_only_when_they_say_something(
    amount: str, shown: str
) -> None:
    assert money(Decimal(amount)) == shown


def test_a_rate_is_shown_as_fine_as_it_is_stored() -> None:
    assert rate(Decimal("0.0001200")) == "$0.00012"
    assert rate(Decimal("0.0000001")) == "$0.0000001"


def test_amounts_follow_the_readers_separators() -> None:
    with translation.override("tr"):
        assert money(Decimal("1234.5")) == "$1.234,50"
        assert number(10_000) == "10.000"


def test_a_currency_without_a_sign_stands_behind_the_number(settings: Settings) -> None:
    settings.CURRENCY = "BDT"

    assert money(Decimal("12.5")) == "12.50\u00a0BDT"


def test_a_movement_carries_its_sign() -> None:
    assert signed_money(Decimal(5)) == "+$5.00"
    assert signed_money(Decimal(-5)) == "\u2212$5.00"


def test_nothing_known_is_shown_as_nothing() -> None:
    assert money(None) == rate(None) == number(None) == ""
