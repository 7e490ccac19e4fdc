"""Following orders at their providers: asking for status in batches and applying the answers.

Orders that are due are claimed by moving their next poll forward, 100 of one provider at a time,
so two pollers never ask for the same ones, and a poller that dies costs one interval. Calls are
made by threads that never touch the database; answers are applied by the thread that claimed.
When nothing changed, a batch costs two queries.
"""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from django.db.models import Case, DateTimeField, Value, When
from django.utils import timezone
from django.utils.translation import gettext as _

from catalog.bulk import update_rows
from catalog.models import Provider
from orders.attention import PASSING, Attention
from orders.decisions import FOLLOWED, Decision, decide, is_news
from orders.errors import NotPossible
from orders.letters import tell_ended
from orders.models import Event, Order
from orders.settlement import apply_status, close_cancels, facts_of
from orders.states import FINAL, OPEN, Status
from orders.timeline import Code
from upstream.answers import ItemError, OrderStatus
from upstream.client import MAX_IDS, Client
from upstream.errors import Kind, Rejected, UpstreamError

logger = logging.getLogger(__name__)

GIVE_UP_AFTER = timedelta(days=90)
# An order may take a moment to show up at the provider; before this nobody needs to look.
MISSING_AFTER = timedelta(minutes=10)
FIRST_PAUSE = timedelta(seconds=15)
LONGEST_PAUSE = timedelta(minutes=10)

# A refusal of a whole call with one of these is about the orders in it; any other is about us.
_ABOUT_THE_ORDERS = {Kind.REQUEST, Kind.SERVICE, Kind.LINK, Kind.QUANTITY}

_NEEDED = [
    "pk", "customer_id", "provider_id", "parent_id", "order_type", "parameters", "quantity",
    "price_rate", "charge", "refunded", "expected_charge", "upstream_charge", "dispatch",
    "upstream_id", "status", "raw_status", "start_count", "remains", "next_poll_at", "attention",
    "created_at", "sent_at",
]  # fmt: skip
_TOLD = ["status", "raw_status", "start_count", "remains", "upstream_charge", "attention"]
_ENDED = [*_TOLD, "finished_at", "next_poll_at"]

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


@dataclass(frozen=True)
class _Batch:
    """Up to 100 claimed orders of one provider; `stuck` are those asked about for the last time."""

    provider: Provider
    orders: Sequence[Order]
    stuck: frozenset[int]


@dataclass(frozen=True)
class _News:
    """An order whose answer changes something that isn't money."""

    order: Order
    decision: Decision


def next_poll(now: datetime, sent_at: datetime) -> datetime | None:
    """When to ask again: often for a young order, rarely for an old one, None after 90 days."""
    age = now - sent_at
    young = timedelta(seconds=settings.POLL_YOUNG_SECONDS)
    if age < timedelta(hours=1):
        return now + young
    if age < timedelta(days=1):
        return now + max(young, timedelta(minutes=10))
    if age < GIVE_UP_AFTER:
        return now + max(young, timedelta(hours=1))
    return None


