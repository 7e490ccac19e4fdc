"""Following orders at their providers: asking for status in batches and applying the answers.

Orders that are due are claimed by moving their next poll forward, some hundreds of one provider at a
time, so two pollers never ask for the same ones, and a poller that dies costs one interval. Calls for
100 orders each are made by threads that never touch the database; one that has its answer starts the
next call itself, so the provider never waits for the database. One thread claims ahead of them, a
few calls for each provider, and applies the answers, all that have come together. An order is only
read as a whole when its answer differs from what was claimed. The number of orders in memory is that
of the calls.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

from django.conf import settings
from django.db import transaction
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _

from catalog.bulk import update_rows
from catalog.models import Provider
from orders import polls
from orders.attention import PASSING, Attention
from orders.decisions import FOLLOWED, Decision, decide, is_news, shape_of
from orders.errors import NotPossible
from orders.letters import tell_ended
from orders.models import Event, Order
from orders.pacing import (
    LAST_CALL_LASTS,
    forgive,
    is_paused,
    may_call,
    next_poll,
    note_call,
    note_failure,
    share,
)
from orders.poll_models import Poll
from orders.settlement import apply_status, close_cancels, facts_of
from orders.states import FINAL, OPEN, Status
from orders.timeline import Code
from upstream.answers import ItemError, OrderStatus
from upstream.client import MAX_IDS, Client
from upstream.errors import Kind, NotSent, OutcomeUnknown, Rejected, UpstreamError

logger = logging.getLogger(__name__)

# An order may take a moment to show up at the provider; before this nobody needs to look.
MISSING_AFTER = timedelta(minutes=10)
# A run claims nothing more after this: the next one looks anew which providers there are.
_LONGEST_RUN = 60.0
# Calls' worth of orders that are claimed in one statement.
_CLAIMED_TOGETHER = 10
# Seconds in which answers are gathered, to be applied together; no call waits for that.
_GATHERED = 0.2

# How many calls it may take to find the orders that spoil the answer about all of a hundred.
_MOST_PARTS = 40
# Halves and quarters: when none of them is answered it is the provider that fails.
_TELLING_PARTS = 6
# An answer with another status is the way there, not the program: then nothing is to be found.
_OF_THE_PROGRAM = {200, 500}

# A refusal of a whole call with one of these is about the orders in it; any other is about us.
_ABOUT_THE_ORDERS = {Kind.REQUEST, Kind.SERVICE, Kind.LINK, Kind.QUANTITY}

_NEEDED = [
    "pk", "parent_id", "order_type", "parameters", "quantity", "price_rate", "charge", "refunded",
    "expected_charge", "upstream_charge", "dispatch", "status", "raw_status", "start_count",
    "remains", "attention",
]  # fmt: skip
_TOLD = ["status", "raw_status", "start_count", "remains", "upstream_charge", "attention"]
_ENDED = [*_TOLD, "finished_at"]

Answers: TypeAlias = Mapping[str, OrderStatus | ItemError]


@dataclass(frozen=True)
class PollReport:
    """What one run did: calls made and failed; orders asked about, changed, not known there."""

    calls: int = 0
    failed: int = 0
    asked: int = 0
    changed: int = 0
    missing: int = 0

    def __add__(self, other: "PollReport") -> "PollReport":
        return PollReport(
            calls=self.calls + other.calls,
            failed=self.failed + other.failed,
            asked=self.asked + other.asked,
            changed=self.changed + other.changed,
            missing=self.missing + other.missing,
        )

    def __str__(self) -> str:
        return (
            f"{self.asked} orders asked about in {self.calls} calls ({self.failed} failed), "
            f"{self.changed} changed, {self.missing} not known there"
        )


class _Asked(NamedTuple):
    """An order as it was claimed, as far as an answer is compared with it."""

    pk: int
    provider_id: int
    upstream_id: str
    dispatch: str
    order_type: str
    runs: str | None
    status: str
    raw_status: str
    start_count: int | None
    remains: int | None
    upstream_charge: Decimal | None
    attention: str
    since: datetime

    @property
    def is_container(self) -> bool:
        """Whether parts may have to be made or looked at, which needs the order's lock."""
        parameters = {"runs": self.runs} if self.runs else {}
        return shape_of(
            dispatch=self.dispatch, order_type=self.order_type, parameters=parameters
        ).is_container


