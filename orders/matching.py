"""Finding out, by the provider's order IDs, what became of orders whose answer was lost.

Pure: plain values in, findings out; `orders.reconcile` reads, asks and writes. What is taken for
true, and where it is checked:

- A1: IDs grow with the time of creation. `disorder` checks it on our own history.
- A2: a request is carried out at the latest LATEST after we gave it up.
- A3: an order's status can be read as soon as it exists.
- A4: other accounts' IDs answer with an error. `orders.canary` checks it.
- A5: nobody else orders on our account. An order there that can't be ours ends that belief.

So a lost order, if it was placed, lies between our last ID that was answered before it was sent
and our first ID that was sent after it can still have been carried out; it answers with data; and
it is no other order of ours. A wrong "placed" can't send anything twice, it only binds an ID. A
wrong "absent" could, so it is only proposed.
"""

import enum
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

# Before this a lost order may still be on its way, and nothing is asked.
SCAN_AFTER = timedelta(seconds=120)
# After this it can't be carried out any more: windows end there.
LATEST = timedelta(seconds=300)
HISTORY_NEEDED = 20
# One ID of each call is a known order of ours, which must answer with data.
CANDIDATES_PER_CALL = 99
TOLERANCE = Decimal("0.00001")


@dataclass(frozen=True)
class Own:
    """An order of ours whose ID stood in the answer: sent from `began`, answered at `answered`."""

    id: int
    began: datetime
    answered: datetime


@dataclass(frozen=True)
class Lost:
    """An attempt that may have been carried out, and has no ID.

    `ended` is when we gave up waiting; None while it is under way. `expected` is what the provider
    would charge. A container (drip-feed, subscription) shows no such charge and grows parts.
    `is_open` asks for a finding; others only compete. A restored one comes from a backup: its times
    say little, and orders may exist that the backup doesn't know.
    """

    key: int
    began: datetime
    ended: datetime | None
    expected: Decimal
    is_container: bool = False
    is_open: bool = True
    is_restored: bool = False


@dataclass(frozen=True)
class Orphan:
    """An ID that answers with data and belongs to no order of ours.

    `charge` is None when the answer has none; `is_reduced` when part of it may have been given
    back, so that a smaller charge proves nothing.
    """

    id: int
    charge: Decimal | None
    is_reduced: bool = False
    is_container: bool = False


@dataclass(frozen=True)
class Span:
    """IDs from `low` to `high`, both included."""

    low: int
    high: int

    @property
    def length(self) -> int:
        return self.high - self.low + 1


@dataclass(frozen=True)
class Window:
    """Where a lost order's ID can be: above `low`, below `high`; None is not known yet."""

    low: int | None
    high: int | None

    def holds(self, id_: int) -> bool:
        above = self.low is None or id_ > self.low
        return above and (self.high is None or id_ < self.high)

    @property
    def span(self) -> Span | None:
        """The IDs to ask for; None while an end is missing."""
        if self.low is None or self.high is None:
            return None
        return Span(self.low + 1, self.high - 1)


class Fit(enum.IntEnum):
    """Whether an orphan can be a lost order: by its charge surely, perhaps, or not at all."""

    NO = 0
    MAYBE = 1
    YES = 2


class Verdict(enum.StrEnum):
    """What is found of one lost order."""

    WAIT = "wait"  # more will be known
    PLACED = "placed"  # it is the order `Finding.orphan`
    ABSENT = "absent"  # it was not placed
    REVIEW = "review"  # a person has to look


class Reason(enum.StrEnum):
    """Why a finding is what it is."""

    ONLY_FIT = "only_fit"
    ONLY_WAY = "only_way"
    NOTHING_FITS = "nothing_fits"
    NO_ANCHOR = "no_anchor"
    SCANNING = "scanning"
    BUDGET = "budget"
    AMBIGUOUS = "ambiguous"
    UNEXPLAINED = "unexplained"
    REVIEW_ONLY = "review_only"
    BALANCE = "balance"


@dataclass(frozen=True)
class Sight:
    """All that is known at one moment of one provider: read after the last answer that it shows.

    `known` are IDs of ours of any kind. `spans` were asked when a later ID existed, `tried` when
    none was known yet, so that they prove no absence. `spent` are those of the lost whose budget is
    used up. With `is_review_only` nothing that was found is decided.
    """

    own: Sequence[Own]
    lost: Sequence[Lost]
    orphans: Sequence[Orphan] = ()
    known: frozenset[int] = frozenset()
    spans: Sequence[Span] = ()
    tried: Sequence[Span] = ()
    spent: frozenset[int] = frozenset()
    is_review_only: bool = False