def pause(failures: int) -> timedelta:
    """How long a provider is left alone after this many failed calls in a row."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * (1 << min(failures - 1, 10)))


def poll_due(limit_calls: int = 50, *, now: datetime | None = None) -> PollReport:
    """Ask about orders that are due, providers in turn, and apply what changed.

    At most `limit_calls` calls, POLL_IN_FLIGHT of them at once. A provider whose call fails is left
    alone for a while and its orders stay as they are. Call outside transactions.
    """
    now = now or timezone.now()
    report = PollReport()
    failing: set[int] = set()
    under_way: dict[Future[Answers | UpstreamError], _Batch] = {}
    with ExitStack() as stack:
        callers = _Callers(stack)
        pool = stack.enter_context(ThreadPoolExecutor(settings.POLL_IN_FLIGHT, "poll"))
        for batch in _batches(limit_calls, failing, now):
            under_way[pool.submit(callers.ask, batch)] = batch
            if len(under_way) >= settings.POLL_IN_FLIGHT:
                report += _finish_some(under_way, failing, now)
        while under_way:
            report += _finish_some(under_way, failing, now)
    return report


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


def _batches(limit: int, failing: set[int], now: datetime) -> Iterator[_Batch]:
    """Claimed batches, one of each provider in turn, until nothing is due."""
    # The rules are fetched here: a client made in a thread must not need the database.
    providers = list(Provider.objects.order_by("pk").prefetch_related("error_rules"))
    waiting = [provider for provider in providers if not _is_paused(provider.pk, now)]
    left = limit
    while waiting:
        for provider in list(waiting):
            batch = None if provider.pk in failing else _claim(provider, now)
            if batch is None:
                waiting.remove(provider)
                continue
            yield batch
            left -= 1
            if left <= 0:
                return
            if len(batch.orders) < MAX_IDS:
                waiting.remove(provider)


@transaction.atomic
def _claim(provider: Provider, now: datetime) -> _Batch | None:
    due = Order.objects.filter(
        provider_id=provider.pk, next_poll_at__lte=now, dispatch__in=FOLLOWED
    ).select_for_update(skip_locked=True, no_key=True, of=("self",))
    orders = list(due.order_by("next_poll_at", "pk").only(*_NEEDED)[:MAX_IDS])
    if not orders:
        return None
    by_time: dict[datetime | None, list[int]] = {}
    for order in orders:
        order.next_poll_at = next_poll(now, order.sent_at or order.created_at)
        by_time.setdefault(order.next_poll_at, []).append(order.pk)
    stuck = by_time.pop(None, [])
    _reschedule(by_time, stuck, now)
    return _Batch(provider, orders, frozenset(stuck))


def _reschedule(
    by_time: Mapping[datetime | None, list[int]], stuck: Sequence[int], now: datetime
) -> None:
    """Move the next poll of a batch in one statement; the rare orders nobody polls again in another."""
    ids = [pk for group in by_time.values() for pk in group]
    times = [When(pk__in=group, then=Value(when)) for when, group in by_time.items()]
    if ids:
        Order.objects.filter(pk__in=ids).update(
            next_poll_at=Case(*times, output_field=DateTimeField()), polled_at=now
        )
    if stuck:
        Order.objects.filter(pk__in=stuck).update(next_poll_at=None, polled_at=now)


def _finish_some(
    under_way: dict[Future[Answers | UpstreamError], _Batch], failing: set[int], now: datetime
) -> PollReport:
    """Wait for at least one call and apply what it and others brought."""
    report = PollReport()
    for done in wait(under_way, return_when=FIRST_COMPLETED).done:
        batch = under_way.pop(done)
        answers = _believed(batch, done.result())
        if isinstance(answers, UpstreamError):
            _put_back(batch, answers, now, is_first=batch.provider.pk not in failing)
            failing.add(batch.provider.pk)
            report += PollReport(calls=1, failed=1)
        else:
            if batch.provider.pk not in failing:
                _forgive(batch.provider.pk)
            report += _apply(batch, answers, now)
    return report


def _believed(batch: _Batch, result: Answers | UpstreamError) -> Answers | UpstreamError:
    """A refusal that names the orders is an answer about each: seen when every ID is unknown."""
    if isinstance(result, Rejected) and result.kind in _ABOUT_THE_ORDERS:
        refusal = ItemError(result.text, result.kind)
        return dict.fromkeys((order.upstream_id for order in batch.orders), refusal)
    return result


def _put_back(batch: _Batch, error: UpstreamError, now: datetime, *, is_first: bool) -> None:
    """The call failed: nothing is known, nothing is changed, and it is tried again later.

    Calls that fail together count once.
    """
    provider = batch.provider
    failures = max(1, _failures(provider.pk) + is_first)
    until = now + pause(failures)
    cache.set(_pause_key(provider.pk), (failures, until), LONGEST_PAUSE.total_seconds() * 2)
    logger.warning("status call failed provider=%s reason=%s", provider.pk, type(error).__name__)
    ids = [order.pk for order in batch.orders]
    Order.objects.filter(pk__in=ids, status__in=OPEN).update(next_poll_at=until)


def _pause_key(provider_id: int) -> str:
    return f"orders-poll-pause-{provider_id}"


def _failures(provider_id: int) -> int:
    kept: tuple[int, datetime] | None = cache.get(_pause_key(provider_id))
    return kept[0] if kept else 0


def _is_paused(provider_id: int, now: datetime) -> bool:
    kept: tuple[int, datetime] | None = cache.get(_pause_key(provider_id))
    return kept is not None and kept[1] > now


def _forgive(provider_id: int) -> None:
    if _failures(provider_id):
        cache.delete(_pause_key(provider_id))


def _apply(batch: _Batch, answers: Answers, now: datetime) -> PollReport:
    missing: list[Order] = []
    news: list[_News] = []
    alone: list[tuple[int, OrderStatus]] = []
    for order in batch.orders:
        answer = answers.get(order.upstream_id)
        if not isinstance(answer, OrderStatus):
            missing.append(order)
        elif _is_container(order):
            alone.append((order.pk, answer))
        elif not _is_same(order, answer):
            facts = facts_of(order)
            decision = decide(facts, answer)
            if decision.refund > 0 or order.parent_id is not None:
                alone.append((order.pk, answer))
            elif is_news(facts, decision):
                news.append(_News(order, decision))
    changed = sum(apply_status(pk, answer, now=now) for pk, answer in alone)
    changed += _write(news, now)
    _flag([order for order in missing if _is_overdue(order, now)], Attention.STATUS_MISSING, now)
    _flag([order for order in batch.orders if order.pk in batch.stuck], Attention.STUCK, now)
    return PollReport(calls=1, asked=len(batch.orders), changed=changed, missing=len(missing))


def _is_container(order: Order) -> bool:
    """Whether parts may have to be made or looked at, which needs the order's lock."""
    return facts_of(order).shape.is_container


