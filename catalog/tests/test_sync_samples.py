import json
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from catalog.models import Provider, Service, SyncRun
from catalog.sync import sync_provider
from catalog.tests.panel import SAMPLES, Panel, sample
from catalog.tests.test_sync import Outcome, on_sale, state, writes
from upstream.simulator import Simulator

JUNE, SEPTEMBER = "smm-api_2024-06-21", "smm-api_2024-09-12"


def raw(name: str) -> dict[str, dict[str, Any]]:
    """A sample by ID, read with nothing of ours."""
    return {str(one["service"]): one for one in json.loads(sample(name), parse_float=Decimal)}


def exact(rate: Any) -> Decimal:
    """A rate without the noise of the double that it once was, seen as 450.45000000000005."""
    return round(Decimal(rate), 7)


def words(text: str) -> str:
    return " ".join(text.split())


def seen(one: dict[str, Any]) -> tuple[Any, ...]:
    """What a customer or a worker can see of a raw row."""
    flags = (one["refill"], one["cancel"], one["dripfeed"])
    assert all(isinstance(flag, bool) for flag in flags)
    texts = (words(one["name"]), words(one["category"]), words(one["type"]))
    return (*texts, Decimal(one["rate"]), int(one["min"]), int(one["max"]), *flags)


def is_line(one: dict[str, Any]) -> bool:
    return not any(char.isascii() and char.isalnum() for char in one["name"])


def test_there_are_six_samples() -> None:
    assert len(SAMPLES) == 6


@pytest.mark.parametrize("name", SAMPLES)
def test_a_real_list_syncs_and_a_second_sync_writes_no_row(
    provider: Provider, panel: Panel, name: str
) -> None:
    panel.answers(sample(name))

    first = sync_provider(provider)

    assert first.outcome == Outcome.APPLIED
    assert first.added == len(raw(name)) == Service.objects.count()
    assert len(on_sale()) == first.added - first.refused
    assert len(first.refused_rows) == first.refused

    before = state()
    # Neither by the hash nor by comparing is there anything to write.
    for known in (provider.catalogue_sha256, ""):
        Provider.objects.update(catalogue_sha256=known)
        with CaptureQueriesContext(connection) as queries:
            again = sync_provider(Provider.objects.get())
        assert again.outcome == Outcome.UNCHANGED
        assert writes(queries) == []
    assert state() == before


@pytest.mark.parametrize("name", SAMPLES)
def test_every_rate_and_price_is_exact_to_the_last_digit(
    provider: Provider, panel: Panel, name: str
) -> None:
    panel.answers(sample(name))
    sync_provider(provider)

    stored = {
        one.upstream_id: (one.cost_rate, one.price_rate)
        for one in Service.objects.exclude(refusal__startswith="rate")
    }
    assert stored == {
        one: (exact(found["rate"]), exact(found["rate"]) * Decimal("1.5"))
        for one, found in raw(name).items()
    }


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("martkingxanh_2024-08-31", {"unknown type": 4}),
        ("ongtrum_2024-06-21", {}),
        (JUNE, {"separator, not a service": 1}),
        (SEPTEMBER, {"separator, not a service": 1}),
        ("v2mini_2024-10-12", {}),
        ("x999_2024-08-31", {"unknown type": 7}),
    ],
)
def test_only_what_can_not_be_sold_is_refused(
    provider: Provider, panel: Panel, name: str, reasons: dict[str, int]
) -> None:
    panel.answers(sample(name))

    run = sync_provider(provider)

    found = [reason for _, _, reason in run.refused_rows]
    assert {reason: found.count(reason) for reason in found} == reasons


def test_83_days_later_exactly_what_differs_is_reported_and_written(
    provider: Provider, panel: Panel
) -> None:
    june, september = raw(JUNE), raw(SEPTEMBER)
    both = june.keys() & september.keys()
    changed = {one for one in both if seen(june[one]) != seen(september[one])}
    repriced = {
        one
        for one in both
        if Decimal(june[one]["rate"]) != Decimal(september[one]["rate"])
        and not is_line(september[one])
    }
    added, vanished = september.keys() - june.keys(), june.keys() - september.keys()
    assert (len(added), len(vanished)) == (416, 79)
    panel.answers(sample(JUNE))
    sync_provider(provider)
    before = state()
    panel.answers(sample(SEPTEMBER))

    run = sync_provider(provider)

    after = state()
    assert run.outcome == Outcome.APPLIED
    assert (run.added, run.vanished, run.returned) == (len(added), len(vanished), 0)
    assert (run.changed, run.repriced) == (len(changed), len(repriced))
    assert after.keys() - before.keys() == added
    assert {one for one in after if not after[one]["is_present"]} == vanished
    assert {one for one in before if after[one] != before[one]} == changed | vanished
    prices = {one for one in before if after[one]["price_rate"] != before[one]["price_rate"]}
    assert prices == repriced
    assert vanished.isdisjoint(on_sale())


def test_back_in_june_what_was_gone_is_held_and_what_was_new_is_gone(
    provider: Provider, panel: Panel
) -> None:
    for name in (JUNE, SEPTEMBER, JUNE):
        panel.answers(sample(name))
        run = sync_provider(provider)

    assert (run.added, run.returned, run.vanished) == (0, 79, 416)
    held = set(Service.objects.filter(is_held=True, is_present=True).values_list("upstream_id"))
    assert len(held) == 79


def test_the_simulator_s_catalogue_syncs(provider: Provider) -> None:
    with Simulator(key="key-of-the-fixture") as simulator:
        Provider.objects.update(url=simulator.url)
        run = sync_provider(Provider.objects.get())

    assert run.outcome == SyncRun.Outcome.APPLIED
    assert run.added > 300
    assert run.refused == 0
    assert Service.objects.values("order_type").distinct().count() == 17