@dataclass(frozen=True)
class Finding:
    """What is found of one lost order, and by what: all of it is shown to staff."""

    verdict: Verdict
    reason: Reason
    window: Window
    scanned: int = 0
    total: int | None = None
    orphan: int | None = None
    candidates: tuple[int, ...] = ()


@dataclass(frozen=True)
class Result:
    """Findings by key, and orphans that can be none of ours: they end assumption A5."""

    findings: Mapping[int, Finding]
    foreign: tuple[int, ...]


def disorder(own: Sequence[Own]) -> str:
    """Why IDs can't be trusted to grow with time; empty when at least 20 of them did."""
    if len(own) < HISTORY_NEEDED:
        return "history"
    answered = sorted(own, key=lambda each: each.answered)
    highest, position = 0, 0
    for each in sorted(own, key=lambda each: each.began):
        while position < len(answered) and answered[position].answered <= each.began:
            highest = max(highest, answered[position].id)
            position += 1
        if each.id <= highest:
            return "order"
    return ""


def window(lost: Lost, own: Iterable[Own], latest: timedelta = LATEST) -> Window:
    """Where the ID of a lost order can be, if it has one. The ends are not among it."""
    low = high = None
    end = None if lost.ended is None else lost.ended + latest
    for each in own:
        if each.answered <= lost.began:
            low = each.id if low is None else max(low, each.id)
        elif end is not None and each.began >= end:
            high = each.id if high is None else min(high, each.id)
    return Window(low, high)


def reach(lost: Lost, bounds: Window) -> Window:
    """What a lost order can explain: a container also grows parts, at any later time."""
    return Window(bounds.low, None) if lost.is_container else bounds


def fit(orphan: Orphan, lost: Lost) -> Fit:
    """Whether what was charged for an orphan is what the lost order would cost."""
    if lost.is_container:
        # It may be the container itself, or one of the parts that it grows.
        return Fit.MAYBE
    if orphan.is_container:
        return Fit.NO
    if orphan.charge is None:
        return Fit.MAYBE
    if abs(orphan.charge - lost.expected) <= TOLERANCE:
        return Fit.YES
    if orphan.is_reduced and orphan.charge <= lost.expected:
        return Fit.MAYBE
    return Fit.NO


def gaps(span: Span, covered: Iterable[Span]) -> list[Span]:
    """The parts of `span` that nothing covers, in order."""
    found, at = [], span.low
    for each in sorted(covered, key=lambda each: each.low):
        if each.high < at:
            continue
        if each.low > span.high:
            break
        if each.low > at:
            found.append(Span(at, each.low - 1))
        at = each.high + 1
    if at <= span.high:
        found.append(Span(at, span.high))
    return found