def _is_same(order: Order, answer: OrderStatus) -> bool:
    """A quick look for the common case; whatever it lets through `decide` compares again."""
    return (
        answer.raw_status == order.raw_status
        and order.attention not in PASSING
        and answer.start_count in (None, order.start_count)
        and answer.remains in (None, order.remains)
        and answer.charge in (None, order.upstream_charge)
    )


def _is_overdue(order: Order, now: datetime) -> bool:
    return now - (order.sent_at or order.created_at) > MISSING_AFTER


@transaction.atomic
def _write(news: Sequence[_News], now: datetime) -> int:
    """Write changes without money, orders that ended and others in one statement each.

    An order that somebody moved since it was read is left alone.
    """
    running = [_row(each, now) for each in news if not each.decision.is_final]
    ended = [_row(each, now) for each in news if each.decision.is_final]
    written = update_rows(Order, _TOLD, running, unmoved=["status"])
    written |= update_rows(Order, _ENDED, ended, unmoved=["status"])
    Event.objects.bulk_create(
        [event for each in news if each.order.pk in written for event in _events(each, now)]
    )
    if ended:
        close_cancels([row[0] for row in ended if row[0] in written], now=now)
        was_open = {each.order.pk for each in news if each.order.status not in FINAL}
        tell_ended([row[0] for row in ended if row[0] in written & was_open])
    return len(written)


def _row(news: _News, now: datetime) -> list[Any]:
    decision = news.decision
    values = [getattr(decision, name) for name in _TOLD]
    if decision.is_final:
        values += [now, None]
    return [news.order.pk, news.order.status, *values]


def _events(news: _News, now: datetime) -> Iterator[Event]:
    order, decision = news.order, news.decision
    if decision.status != order.status:
        values = {"was": order.status, "status": str(Status(decision.status))}
        yield Event(order=order, at=now, code=Code.STATUS, values=values)
    if decision.attention not in ("", order.attention):
        values = {"status": decision.raw_status, "attention": str(decision.attention)}
        yield Event(order=order, at=now, code=Code.ODD_ANSWER, values=values)


def _flag(orders: Sequence[Order], attention: Attention, now: datetime) -> None:
    """Have staff look at orders that nothing is known of; money is never touched for that."""
    quiet = [order.pk for order in orders if not order.attention]
    if not quiet:
        return
    with transaction.atomic():
        unflagged = Order.objects.filter(pk__in=quiet, attention="", status__in=OPEN)
        flagged = list(unflagged.values_list("pk", flat=True))
        unflagged.update(attention=attention)
        values = {"attention": str(attention)}
        Event.objects.bulk_create(
            Event(order_id=pk, at=now, code=Code.ODD_ANSWER, values=values) for pk in flagged
        )