@dataclass(frozen=True)
class _Batch:
    """Up to 100 claimed orders of one provider; `stuck` are those asked about for the last time."""

    provider: Provider
    orders: Sequence[_Asked]
    stuck: frozenset[int]


@dataclass(frozen=True)
class _News:
    """An order whose answer changes something that isn't money."""

    order: Order
    decision: Decision


def poll_due(limit_calls: int = 10_000, *, now: datetime | None = None) -> PollReport:
    """Ask about orders that are due, providers in turn, and apply what changed.

    At most `limit_calls` calls and what it takes to ask in halves where one of them fails,
    POLL_IN_FLIGHT of them at once, each provider within its own budget and with no more places than
    its share. A provider whose call fails is left alone for a while and its orders stay as they are.
    Call outside transactions.
    """
    with ExitStack() as stack:
        callers = _Callers(stack)
        pool = stack.enter_context(ThreadPoolExecutor(settings.POLL_IN_FLIGHT, "poll"))
        return _Run(callers, pool, limit_calls, now).whole()


def check_now(order_id: int) -> Order:
    """Ask about one order at once and apply the answer, also when the order is final.

    Raises NotPossible, with a sentence, when it isn't at the provider or no answer came.
    """
    order = Order.objects.select_related("provider").get(pk=order_id)
    if order.dispatch not in FOLLOWED:
        raise NotPossible(_("This order is not at the provider."))
    try:
        with order.provider.client() as client:
            answer = client.status(order.upstream_id)
    except Rejected as exc:
        raise NotPossible(_("The provider refused to answer: %s") % exc.text) from exc
    except UpstreamError as exc:
        raise NotPossible(_("The provider did not answer. Try again later.")) from exc
    apply_status(order_id, answer)
    return Order.objects.get(pk=order_id)


@dataclass(frozen=True)
class _Callers:
    """One client per provider and thread, closed with the stack; threads use no database."""

    stack: ExitStack
    lock: threading.Lock = field(default_factory=threading.Lock)
    clients: dict[tuple[int, int], Client] = field(default_factory=dict)

    def ask(self, batch: _Batch) -> Answers | UpstreamError:
        """The provider's answers, or the error: a thread can't raise to the one who applies."""
        try:
            return self._client(batch.provider).statuses([o.upstream_id for o in batch.orders])
        except UpstreamError as error:
            return error

    def _client(self, provider: Provider) -> Client:
        place = (provider.pk, threading.get_ident())
        with self.lock:
            if place not in self.clients:
                self.clients[place] = self.stack.enter_context(provider.client())
            return self.clients[place]


@dataclass
class _Turn:
    """One provider's part in a run: what is claimed, and how many calls are under way.

    `has_stopped` from the first failed call on: none is started after it.
    """

    provider: Provider
    claimed: deque[_Batch] = field(default_factory=deque)
    under_way: int = 0
    is_exhausted: bool = False
    has_stopped: bool = False
    has_failed: bool = False
    extra_calls: int = 0

    @property
    def is_over(self) -> bool:
        return self.has_stopped or (self.is_exhausted and not self.claimed)


