import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from catalog.models import Category, Provider, Service, SyncRun
from catalog.sync import sync_provider
from catalog.tests.panel import Panel, row
from catalog.tests.test_sync import Outcome, on_sale, state


def sync_raw(provider: Provider, panel: Panel, *rows: str) -> SyncRun:
    """Sync a list whose rows are given as JSON, among them one that is good."""
    panel.answers(("[" + ",".join([*rows, json.dumps(row("good"))]) + "]").encode())
    run = sync_provider(provider)
    assert run.outcome == Outcome.APPLIED
    assert "good" in on_sale()
    return run


@pytest.mark.parametrize(
    ("rate", "refusal"),
    [
        ("1e400", "rate_missing"),
        ("1e999999999", "rate_missing"),
        ("-1", "rate_zero"),
        ('"-0"', "rate_zero"),
        ('"NaN"', "rate_missing"),
        ('"Infinity"', "rate_missing"),
        ('"1,234"', "rate_missing"),
        ("null", "rate_missing"),
        ("true", "rate_missing"),
        ("[1]", "rate_missing"),
        ("116011238807365.0", "rate_absurd"),
        ("99999999.00000001", "rate_absurd"),
        ('"' + "9" * 5000 + '"', "rate_missing"),
    ],
)
def test_a_rate_that_makes_no_sense_is_never_a_price(
    provider: Provider, panel: Panel, rate: str, refusal: str
) -> None:
    run = sync_raw(provider, panel, json.dumps(row(1, rate="RATE")).replace('"RATE"', rate))

    bad = Service.objects.get(upstream_id="1")
    assert bad.refusal == refusal
    assert (bad.cost_rate, bad.price_rate) == (0, 0)
    assert run.refused == 1
    assert on_sale() == {"good"}


@pytest.mark.parametrize("limit", ["1e30", '"1e18"', '"' + "9" * 400 + '"', "{}", '"a lot"'])
def test_limits_of_any_size_are_stored_or_refused(
    provider: Provider, panel: Panel, limit: str
) -> None:
    sync_raw(provider, panel, json.dumps(row(1, max="MAX")).replace('"MAX"', limit))

    assert 1 <= Service.objects.get(upstream_id="1").max_quantity <= 10**12


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),  # templates escape it
        ("n" * 10_000, "n" * 500),
        ("a\u202eb\u2066c", "abc"),
        ("a\x00b\x1b[31mc\r\nd", "a b [31mc d"),
        ("half \ud800 pair", "half pair"),
        ("'; DROP TABLE catalog_service; --", "'; DROP TABLE catalog_service; --"),
        ("100 % %s {0} $1", "100 % %s {0} $1"),
        ("👨\u200d👩\u200d👧 Family", "👨\u200d👩\u200d👧 Family"),
    ],
)
def test_a_name_of_any_kind_is_stored_as_plain_text(
    provider: Provider, panel: Panel, name: str, stored: str
) -> None:
    sync_raw(provider, panel, json.dumps(row(1, name=name, category=name)))

    found = Service.objects.get(upstream_id="1")
    assert found.name == stored
    assert found.category.name == stored[:300]


def test_rows_that_are_no_rows_are_reported(provider: Provider, panel: Panel) -> None:
    run = sync_raw(provider, panel, "null", "7", '"x"', "[]", "{}", json.dumps(row("x" * 65)))

    assert (run.added, run.refused) == (1, 6)
    assert all(reason for _, _, reason in run.refused_rows)


def test_ids_are_text_and_never_mixed_up(provider: Provider, panel: Panel) -> None:
    ids: list[Any] = ["1", "01", 10**30, "a-b_c", "Ä"]
    sync_raw(provider, panel, *(json.dumps(row(one)) for one in ids))

    assert state().keys() == {"1", "01", str(10**30), "a-b_c", "Ä", "good"}


@pytest.mark.parametrize("name", ["service", "id"])
def test_an_id_that_no_database_stores_is_none(provider: Provider, panel: Panel, name: str) -> None:
    listed = {**row(1), "service": None, name: "half\ud800pair"}

    run = sync_raw(provider, panel, json.dumps(listed))

    assert run.refused == 1
    assert on_sale() == {"good"}


def test_only_the_first_two_hundred_refused_rows_are_kept(provider: Provider, panel: Panel) -> None:
    run = sync_raw(provider, panel, *(json.dumps(row(at, rate=0)) for at in range(1, 301)))

    assert run.refused == 300
    assert len(run.refused_rows) == 200


ANY_VALUE = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just([1])
ANY_NUMBER = ANY_VALUE | st.decimals(allow_nan=False, allow_infinity=False).map(str)
ANY_ROW = st.fixed_dictionaries(
    {"service": st.integers(1, 9) | ANY_VALUE},
    optional={
        "name": ANY_VALUE,
        "type": ANY_VALUE | st.just("Default"),
        "category": ANY_VALUE,
        "rate": ANY_NUMBER,
        "min": ANY_NUMBER,
        "max": ANY_NUMBER,
        "refill": ANY_VALUE,
        "description": ANY_VALUE,
    },
)


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(lists=st.lists(st.lists(ANY_ROW, max_size=6), min_size=1, max_size=3))
def test_whatever_is_listed_nothing_is_sold_below_cost_or_lost(
    provider: Provider, panel: Panel, lists: list[list[dict[str, Any]]]
) -> None:
    for rows in lists:
        before = state().keys()
        panel.lists(rows)
        run = sync_provider(Provider.objects.get())

        assert run.outcome in set(Outcome) - {Outcome.RUNNING}
        assert before <= state().keys()
        for one in Service.objects.filter(upstream_id__in=on_sale()):
            assert one.price_rate >= one.cost_rate > Decimal(0)
            assert 1 <= one.min_quantity <= one.max_quantity
            assert one.order_type
            assert one.name
    assert Category.objects.filter(name="").count() == 0