def nearest(free: Iterable[Span], centre: int, limit: int = CANDIDATES_PER_CALL) -> list[Span]:
    """Up to `limit` IDs of the free spans, those nearest to `centre` first."""
    chosen: list[Span] = []
    for each in sorted(free, key=lambda each: max(each.low - centre, centre - each.high, 0)):
        if limit <= 0:
            break
        width = min(limit, each.length)
        low = min(max(centre - width // 2, each.low), each.high - width + 1)
        chosen.append(Span(low, low + width - 1))
        limit -= width
    return chosen


def centre(lost: Lost, own: Sequence[Own], bounds: Window) -> int:
    """The ID that the provider would have given in the middle of the lost order's time.

    Taken from the two neighbours as if IDs grew evenly between them.
    """
    times = {each.id: each for each in own}
    low, high = bounds.low or 0, bounds.high or 0
    before, after = times.get(low), times.get(high)
    if before is None or after is None or lost.ended is None:
        return low
    whole = (after.began - before.answered).total_seconds()
    part = (lost.began - before.answered).total_seconds() / whole if whole > 0 else 0.5
    return low + round((high - low) * min(max(part, 0.0), 1.0))


def to_scan(sight: Sight, lost: Lost, *, now: datetime) -> list[Span]:
    """The IDs to ask for next for the sake of this order; none when nothing can or need be asked.

    First what lies before the earlier upper neighbour, which is known sooner; then all of it.
    """
    if lost.ended is None or now < lost.ended + SCAN_AFTER:
        return []
    if lost.is_restored and window(lost, sight.own).high is None:
        return _upwards(sight, lost)
    for latest in (SCAN_AFTER, LATEST):
        bounds = window(lost, sight.own, latest)
        if bounds.span is not None:
            free = gaps(bounds.span, _covered(sight))
            if free:
                return nearest(free, centre(lost, sight.own, bounds))
    return []


def _upwards(sight: Sight, lost: Lost) -> list[Span]:
    """After a restore nothing is sent, so no upper neighbour comes: go up from the lower one."""
    low = window(lost, sight.own).low
    if low is None:
        return []
    endless = Span(low + 1, low + 10**6)
    return nearest(gaps(endless, [*_covered(sight), *sight.tried]), low)


def _covered(sight: Sight) -> list[Span]:
    return [*sight.spans, *(Span(each, each) for each in sight.known)]


@dataclass(frozen=True)
class _Graph:
    """Which orphans can be which lost orders, by window and charge."""

    windows: Mapping[int, Window]
    by_orphan: Mapping[int, Mapping[int, Fit]]
    by_lost: Mapping[int, Mapping[int, Fit]]


def decide(sight: Sight) -> Result:
    """What is found of every open lost order."""
    graph = _graph(sight)
    foreign = tuple(each.id for each in sight.orphans if not graph.by_orphan[each.id])
    possible = _possible(sight, graph)
    findings = {
        each.key: _finding(sight, graph, each, possible[each.key])
        for each in sight.lost
        if each.is_open
    }
    return Result(findings=findings, foreign=foreign)


def _graph(sight: Sight) -> _Graph:
    windows = {each.key: window(each, sight.own) for each in sight.lost}
    by_orphan: dict[int, dict[int, Fit]] = {each.id: {} for each in sight.orphans}
    by_lost: dict[int, dict[int, Fit]] = {each.key: {} for each in sight.lost}
    for orphan in sight.orphans:
        for lost in competitors(sight):
            within = reach(lost, windows[lost.key]).holds(orphan.id)
            if within and (fits := fit(orphan, lost)):
                by_orphan[orphan.id][lost.key] = fits
                by_lost[lost.key][orphan.id] = fits
    return _Graph(windows, by_orphan, by_lost)


def competitors(sight: Sight) -> Sequence[Lost]:
    """Who may own an orphan: all of them, whatever is known of their windows.

    Also those that still lack an upper neighbour, and those that are under way: leaving them out
    was seen to bind orders to the IDs of others.
    """
    return sight.lost


def _possible(sight: Sight, graph: _Graph) -> dict[int, set[int | None]]:
    """The orphans that each lost order can be; None when it can be none of them.

    Taken from all ways in which every orphan has an owner, every owner at most one orphan, and the
    IDs grow with time. The truth is one of those ways, so what all of them agree in is true.
    """
    lost = {each.key: each for each in sight.lost}
    possible: dict[int, set[int | None]] = {key: {None} for key in lost}
    for keys, orphans in _groups(graph):
        ways = _Ways(graph, lost, sorted(orphans))
        ways.search(0, None)
        for key in keys:
            possible[key] = ways.values[key] if ways.are_all else {None, *graph.by_lost[key]}
    return possible


# A group that takes more steps than this is left to people.
_MOST_STEPS = 3_000


class _Ways:
    """All ways of giving each orphan of a group to a lost order; `values` is what orders get."""

    def __init__(self, graph: _Graph, lost: Mapping[int, Lost], orphans: Sequence[int]) -> None:
        self._graph = graph
        self._lost = lost
        self._orphans = orphans
        self._steps = 0
        self._owners: dict[int, int] = {}
        keys = {key for orphan in orphans for key in graph.by_orphan[orphan]}
        self.values: dict[int, set[int | None]] = {key: set() for key in keys}

    @property
    def are_all(self) -> bool:
        """Whether the search came to its end; otherwise `values` says too little."""
        return self._steps <= _MOST_STEPS

    def search(self, at: int, latest: datetime | None) -> None:
        """Give the orphans from position `at` on to owners; none began later than `latest` so far."""
        self._steps += 1
        if not self.are_all:
            return
        if at == len(self._orphans):
            for key, values in self.values.items():
                values.add(self._owners.get(key))
            return
        orphan = self._orphans[at]
        for key in self._graph.by_orphan[orphan]:
            lost = self._lost[key]
            if lost.is_container:
                # It can have any number of parts, so it is never used up, nor taken as found.
                self.values[key].update({None, orphan})
                self.search(at + 1, latest)
            elif key not in self._owners and _can_follow(lost, latest):
                self._owners[key] = orphan
                self.search(at + 1, lost.began if latest is None else max(latest, lost.began))
                del self._owners[key]


def _can_follow(lost: Lost, latest: datetime | None) -> bool:
    """Whether this order can have been carried out after one that began at `latest`."""
    return lost.ended is None or latest is None or latest <= lost.ended + LATEST


def _groups(graph: _Graph) -> list[tuple[set[int], set[int]]]:
    """Lost orders and orphans that hang together, directly or through others."""
    found: list[tuple[set[int], set[int]]] = []
    left = {key for key, fits in graph.by_lost.items() if fits}
    while left:
        keys: set[int] = set()
        orphans: set[int] = set()
        todo = [left.pop()]
        while todo:
            key = todo.pop()
            keys.add(key)
            orphans |= graph.by_lost[key].keys()
            near = {other for orphan in graph.by_lost[key] for other in graph.by_orphan[orphan]}
            todo += near - keys
        left -= keys
        found.append((keys, orphans))
    return found


def _finding(sight: Sight, graph: _Graph, lost: Lost, possible: set[int | None]) -> Finding:
    bounds = graph.windows[lost.key]
    asked, total = coverage(sight, bounds)
    is_whole = total is not None and asked == total
    verdict, reason, orphan = _judge(sight, graph, lost, possible, is_whole=is_whole)
    return Finding(
        verdict=verdict,
        reason=reason,
        window=bounds,
        scanned=asked,
        total=total,
        orphan=orphan,
        candidates=tuple(sorted(graph.by_lost[lost.key])),
    )


def coverage(sight: Sight, bounds: Window) -> tuple[int, int | None]:
    """How many IDs of a window were asked for or are ours, and how many there are."""
    if bounds.span is None:
        return 0, None
    free = sum(each.length for each in gaps(bounds.span, _covered(sight)))
    return bounds.span.length - free, bounds.span.length


def _judge(
    sight: Sight, graph: _Graph, lost: Lost, possible: set[int | None], *, is_whole: bool
) -> tuple[Verdict, Reason, int | None]:
    found = _found(graph, lost, possible)
    if found is not None:
        return _judge_found(sight, graph, lost, found, is_whole=is_whole)
    if not is_whole:
        return _unfinished(sight, graph, lost)
    if possible != {None}:
        return Verdict.REVIEW, Reason.AMBIGUOUS, None
    if _unexplained(sight, graph, lost):
        return Verdict.REVIEW, Reason.UNEXPLAINED, None
    return Verdict.ABSENT, Reason.NOTHING_FITS, None


def _found(graph: _Graph, lost: Lost, possible: set[int | None]) -> int | None:
    """The one orphan that this order must be, by a sure fit."""
    if len(possible) != 1 or lost.is_container:
        return None
    (orphan,) = possible
    if orphan is None or graph.by_lost[lost.key][orphan] is not Fit.YES:
        return None
    return orphan


def _judge_found(
    sight: Sight, graph: _Graph, lost: Lost, found: int, *, is_whole: bool
) -> tuple[Verdict, Reason, int | None]:
    if sight.is_review_only:
        return Verdict.REVIEW, Reason.REVIEW_ONLY, found
    if lost.is_restored and not (is_whole or _all_restored_found(sight, graph)):
        verdict, reason, _ = _unfinished(sight, graph, lost)
        return verdict, reason, found
    is_only = len(graph.by_lost[lost.key]) == len(graph.by_orphan[found]) == 1
    return Verdict.PLACED, Reason.ONLY_FIT if is_only else Reason.ONLY_WAY, found


def _unfinished(sight: Sight, graph: _Graph, lost: Lost) -> tuple[Verdict, Reason, int | None]:
    has_window = graph.windows[lost.key].span is not None
    if not has_window and not lost.is_restored:
        # Nothing could be asked yet, so no budget can be to blame.
        return Verdict.WAIT, Reason.NO_ANCHOR, None
    if lost.key in sight.spent:
        return Verdict.REVIEW, Reason.BUDGET, None
    return Verdict.WAIT, Reason.SCANNING, None


def _all_restored_found(sight: Sight, graph: _Graph) -> bool:
    """Every order from the backup has its own orphan, and no orphan is left over.

    The backup may know nothing of orders that came after it, and those are there as well: one of
    them left over means that another may have taken the place of one of ours.
    """
    restored = [each.key for each in sight.lost if each.is_restored and each.is_open]
    return all(len(graph.by_lost[key]) == 1 for key in restored) and all(
        len(fits) == 1 for fits in graph.by_orphan.values()
    )


def _unexplained(sight: Sight, graph: _Graph, lost: Lost) -> bool:
    """An orphan among this order's IDs that no lost order explains: its charge may mislead.

    Under review-only any orphan there is one too many.
    """
    bounds = graph.windows[lost.key]
    inside = [each.id for each in sight.orphans if bounds.holds(each.id)]
    if sight.is_review_only:
        return bool(inside)
    return any(not graph.by_orphan[each] for each in inside)


@dataclass(frozen=True)
class Sample:
    """Our balance at the provider, read at some moment from `asked` to `answered`."""

    asked: datetime
    answered: datetime
    amount: Decimal


@dataclass(frozen=True)
class Payment:
    """What the provider took for an order that is known to be placed, between two moments."""

    began: datetime
    answered: datetime
    charge: Decimal


@dataclass(frozen=True)
class Witness:
    """What the balance says: `spent` of it is explained by none of the known orders.

    `placed` are the lost orders that explain it, when exactly one set of them does; None when
    several or none do, or when the balance was moved by something else.
    """

    spent: Decimal
    among: tuple[int, ...]
    placed: frozenset[int] | None

    def says(self, key: int) -> bool | None:
        """Whether this order was placed; None when the balance can't tell."""
        if self.placed is None or key not in self.among:
            return None
        return key in self.placed


_MOST_SUBSETS = 12


def witness(
    lost: Lost,
    *,
    samples: Sequence[Sample],
    payments: Sequence[Payment],
    all_lost: Sequence[Lost],
    moved_at: Sequence[datetime] = (),
) -> Witness | None:
    """Ask the balance: samples around this order, and everything between them.

    `moved_at` are moments at which money is known to have come back or been added; with one of them
    in between, or an order that straddles a sample, the balance can't tell, and None is returned.
    """
    if lost.ended is None:
        return None
    before = _last(samples, lost.began)
    after = _first(samples, lost.ended + SCAN_AFTER)
    if (
        before is None
        or after is None
        or any(before.asked <= at <= after.answered for at in moved_at)
    ):
        return None
    between = [each for each in all_lost if _touches(each, before, after)]
    inside = [each for each in payments if _overlaps(each.began, each.answered, before, after)]
    if len(between) > _MOST_SUBSETS or not _is_clean(between, inside, before, after):
        return None
    spent = before.amount - after.amount - sum((each.charge for each in inside), Decimal(0))
    explains = _explanations(spent, between, TOLERANCE * (len(inside) + len(between) + 1))
    return Witness(
        spent=spent,
        among=tuple(each.key for each in between),
        placed=explains[0] if len(explains) == 1 else None,
    )


def _last(samples: Sequence[Sample], at: datetime) -> Sample | None:
    ended = [each for each in samples if each.answered <= at]
    return max(ended, key=lambda each: each.answered, default=None)


def _first(samples: Sequence[Sample], at: datetime) -> Sample | None:
    later = [each for each in samples if each.asked >= at]
    return min(later, key=lambda each: each.asked, default=None)


def _overlaps(began: datetime, ended: datetime, before: Sample, after: Sample) -> bool:
    return ended > before.asked and began < after.answered


def _touches(lost: Lost, before: Sample, after: Sample) -> bool:
    ended = after.answered if lost.ended is None else lost.ended + SCAN_AFTER
    return _overlaps(lost.began, ended, before, after)


def _is_clean(
    between: Sequence[Lost], inside: Sequence[Payment], before: Sample, after: Sample
) -> bool:
    """Nothing straddles a sample, and every lost order has one known price."""
    if any(each.began < before.answered or each.answered > after.asked for each in inside):
        return False
    return all(
        each.ended is not None
        and each.began >= before.answered
        and each.ended + SCAN_AFTER <= after.asked
        and not each.is_container
        for each in between
    )


def _explanations(
    spent: Decimal, between: Sequence[Lost], tolerance: Decimal
) -> list[frozenset[int]]:
    """The sets of lost orders whose charges add up to what was spent."""
    sums: list[tuple[Decimal, frozenset[int]]] = [(Decimal(0), frozenset())]
    for each in between:
        sums += [(total + each.expected, keys | {each.key}) for total, keys in sums]
    return [keys for total, keys in sums if abs(total - spent) <= tolerance]


def is_contradicted(finding: Finding, key: int, said: Witness | None) -> bool:
    """Whether the balance clearly says the opposite of a finding."""
    says = None if said is None else said.says(key)
    if says is None:
        return False
    return (finding.verdict is Verdict.PLACED and not says) or (
        finding.verdict is Verdict.ABSENT and says
    )


def around(id_: int, known: Sequence[int], count: int = 20) -> list[int]:
    """The `count` IDs nearest to one of ours that are not ours, alternating below and above."""
    ours = sorted(known)
    found: list[int] = []
    step = 1
    while len(found) < count and step <= 100 * count:
        for each in (id_ - step, id_ + step):
            at = bisect_left(ours, each)
            is_ours = at < len(ours) and ours[at] == each
            if each > 0 and not is_ours and len(found) < count:
                found.append(each)
        step += 1
    return found