class _Run:
    """One run over all providers. The thread that made it claims and applies, and it alone uses the
    database; calls are started by it and by the threads that have finished one."""

    def __init__(
        self, callers: _Callers, pool: ThreadPoolExecutor, limit_calls: int, now: datetime | None
    ) -> None:
        self._callers = callers
        self._pool = pool
        self._left = limit_calls
        self._now = now
        self._ends = time.monotonic() + _LONGEST_RUN
        self._places = settings.POLL_IN_FLIGHT
        # Guards what calls change: the turns, and what is under way.
        self._lock = threading.Lock()
        self._calling = 0
        self._under_way: dict[Future[Answers | UpstreamError], tuple[_Turn, _Batch]] = {}
        # Nothing is under way, or too little is claimed to go on for long.
        self._is_needed = threading.Event()
        # The rules are fetched here: a client made in a thread must not need the database.
        providers = Provider.objects.order_by("pk").prefetch_related("error_rules")
        begun = self._clock()
        self._turns = [_Turn(each) for each in providers if not is_paused(each.pk, begun)]

    def whole(self) -> PollReport:
        """Ask until nothing is due, or what is due has to wait."""
        report = PollReport()
        while True:
            self._claim_some()
            with self._lock:
                under_way = list(self._under_way)
            if not under_way:
                return report + PollReport(calls=sum(turn.extra_calls for turn in self._turns))
            report += self._finish_some(under_way)

    def _clock(self) -> datetime:
        return self._now or timezone.now()

    def _waiting(self) -> tuple[list[_Turn], int]:
        """The turns that aren't over, and how many calls each may have under way."""
        waiting = [turn for turn in self._turns if not turn.is_over]
        return waiting, share(self._places, len(waiting))

    def _start(self) -> None:
        """Start what is claimed while there are places, first for who has the fewest under way."""
        with self._lock:
            while self._calling < self._places and self._start_one():
                pass
            waiting, most = self._waiting()
            is_low = any(not t.is_exhausted and 2 * len(t.claimed) < most for t in waiting)
            if is_low or not self._calling:
                self._is_needed.set()

    def _start_one(self) -> bool:
        waiting, most = self._waiting()
        ready = [turn for turn in waiting if turn.claimed and turn.under_way < most]
        if not ready:
            return False
        turn = min(ready, key=lambda turn: turn.under_way)
        note_call(turn.provider.pk, turn.provider.status_calls_per_minute, time.time())
        batch = turn.claimed.popleft()
        turn.under_way += 1
        self._calling += 1
        self._under_way[self._pool.submit(self._ask, turn, batch)] = (turn, batch)
        return True

    def _ask(self, turn: _Turn, batch: _Batch) -> Answers | UpstreamError:
        """One call, in a thread; then the next is started."""
        answers = _believed(batch, self._callers.ask(batch))
        is_alone = len(batch.orders) == 1
        if isinstance(answers, UpstreamError) and _may_be_one(answers) and not is_alone:
            answers = self._ask_apart(turn, batch, answers)
        with self._lock:
            turn.under_way -= 1
            self._calling -= 1
            turn.has_stopped |= isinstance(answers, UpstreamError)
        self._start()
        return answers

    def _ask_apart(
        self, turn: _Turn, batch: _Batch, error: UpstreamError
    ) -> Answers | UpstreamError:
        """Ask in halves: a program that fails about one order gives no answer about the others.

        When no quarter is answered it is the provider that fails, and `error` stands; so it does when
        something else fails first. An order that fails alone has an ItemError; of one that could not
        be told from it nothing is known. They are shuffled, or it would be the same ones each time.
        The run waits for this with all its providers, so it ends when that does.
        """
        answers: dict[str, OrderStatus | ItemError] = {}
        alone: dict[str, ItemError] = {}
        spoilt = deque([random.sample(batch.orders, len(batch.orders))])
        parts = 0
        while spoilt and parts < _MOST_PARTS and (answers or parts < _TELLING_PARTS):
            orders = spoilt.popleft()
            if len(orders) == 1:
                alone[orders[0].upstream_id] = ItemError(str(error), Kind.UNRECOGNISED)
                continue
            for half in _halves(orders):
                found = self._ask_part(turn, replace(batch, orders=half))
                parts += 1
                if not isinstance(found, UpstreamError):
                    answers |= found
                elif _may_be_one(found):
                    spoilt.append(half)
                else:
                    return answers or error
        return answers | alone if answers else error

    def _ask_part(self, turn: _Turn, part: _Batch) -> Answers | UpstreamError:
        provider, now = turn.provider, time.time()
        if turn.has_stopped or time.monotonic() > self._ends:
            return NotSent("the run is over")
        with self._lock:
            if not may_call(provider.pk, provider.status_calls_per_minute, now):
                return NotSent("the provider's budget is spent")
            note_call(provider.pk, provider.status_calls_per_minute, now)
            turn.extra_calls += 1
        return _believed(part, self._callers.ask(part))

    def _claim_some(self) -> None:
        """Claim as long as it's needed, but answers that have come don't wait for more than a round."""
        claims = 0
        while (claims < len(self._turns) or not self._has_answer()) and self._claim_next():
            claims += 1
            self._start()
        self._is_needed.clear()
        self._start()

    def _has_answer(self) -> bool:
        with self._lock:
            return any(call.done() for call in self._under_way)

    def _claim_next(self) -> bool:
        """Claim for who has the least to do; False when all have enough, or nothing is due."""
        waiting, most = self._waiting()
        waiting.sort(key=lambda turn: turn.under_way + len(turn.claimed))
        return any(self._claim(turn, most) for turn in waiting)

    def _claim(self, turn: _Turn, places: int) -> bool:
        if self._left <= 0 or time.monotonic() > self._ends:
            turn.is_exhausted = True
        if turn.is_exhausted or not _may_claim(turn, places):
            return False
        # What is claimed is asked about in this run, so a budget's orders are claimed call by call.
        has_budget = turn.provider.status_calls_per_minute is not None
        calls = 1 if has_budget else min(places, _CLAIMED_TOGETHER, self._left)
        batches = _claim(turn.provider, calls, self._clock())
        self._left -= len(batches)
        with self._lock:
            turn.claimed.extend(batches)
            turn.is_exhausted = sum(len(batch.orders) for batch in batches) < calls * MAX_IDS
        return bool(batches)

    def _finish_some(self, under_way: Collection[Future[Answers | UpstreamError]]) -> PollReport:
        """Wait for a call, gather what others bring meanwhile, and apply it all."""
        wait(under_way, return_when=FIRST_COMPLETED)
        self._is_needed.wait(_GATHERED)
        with self._lock:
            done = [call for call in self._under_way if call.done()]
            finished = [(*self._under_way.pop(call), call) for call in done]
        report, answered = PollReport(), []
        for turn, batch, call in finished:
            answers = call.result()
            if isinstance(answers, UpstreamError):
                self._fail(turn, batch, answers)
                report += PollReport(calls=1, failed=1)
            else:
                if not turn.has_failed:
                    forgive(turn.provider.pk)
                answered.append((batch, answers))
        return report + _apply(answered, self._clock())

    def _fail(self, turn: _Turn, batch: _Batch, error: UpstreamError) -> None:
        """The call failed: nothing is known, nothing is changed, and it is tried again later."""
        provider = turn.provider
        until = note_failure(provider.pk, self._clock(), is_first=not turn.has_failed)
        turn.has_failed = True
        reason = type(error).__name__
        logger.warning("status call failed provider=%s reason=%s", provider.pk, reason)
        with self._lock:
            unasked = [order.pk for each in (batch, *turn.claimed) for order in each.orders]
            turn.claimed.clear()
        polls.put_off(unasked, until)


