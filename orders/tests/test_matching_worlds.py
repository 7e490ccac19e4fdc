"""Whole worlds of lost answers: nothing is ever decided wrongly while the assumptions hold.

F33 to F35 and F38 of the fault list, in memory and seeded; each prints its seeds by failing with
them.
"""

from dataclasses import replace
from datetime import timedelta

import pytest

from orders.matching import Result, Sight, Verdict, decide, window
from orders.tests.lost_world import Played, Regime, play

SEEDS = range(60)


def play_all(regime: Regime, seeds: range = SEEDS) -> Played:
    total = Played()
    for seed in seeds:
        played = play(seed, regime)
        assert not played.wrong_placed, f"seed {seed}: wrong IDs for {played.wrong_placed}"
        assert not played.wrong_absent, f"seed {seed}: placed, not absent: {played.wrong_absent}"
        total += played
    assert total.lost > len(seeds)
    return total


@pytest.mark.parametrize(
    ("regime", "least"),
    [
        pytest.param(Regime(), 0.85, id="four a minute"),
        pytest.param(Regime(ids_per_second=10, calls_per_order=60), 0.85, id="a large provider"),
        pytest.param(Regime(at_once=4, every=12), 0.8, id="four at once"),
        pytest.param(Regime(orders=70, every=360, ids_per_second=0.1), 0.9, id="ten an hour"),
    ],
)
def test_nothing_is_wrong_and_most_is_decided(regime: Regime, least: float) -> None:
    played = play_all(regime)
    assert played.decided >= least * played.lost
    assert played.calls <= regime.calls_per_order * played.lost


@pytest.mark.parametrize(
    "regime",
    [
        pytest.param(Regime(prices=("1",)), id="one price"),
        pytest.param(Regime(prices=("1",), at_once=4, every=5), id="one price, four at once"),
        pytest.param(Regime(outage=True, at_once=4), id="an outage"),
        pytest.param(Regime(prices=("1", "1", "2"), lost=0.2, dropped=0.2), id="much lost"),
        pytest.param(Regime(late=0.5, late_seconds=280), id="late, within what is allowed"),
    ],
)
def test_nothing_is_wrong_where_little_can_be_told(regime: Regime) -> None:
    played = play_all(regime, range(5))
    assert played.decided > 0


def test_a_provider_that_carries_out_later_than_assumed_makes_absence_wrong() -> None:
    """Why absence is only proposed: `test_reconcile` shows that it moves nothing by itself."""
    regime = Regime(late=0.5, late_seconds=900)
    wrong = sum(len(play(seed, regime).wrong_absent) for seed in range(30))
    assert wrong > 0


def test_after_an_order_of_someone_else_nothing_with_candidates_is_decided() -> None:
    total = Played()
    for seed in range(12):
        total += play(seed, Regime(by_hand_every=600))
    assert total.decided_after_foreign == 0
    assert total.decided < 0.7 * total.lost


def _anchored_only(sight: Sight) -> Result:
    """The rules without the one that orders lacking an upper neighbour compete."""
    anchored = [each for each in sight.lost if window(each, sight.own).high is not None]
    result = decide(replace(sight, lost=anchored))
    return Result(findings=result.findings, foreign=())


def test_without_the_rule_that_all_compete_wrong_ids_are_bound() -> None:
    regime = Regime(prices=("1",), lost=0.1, dropped=0.1)
    with_rule = without = 0
    for seed in range(5):
        with_rule += len(play(seed, regime).wrong_placed)
        without += len(play(seed, regime, _anchored_only).wrong_placed)
    assert with_rule == 0
    assert without > 0


def test_without_waiting_for_late_orders_absence_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of the long window: with a short one, orders that come late are declared absent."""
    regime = Regime(late=0.5, late_seconds=280)
    monkeypatch.setattr("orders.matching.LATEST", timedelta(seconds=20))
    monkeypatch.setattr("orders.matching.window.__defaults__", (timedelta(seconds=20),))
    monkeypatch.setattr("orders.matching.SCAN_AFTER", timedelta(seconds=20))
    wrong = sum(len(play(seed, regime).wrong_absent) for seed in range(20))
    assert wrong > 0


def test_a_world_is_the_same_for_the_same_seed() -> None:
    assert play(7, Regime()) == play(7, Regime())
    assert play(7, Regime()) != play(8, Regime())


def test_a_verdict_is_a_word_that_is_stored() -> None:
    assert [each.value for each in Verdict] == ["wait", "placed", "absent", "review"]
