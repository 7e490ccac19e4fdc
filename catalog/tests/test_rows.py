from decimal import Decimal
from typing import Any

import pytest

from catalog.models import Service
from catalog.rows import Facts, is_separator, judge, judge_all
from upstream.answers import Catalogue, ServiceRow, UnreadableRow

Refusal = Service.Refusal


def listed(**changed: Any) -> ServiceRow:
    usual: dict[str, Any] = {
        "service": "7",
        "name": "Followers",
        "type": "Default",
        "category": "Instagram",
        "rate": Decimal("0.9"),
        "min": 50,
        "max": 10000,
        "refill": True,
        "cancel": True,
        "dripfeed": None,
        "description": "",
    }
    return ServiceRow(**usual | changed)


def test_a_usable_row_keeps_what_the_provider_says() -> None:
    assert judge(listed(description="Fast")) == Facts(
        category="Instagram",
        name="Followers",
        type="Default",
        order_type="default",
        description="Fast",
        cost_rate=Decimal("0.9"),
        min_quantity=50,
        max_quantity=10000,
        refill=True,
        cancel=True,
        dripfeed=False,
        refusal="",
    )


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"rate": None}, Refusal.RATE_MISSING),
        ({"rate": Decimal(0)}, Refusal.RATE_ZERO),
        ({"rate": Decimal("-1")}, Refusal.RATE_ZERO),
        ({"rate": Decimal("99999999.1")}, Refusal.RATE_ABSURD),
        ({"rate": Decimal("116011238807365.0")}, Refusal.RATE_ABSURD),
        ({"min": 11, "max": 10}, Refusal.LIMITS),
        ({"max": -5}, Refusal.LIMITS),
        ({"type": ""}, Refusal.TYPE),
        ({"type": "fb_eyeslive"}, Refusal.TYPE),
        ({"name": ""}, Refusal.NAME),
        ({"name": "\u202e\u202d"}, Refusal.NAME),
        ({"name": "/------/", "type": "Package"}, Refusal.SEPARATOR),
    ],
)
def test_an_unusable_row_is_refused_with_its_reason(
    changed: dict[str, Any], refusal: Refusal
) -> None:
    assert judge(listed(**changed)).refusal == refusal.value


@pytest.mark.parametrize("rate", ["99999999", "0.000000000001", "1"])
def test_the_dearest_and_the_cheapest_rate_that_can_be_stored_are_usable(rate: str) -> None:
    facts = judge(listed(rate=Decimal(rate)))

    assert facts.refusal == ""
    assert facts.cost_rate >= Decimal(rate)


@pytest.mark.parametrize(
    ("rate", "stored"),
    [
        ("0.30000000000000004", "0.3"),  # a double's noise
        ("0.12345678", "0.1234568"),
        ("0.12345671", "0.1234568"),  # up, so that we never sell below it
        ("1E+3", "1000"),
    ],
)
def test_a_rate_is_rounded_up_but_noise_is_not_price(rate: str, stored: str) -> None:
    assert judge(listed(rate=Decimal(rate))).cost_rate == Decimal(stored)


@pytest.mark.parametrize(
    ("low", "high", "limits"),
    [
        (0, 0, (1, 1_000_000_000)),
        (100, 0, (100, 1_000_000_000)),  # seen: a minimum and "no limit"
        (None, None, (1, 1_000_000_000)),
        (-3, 5, (1, 5)),
        (1, 10**17, (1, 10**12)),
    ],
)
def test_a_maximum_of_nothing_means_no_limit_and_a_minimum_is_at_least_one(
    low: int | None, high: int | None, limits: tuple[int, int]
) -> None:
    facts = judge(listed(min=low, max=high))

    assert (facts.min_quantity, facts.max_quantity) == limits
    assert facts.refusal == ""


@pytest.mark.parametrize("name", ["", "-----", "/----/", "ˣˣˣˣˣˣ", "🔥🔥🔥", "═══", "xxxxxx", "•"])
def test_lines_and_ornaments_are_separators(name: str) -> None:
    assert is_separator(name)


@pytest.mark.parametrize(
    "name", ["X", "TT", "Лайки", "赞", "🇹🇷 TikTok", "--- 5k ---", "𝗟𝗶𝗸𝗲𝘀", "1", "aab"]
)
def test_whatever_can_be_read_is_no_separator(name: str) -> None:
    assert not is_separator(name)


def test_text_that_turns_the_page_around_is_made_plain() -> None:
    facts = judge(listed(name="a\u202elive\u2069b", category="\u2066Cat", description="x\u202ey"))

    assert (facts.name, facts.category, facts.description) == ("aliveb", "Cat", "xy")


def test_texts_are_cut_to_what_is_stored_and_no_category_has_a_name() -> None:
    assert len(judge(listed(category="c" * 500)).category) == 300
    assert len(judge(listed(type="t" * 500)).type) == 100
    assert judge(listed(category="")).category == "Other"


def test_the_first_row_of_an_id_wins_and_the_rest_is_reported() -> None:
    catalogue = Catalogue(
        rows=(listed(name="First"), listed(name="Second"), listed(service="8", rate=None)),
        unreadable=(UnreadableRow(4, "", "no service id"),),
    )

    judged = judge_all(catalogue)

    assert [facts.name for facts in judged.facts.values()] == ["First", "Followers"]
    assert judged.usable == {"7"}
    assert [tuple(row) for row in judged.refused] == [
        ("", "row 5", "no service id"),
        ("7", "Second", "this ID is listed twice"),
        ("8", "Followers", "no rate"),
    ]