def _may_claim(turn: _Turn, places: int) -> bool:
    """Whether a provider has too little to do: one with a budget gets what it may be asked now."""
    budget = turn.provider.status_calls_per_minute
    if budget is None:
        return len(turn.claimed) < places
    has_place = not turn.claimed and turn.under_way < places
    return has_place and may_call(turn.provider.pk, budget, time.time())


@transaction.atomic
def _claim(provider: Provider, calls: int, now: datetime) -> list[_Batch]:
    found = _due(provider, calls * MAX_IDS, now)
    whens = [next_poll(now, order.since) for order in found]
    polled = list(zip(found, whens, strict=True))
    if polled:
        times = [(order.pk, when or now + LAST_CALL_LASTS, now) for order, when in polled]
        update_rows(Poll, ["due_at", "asked_at"], times)
    stuck = frozenset(order.pk for order, when in polled if when is None)
    orders = [order for order in found if _may_ask(provider, order)]
    hundreds = (orders[at : at + MAX_IDS] for at in range(0, len(orders), MAX_IDS))
    return [_Batch(provider, each, stuck) for each in hundreds]


def _due(provider: Provider, most: int, now: datetime) -> list[_Asked]:
    """The orders that are due for longest. Their polls are locked, and they themselves are not:
    whoever settles one waits for this transaction at most, and this one for nobody."""
    due = Poll.objects.free().filter(provider_id=provider.pk, due_at__lte=now)
    first = due.order_by("due_at", "pk")[:most]
    asked = Order.objects.filter(polls.among(first)).annotate(
        since=Coalesce("sent_at", "created_at"), runs=KT("parameters__runs")
    )
    return sorted(map(_Asked._make, asked.order_by().values_list(*_Asked._fields)))


