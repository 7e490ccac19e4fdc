"""A seeded world of orders and lost answers, played in memory with the real matching rules.

The provider gives IDs from one sequence to us and to others, carries some orders out whose answers
we lose, and never hears of some others. The player below knows only what a panel would know, asks
within a budget, and its findings are compared with the truth.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache

from orders.matching import (
    CANDIDATES_PER_CALL,
    Finding,
    Lost,
    Orphan,
    Own,
    Result,
    Sight,
    Span,
    Verdict,
    decide,
    disorder,
    to_scan,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
GIVE_UP = 30.0
# So many orders go well at the beginning, for the history, and at the end, as upper neighbours.
HISTORY, TAIL = 25, 30


@dataclass(frozen=True)
class Regime:
    """How busy the world is and how much goes wrong; times in seconds."""

    orders: int = 130
    every: float = 15.0
    ids_per_second: float = 2.0
    at_once: int = 1
    prices: Sequence[str] = ("0.1", "0.25", "0.4", "1", "1.5", "2.2", "3", "7.5")
    lost: float = 0.04
    dropped: float = 0.03
    outage: bool = False
    late: float = 0.0
    late_seconds: float = 280.0
    by_hand_every: float = 0.0
    calls_per_order: int = 20


@dataclass
class Deed:
    """One order of ours as it really went; `created` is None when it was never carried out."""

    key: int
    began: float
    price: Decimal
    created: float | None
    answered: float | None
    ended: float
    id: int = 0


@dataclass
class Played:
    """Findings against the truth, and what they cost."""

    lost: int = 0
    placed: int = 0
    absent: int = 0
    wrong_placed: list[int] = field(default_factory=list)
    wrong_absent: list[int] = field(default_factory=list)
    calls: int = 0
    decided_after_foreign: int = 0

    @property
    def decided(self) -> int:
        return self.placed + self.absent

    def __add__(self, other: "Played") -> "Played":
        return Played(
            self.lost + other.lost,
            self.placed + other.placed,
            self.absent + other.absent,
            self.wrong_placed + other.wrong_placed,
            self.wrong_absent + other.wrong_absent,
            self.calls + other.calls,
            self.decided_after_foreign + other.decided_after_foreign,
        )


@cache
def moment(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@cache
def _own(id_: int, began: float, answered: float) -> Own:
    return Own(id_, moment(began), moment(answered))


def make_deeds(rng: random.Random, regime: Regime) -> list[Deed]:
    """Orders at random moments, at most `at_once` under way."""
    deeds: list[Deed] = []
    free_at = [0.0] * regime.at_once
    at = 0.0
    for key in range(regime.orders):
        at += rng.expovariate(1 / regime.every)
        slot = min(range(regime.at_once), key=lambda each: free_at[each])
        began = max(at, free_at[slot])
        deed = _deed(rng, regime, key, began)
        free_at[slot] = deed.ended
        deeds.append(deed)
    return deeds


def _deed(rng: random.Random, regime: Regime, key: int, began: float) -> Deed:
    price = Decimal(rng.choice(list(regime.prices)))
    created = began + rng.uniform(0.05, 1.5)
    answered = created + rng.uniform(0.05, 0.5)
    worse = regime.outage and 60 <= key < 75
    lost, dropped = (0.2, 0.2) if worse else (regime.lost, regime.dropped)
    goes_well = key < HISTORY or key >= regime.orders - TAIL
    fate = 1.0 if goes_well else rng.random()
    if fate < lost:
        gave_up = began + rng.choice([2.0, GIVE_UP])
        if rng.random() < regime.late:
            created = gave_up + rng.uniform(0, regime.late_seconds)
        return Deed(key, began, price, created, None, gave_up)
    if fate < lost + dropped:
        return Deed(key, began, price, None, None, began + rng.choice([2.0, GIVE_UP]))
    return Deed(key, began, price, created, answered, answered)


class Provider:
    """Hands out IDs in the order of creation, and answers only for ours that exist by then."""

    def __init__(self, rng: random.Random, deeds: Sequence[Deed], regime: Regime) -> None:
        self.orders: dict[int, tuple[float, Decimal]] = {}
        creations = [(deed.created, deed) for deed in deeds if deed.created is not None]
        by_hand = list(_by_hand(rng, deeds, regime))
        last, next_id = 0.0, 1000
        for at, deed in sorted([*creations, *by_hand], key=lambda each: each[0]):
            next_id += 1 + rng.randint(0, round(2 * (at - last) * regime.ids_per_second))
            last = at
            deed.id = next_id
            self.orders[next_id] = (at, deed.price)

    def ask(self, spans: Sequence[Span], at: float) -> list[Orphan]:
        """Those of the asked IDs that answer with data at this time."""
        return [
            Orphan(id_, price)
            for id_, (created, price) in self.orders.items()
            if created <= at and any(span.low <= id_ <= span.high for span in spans)
        ]


def _by_hand(rng: random.Random, deeds: Sequence[Deed], regime: Regime) -> list[tuple[float, Deed]]:
    """Orders that someone places on our account without us, from the middle on."""
    if not regime.by_hand_every:
        return []
    end = deeds[-1].ended
    at, made = end / 3, []
    while at < end:
        price = Decimal(rng.choice(list(regime.prices)))
        made.append((at, Deed(-1, at, price, at, at, at)))
        at += rng.expovariate(1 / regime.by_hand_every)
    return made


class Player:
    """Plays the panel: knows what it was told, asks, decides, adopts what it finds."""

    def __init__(
        self, deeds: Sequence[Deed], provider: Provider, regime: Regime,
        rule: Callable[[Sight], Result] = decide,
    ) -> None:  # fmt: skip
        self.deeds = deeds
        self.provider = provider
        self.regime = regime
        self.rule = rule
        self.spans: list[Span] = []
        self.orphans: dict[int, Orphan] = {}
        self.adopted: dict[int, int] = {}
        self.calls: dict[int, int] = {}
        self.absent: set[int] = set()
        self.is_review_only = False
        self.played = Played()

    def sight(self, at: float) -> Sight:
        answered = [
            deed for deed in self.deeds if deed.answered is not None and deed.answered <= at
        ]
        known = frozenset([deed.id for deed in answered]) | frozenset(self.adopted.values())
        return Sight(
            own=[_own(deed.id, deed.began, deed.answered or 0) for deed in answered],
            lost=[self._lost(deed, at) for deed in self.deeds if self._is_lost(deed, at)],
            orphans=[each for id_, each in self.orphans.items() if id_ not in known],
            known=known,
            spans=self.spans,
            spent=frozenset(
                key for key, calls in self.calls.items() if calls >= self.regime.calls_per_order
            ),
            is_review_only=self.is_review_only,
        )

    def _is_lost(self, deed: Deed, at: float) -> bool:
        told = deed.answered is not None and deed.answered <= at
        return deed.began <= at and not told and deed.key not in self.adopted

    def _lost(self, deed: Deed, at: float) -> Lost:
        ended = moment(deed.ended) if deed.answered is None and deed.ended <= at else None
        return Lost(deed.key, moment(deed.began), ended, deed.price, is_open=ended is not None)

    def play(self) -> Played:
        """Look every minute until half an hour after the last order."""
        at, end = 60.0, self.deeds[-1].ended + 1800
        self.played.lost = sum(deed.answered is None for deed in self.deeds)
        while at < end:
            self.look(at)
            at += 60
        return self.played

    def _is_pending(self, at: float) -> bool:
        """Whether an answer is lost by now whose order is neither found nor found absent."""
        return any(
            deed.answered is None
            and deed.ended <= at
            and deed.key not in self.adopted
            and deed.key not in self.absent
            for deed in self.deeds
        )

    def look(self, at: float) -> None:
        if not self._is_pending(at):
            return
        sight = self.sight(at)
        if disorder(sight.own):
            return
        for lost in sight.lost:
            # Twenty calls fit into a minute at one per three seconds.
            if lost.is_open and self._ask(self.sight(at), lost, at):
                self.decide(at)
        self.decide(at)

    def _ask(self, sight: Sight, lost: Lost, at: float) -> bool:
        if self.calls.get(lost.key, 0) >= self.regime.calls_per_order:
            return False
        spans = to_scan(sight, lost, now=moment(at))
        if not spans:
            return False
        assert sum(span.length for span in spans) <= CANDIDATES_PER_CALL
        self.calls[lost.key] = self.calls.get(lost.key, 0) + 1
        self.played.calls += 1
        self.spans += spans
        self.orphans |= {each.id: each for each in self.provider.ask(spans, at)}
        return True

    def decide(self, at: float) -> None:
        result = self.rule(self.sight(at))
        if result.foreign and not self.is_review_only:
            self.is_review_only = True
            result = self.rule(self.sight(at))
        for key, finding in result.findings.items():
            self._take(key, finding)

    def _take(self, key: int, finding: Finding) -> None:
        deed = self.deeds[key]
        if finding.verdict is Verdict.PLACED and finding.orphan is not None:
            self.adopted[key] = finding.orphan
            self.played.placed += 1
            self.played.decided_after_foreign += self.is_review_only
            if deed.id != finding.orphan:
                self.played.wrong_placed.append(key)
        elif finding.verdict is Verdict.ABSENT and key not in self.absent:
            self.absent.add(key)
            self.played.absent += 1
            self.played.decided_after_foreign += self.is_review_only and bool(finding.candidates)
            if deed.created is not None:
                self.played.wrong_absent.append(key)


def play(seed: int, regime: Regime, rule: Callable[[Sight], Result] = decide) -> Played:
    """One seeded world from its first order to half an hour after its last."""
    rng = random.Random(seed)  # noqa: S311 - a game, no secret
    deeds = make_deeds(rng, regime)
    return Player(deeds, Provider(rng, deeds, regime), regime, rule).play()