def _may_ask(provider: Provider, order: _Asked) -> bool:
    """A row that is wrong (the audit tells) must not bring one order the status of another."""
    return order.dispatch in FOLLOWED and order.provider_id == provider.pk


def _may_be_one(error: UpstreamError) -> bool:
    """Whether one order may be why nothing was said about those it was asked about with."""
    return isinstance(error, OutcomeUnknown) and error.http_status in _OF_THE_PROGRAM


def _halves(orders: list[_Asked]) -> tuple[list[_Asked], list[_Asked]]:
    middle = len(orders) // 2
    return orders[:middle], orders[middle:]


def _believed(batch: _Batch, result: Answers | UpstreamError) -> Answers | UpstreamError:
    """A refusal that names the orders is an answer about each: seen when every ID is unknown."""
    if isinstance(result, Rejected) and result.kind in _ABOUT_THE_ORDERS:
        refusal = ItemError(result.text, result.kind)
        return dict.fromkeys((order.upstream_id for order in batch.orders), refusal)
    return result


def _apply(answered: Sequence[tuple[_Batch, Answers]], now: datetime) -> PollReport:
    """Write what these calls brought; the statements don't grow with the number of calls."""
    missing: list[_Asked] = []
    stuck: list[_Asked] = []
    alone: list[tuple[_Asked, OrderStatus]] = []
    different: list[tuple[_Asked, OrderStatus]] = []
    for batch, answers in answered:
        told = [order for order in batch.orders if order.upstream_id in answers]
        stuck += [order for order in told if order.pk in batch.stuck]
        for order in told:
            answer = answers[order.upstream_id]
            if not isinstance(answer, OrderStatus):
                missing.append(order)
            elif order.is_container:
                alone.append((order, answer))
            elif not _is_same(order, answer):
                different.append((order, answer))
    news, owing = _decided(different)
    changed = sum(
        apply_status(order.pk, answer, now=now, unmoved=order.status)
        for order, answer in (*alone, *owing)
    )
    changed += _write(news, now)
    overdue = [order for order in missing if _is_overdue(order, now) and not order.attention]
    _flag(overdue, Attention.STATUS_MISSING, now)
    _give_up(stuck, now)
    asked = sum(len(batch.orders) for batch, _answers in answered)
    return PollReport(calls=len(answered), asked=asked, changed=changed, missing=len(missing))


def _decided(
    different: Sequence[tuple[_Asked, OrderStatus]],
) -> tuple[list[_News], list[tuple[_Asked, OrderStatus]]]:
    """What these answers change; and apart from it those that need the order's and money's locks.

    An order that somebody moved since it was claimed is left alone: its answer is older than that.
    """
    news: list[_News] = []
    owing: list[tuple[_Asked, OrderStatus]] = []
    if not different:
        return news, owing
    orders = Order.objects.only(*_NEEDED).in_bulk([asked.pk for asked, _answer in different])
    for asked, answer in different:
        order = orders[asked.pk]
        if order.status != asked.status:
            continue
        facts = facts_of(order)
        decision = decide(facts, answer)
        if decision.refund > 0 or order.parent_id is not None:
            owing.append((asked, answer))
        elif is_news(facts, decision):
            news.append(_News(order, decision))
    return news, owing


def _is_same(order: _Asked, answer: OrderStatus) -> bool:
    """A quick look for the common case; whatever it lets through `decide` compares again."""
    return (
        answer.raw_status == order.raw_status
        and order.attention not in PASSING
        and answer.start_count in (None, order.start_count)
        and answer.remains in (None, order.remains)
        and answer.charge in (None, order.upstream_charge)
    )


def _is_overdue(order: _Asked, now: datetime) -> bool:
    return now - order.since > MISSING_AFTER


@transaction.atomic
def _write(news: Sequence[_News], now: datetime) -> int:
    """Write changes without money, orders that ended and others in one statement each.

    An order that somebody moved since it was read is left alone.
    """
    if not news:
        return 0
    running = [_row(each, now) for each in news if not each.decision.is_final]
    ended = [_row(each, now) for each in news if each.decision.is_final]
    written = update_rows(Order, _TOLD, running, unmoved=["status"])
    written |= update_rows(Order, _ENDED, ended, unmoved=["status"])
    Event.objects.bulk_create(
        [event for each in news if each.order.pk in written for event in _events(each, now)]
    )
    if ended:
        over = [row[0] for row in ended if row[0] in written]
        polls.forget(over)
        close_cancels(over, now=now)
        was_open = {each.order.pk for each in news if each.order.status not in FINAL}
        tell_ended([row[0] for row in ended if row[0] in written & was_open])
    return len(written)


def _row(news: _News, now: datetime) -> list[Any]:
    decision = news.decision
    values = [getattr(decision, name) for name in _TOLD]
    if decision.is_final:
        values.append(now)
    return [news.order.pk, news.order.status, *values]


def _events(news: _News, now: datetime) -> Iterator[Event]:
    order, decision = news.order, news.decision
    if decision.status != order.status:
        values = {"was": order.status, "status": str(Status(decision.status))}
        yield Event(order=order, at=now, code=Code.STATUS, values=values)
    if decision.attention not in ("", order.attention):
        values = {"status": decision.raw_status, "attention": str(decision.attention)}
        yield Event(order=order, at=now, code=Code.ODD_ANSWER, values=values)


def _give_up(orders: Sequence[_Asked], now: datetime) -> None:
    """They were asked about for the last time: only now, as a call that failed is no last time."""
    _flag(orders, Attention.STUCK, now)
    polls.let_go([order.pk for order in orders])


def _flag(orders: Sequence[_Asked], attention: Attention, now: datetime) -> None:
    """Have staff look at orders that nothing is known of; money is never touched for that."""
    if not orders:
        return
    # As they are now: the same answers may have taken away what needed attention before.
    keys = [order.pk for order in orders]
    with transaction.atomic():
        unflagged = Order.objects.filter(pk__in=keys, attention="", status__in=OPEN)
        flagged = list(unflagged.values_list("pk", flat=True))
        unflagged.update(attention=attention)
        values = {"attention": str(attention)}
        Event.objects.bulk_create(
            Event(order_id=pk, at=now, code=Code.ODD_ANSWER, values=values) for pk in flagged
        )
