"""Finding out what became of orders whose answer was lost, by asking about IDs.

`orders.matching` decides, `orders.scans` asks, `orders.sights` reads. Here the steps follow each
other: one call for one order, then everything that is known is judged anew. What is found placed is
adopted at once, because that sends nothing. What is found absent is proposed to staff, or refunded
where the provider's settings say so. Nothing here ever sends an order.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from catalog.models import Provider
from orders import canary, matching, polls, scans, sights
from orders.errors import NotPossible
from orders.letters import tell_ended
from orders.matching import Finding, Lost, Reason, Result, Sight, Span, Verdict, Witness
from orders.models import Attempt, Order, Scan, ScannedSpan, Search, StrayOrder
from orders.money import Locked, lock_order, refund_order
from orders.scans import Stop
from orders.states import Dispatch, Outcome, Status
from orders.timeline import Code, record
from upstream.answers import OrderStatus, State
from upstream.client import MAX_IDS
from wallet.money import LIMIT

logger = logging.getLogger(__name__)

SPANS_KEPT = timedelta(days=90)
# In these the provider may have given part of the charge back.
_REDUCED = {State.PARTIAL, State.CANCELED, State.FAILED, State.REFUNDED}
_PLACES = Decimal("0.000001")


@dataclass(frozen=True)
class ReconcileReport:
    """What one run did: calls made, orders adopted, proposed as absent, refunded, still open."""

    calls: int = 0
    placed: int = 0
    absent: int = 0
    refunded: int = 0
    open: int = 0

    def __add__(self, other: "ReconcileReport") -> "ReconcileReport":
        return ReconcileReport(
            calls=self.calls + other.calls,
            placed=self.placed + other.placed,
            absent=self.absent + other.absent,
            refunded=self.refunded + other.refunded,
            open=self.open + other.open,
        )

    def __str__(self) -> str:
        return (
            f"{self.calls} calls, {self.placed} found, {self.absent} found absent, "
            f"{self.refunded} refunded, {self.open} open"
        )


@dataclass(frozen=True)
class Candidate:
    """An ID that may be the order."""

    upstream_id: str
    charge: Decimal | None
    raw_status: str
    found_at: datetime


@dataclass(frozen=True)
class Evidence:
    """What staff see of an unconfirmed order: everything that speaks for and against.

    `searching` is empty while the search goes on, else a word for why it does not: "off", "canary",
    "untested", "disorder", "paused", "review_only". `expected` is in the provider's currency.
    """

    sent_at: datetime
    gave_up_at: datetime | None
    age: timedelta
    expected: Decimal
    searching: str
    note: str = ""
    verdict: str = ""
    reason: str = ""
    low: int | None = None
    high: int | None = None
    scanned: int = 0
    total: int | None = None
    calls: int = 0
    calls_most: int = 0
    found: str = ""
    candidates: tuple[Candidate, ...] = ()
    balance_says_placed: bool | None = None
    balance_spent: Decimal | None = None
    decided_at: datetime | None = None
    is_restored: bool = False

    @property
    def share(self) -> int | None:
        """Percent of the IDs in question that were asked for; None while their end is not known."""
        if self.total is None:
            return None
        return 100 if self.total == 0 else 100 * self.scanned // self.total


def reconcile_due(*, now: datetime | None = None) -> ReconcileReport:
    """Take one step for every provider with unconfirmed orders. Call outside transactions.

    At most one call per provider and run besides the one that asks parents for their parts; run it
    every few seconds.
    """
    now = now or timezone.now()
    waiting = Order.objects.filter(dispatch=Dispatch.UNKNOWN).order_by("provider_id")
    report = ReconcileReport()
    for provider_id in waiting.values_list("provider_id", flat=True).distinct():
        report += _step(Provider.objects.get(pk=provider_id), now)
    return report


def look_now(order_id: int, *, now: datetime | None = None) -> Evidence | None:
    """Look at once for this order, with a new budget of calls, within what politeness permits.

    None when that settled it. Raises NotPossible when the order isn't unconfirmed.
    """
    now = now or timezone.now()
    order = Order.objects.select_related("provider").get(pk=order_id)
    attempt = _open_attempt(order)
    if attempt is None:
        raise NotPossible(_("This order is not unconfirmed any more."))
    Search.objects.filter(attempt=attempt).update(calls=0)
    _step(order.provider, now, first=attempt.pk)
    return evidence(order, now=now)


def _open_attempt(order: Order) -> Attempt | None:
    return sights.open_attempts(order.provider).filter(order=order).last()


def _step(provider: Provider, now: datetime, *, first: int | None = None) -> ReconcileReport:
    scan = scans.scan_of(provider)
    if not scan.is_enabled or not _is_tested(provider, scan, now):
        return ReconcileReport(open=sights.open_attempts(provider).count())
    if _is_disordered(provider, scan):
        return ReconcileReport(open=sights.open_attempts(provider).count())
    calls = 0
    if not scans.is_resting(scan, now):
        calls = _ask_for_one(provider, scan, sights.read_sight(provider, now=now), now, first=first)
    report = _judge(provider, scan, now)
    return replace(report, calls=calls, refunded=_refund_absent(provider, now))


def _is_tested(provider: Provider, scan: Scan, now: datetime) -> bool:
    """Whether the canary lives; tries it when that is due."""
    if canary.is_due(scan, now) and not scans.is_resting(scan, now):
        canary.run_canary(provider, now=now)
        scan.refresh_from_db()
    return scan.canary == Scan.Canary.PASSED


def _is_disordered(provider: Provider, scan: Scan) -> bool:
    """Whether IDs can't be trusted to grow; once they were seen not to, until the next test."""
    if scan.disorder == "order":
        return True
    scan.disorder = matching.disorder(sights.history(provider))
    scan.save(update_fields=["disorder"])
    return bool(scan.disorder)


def _ask_for_one(
    provider: Provider, scan: Scan, sight: Sight, now: datetime, *, first: int | None
) -> int:
    """Ask about IDs for the order whose turn it is; how many calls that took."""
    for lost in _in_turn(sight.lost, first):
        if lost.key in sight.spent:
            continue
        spans = matching.to_scan(sight, lost, now=now)
        if not spans:
            continue
        control = max(sight.own, key=lambda each: each.id)
        if not scans.take_calls(scan, now):
            return 0
        _count_call(lost, now)
        is_settled = matching.window(lost, sight.own, matching.SCAN_AFTER).high is not None
        return 1 + _ask(provider, scan, spans, control.id, now, is_settled=is_settled)
    return 0


def _in_turn(lost: Sequence[Lost], first: int | None) -> list[Lost]:
    """Open orders: the wanted one, then whoever was asked for longest ago."""
    called = dict(
        Search.objects.filter(attempt_id__in=[each.key for each in lost]).values_list(
            "attempt_id", "called_at"
        )
    )
    never = datetime.min.replace(tzinfo=timezone.get_default_timezone())
    return sorted(
        (each for each in lost if each.is_open),
        key=lambda each: (each.key != first, called.get(each.key) or never, each.key),
    )


def _count_call(lost: Lost, now: datetime) -> None:
    search = Search.objects.get_or_create(attempt_id=lost.key)[0]
    search.calls += 1
    search.called_at = now
    search.save(update_fields=["calls", "called_at", "updated_at"])


def _ask(
    provider: Provider,
    scan: Scan,
    spans: Sequence[Span],
    control: int,
    now: datetime,
    *,
    is_settled: bool,
) -> int:
    """Ask for the spans and keep what answers; how many more calls that took."""
    asked = [id_ for span in spans for id_ in range(span.low, span.high + 1)]
    answers = scans.ask(provider, [control, *asked])
    if isinstance(answers, Stop):
        scans.rest(scan, answers.note, now)
        return 0
    problem = scans.unusual(answers, control=str(control), foreign_text=scan.foreign_text)
    if problem:
        scans.rest(scan, problem, now)
        return 0
    found = {
        id_: answer
        for id_, answer in answers.items()
        if isinstance(answer, OrderStatus) and id_ != str(control)
    }
    strangers = found.keys() - sights.owned(provider, list(found))
    more, parts = _parts(provider, scan, now) if strangers else (0, frozenset())
    if parts is None:
        return more
    _keep(provider, spans, [(id_, found[id_]) for id_ in strangers - parts], now, is_settled)
    return more


def _parts(provider: Provider, scan: Scan, now: datetime) -> tuple[int, frozenset[str] | None]:
    """IDs of parts that our drip-feeds and subscriptions list now, which we may not know yet.

    None when a parent could not be asked: a part would then pass for a lost order.
    """
    parents = [order.upstream_id for order in sights.open_containers(provider)]
    listed: set[str] = set()
    calls = 0
    for at in range(0, len(parents), MAX_IDS):
        answers = scans.ask(provider, parents[at : at + MAX_IDS])
        calls += 1
        told = {} if isinstance(answers, Stop) else answers
        for parent in parents[at : at + MAX_IDS]:
            answer = told.get(parent)
            if not isinstance(answer, OrderStatus):
                scans.rest(scan, "a parent order was not answered", now)
                return calls, None
            listed.update(answer.orders, answer.old_orders)
    return calls, frozenset(listed)


@transaction.atomic
def _keep(
    provider: Provider,
    spans: Sequence[Span],
    found: Sequence[tuple[str, OrderStatus]],
    now: datetime,
    is_settled: bool,
) -> None:
    ScannedSpan.objects.bulk_create(
        ScannedSpan(provider=provider, low=each.low, high=each.high, at=now, is_settled=is_settled)
        for each in spans
    )
    StrayOrder.objects.bulk_create(
        [_stray(provider, id_, answer, now) for id_, answer in found], ignore_conflicts=True
    )
    ScannedSpan.objects.filter(provider=provider, at__lt=now - SPANS_KEPT).delete()


def _stray(provider: Provider, id_: str, answer: OrderStatus, now: datetime) -> StrayOrder:
    return StrayOrder(
        provider=provider,
        upstream_id=id_,
        charge=_charge(provider, answer),
        raw_status=answer.raw_status[:60],
        is_reduced=answer.state in _REDUCED,
        # A parent shows runs or posts and its parts instead of a charge.
        is_container=bool(answer.orders or answer.old_orders)
        or answer.runs is not None
        or answer.posts is not None,
        parts=[*answer.orders, *answer.old_orders],
        found_at=now,
    )


def _charge(provider: Provider, answer: OrderStatus) -> Decimal | None:
    """The charge if it can be compared: in the provider's currency, and no absurd number."""
    if answer.charge is None or not 0 <= answer.charge <= LIMIT:
        return None
    if answer.currency and answer.currency.upper() != provider.currency.upper():
        return None
    return answer.charge.quantize(_PLACES)


def _judge(provider: Provider, scan: Scan, now: datetime) -> ReconcileReport:
    """Decide by everything that is known now, and let orders follow."""
    sight = sights.read_sight(provider, now=now)
    if matching.disorder(sight.own) == "order":
        Scan.objects.filter(pk=scan.pk).update(disorder="order")
        return ReconcileReport(open=sum(lost.is_open for lost in sight.lost))
    result = matching.decide(sight)
    if _note_foreign(provider, scan, result, now):
        result = matching.decide(replace(sight, is_review_only=True))
    report = ReconcileReport()
    for lost in sight.lost:
        if lost.is_open:
            report += _follow(provider, sight, lost, result.findings[lost.key], now)
    return report


def _note_foreign(provider: Provider, scan: Scan, result: Result, now: datetime) -> bool:
    """File orders on our account that we can't have placed; True when one is new.

    Someone else orders there, so a fitting charge proves nothing any more: for 30 days people
    decide.
    """
    ids = [str(id_) for id_ in result.foreign]
    new = StrayOrder.objects.filter(provider=provider, upstream_id__in=ids, is_foreign=False)
    if not new.update(is_foreign=True):
        return False
    Scan.objects.filter(pk=scan.pk).update(review_until=now + scans.REVIEW)
    logger.warning("orders that are not ours provider=%s ids=%s", provider.pk, ",".join(ids))
    return True


def _follow(
    provider: Provider, sight: Sight, lost: Lost, finding: Finding, now: datetime
) -> ReconcileReport:
    said = _ask_balance(provider, sight, lost)
    if matching.is_contradicted(finding, lost.key, said):
        finding = replace(finding, verdict=Verdict.REVIEW, reason=Reason.BALANCE)
    was = _write(lost, finding, said, now)
    if finding.verdict is Verdict.PLACED and finding.orphan is not None:
        is_bound = adopt(lost.key, str(finding.orphan))
        return ReconcileReport(placed=int(is_bound), open=int(not is_bound))
    if finding.verdict is Verdict.ABSENT:
        is_new = was != Verdict.ABSENT and _propose_absent(lost.key, finding)
        return ReconcileReport(absent=int(is_new), open=1)
    if was == Verdict.ABSENT:
        _take_back(lost.key)
    return ReconcileReport(open=1)


def _ask_balance(provider: Provider, sight: Sight, lost: Lost) -> Witness | None:
    samples = sights.samples_around(provider, lost)
    if len(samples) < 2:
        return None
    start, end = samples[0].asked, samples[-1].answered
    return matching.witness(
        lost,
        samples=samples,
        payments=sights.payments_between(provider, start, end),
        all_lost=sight.lost,
        moved_at=sights.money_moved(provider, start, end),
    )


def _write(lost: Lost, finding: Finding, said: Witness | None, now: datetime) -> str:
    """Keep a finding for staff; gives the verdict that stood there before."""
    search = Search.objects.get_or_create(attempt_id=lost.key)[0]
    was = search.verdict
    values = {
        "verdict": finding.verdict.value,
        "reason": finding.reason.value,
        "low": finding.window.low,
        "high": finding.window.high,
        "scanned": finding.scanned,
        "total": finding.total,
        "found": finding.orphan,
        "candidates": [str(each) for each in finding.candidates],
        "balance_says_placed": said.says(lost.key) if said else None,
        "balance_spent": said.spent if said and abs(said.spent) <= LIMIT else None,
    }
    if all(getattr(search, name) == value for name, value in values.items()):
        return was
    for name, value in values.items():
        setattr(search, name, value)
    if finding.verdict.value != was:
        search.decided_at = None if finding.verdict is Verdict.WAIT else now
    search.save()
    return was


def adopt(attempt_id: int, upstream_id: str) -> bool:
    """Take an order as placed under this ID and follow it; False when somebody was faster.

    Only while it is unconfirmed, by this very attempt, and nobody else has the ID.
    """
    try:
        with transaction.atomic():
            return _adopt(attempt_id, upstream_id)
    except IntegrityError:
        # An answer brought the same ID for another order in this very moment.
        logger.warning("found ID is taken attempt=%s", attempt_id)
        return False


def _adopt(attempt_id: int, upstream_id: str) -> bool:
    held = _lock_open(attempt_id)
    if held is None:
        return False
    order, attempt = held.locked.order, held.attempt
    if sights.owned(order.provider, [upstream_id]):
        return False
    now = timezone.now()
    order.dispatch = Dispatch.ACCEPTED
    order.upstream_id = upstream_id
    order.sent_at = order.sent_at or attempt.sending_at
    order.attention = ""
    order.save(update_fields=["dispatch", "upstream_id", "sent_at", "attention"])
    polls.follow(order_id=order.pk, provider_id=order.provider_id, due_at=now)
    attempt.outcome = Outcome.ACCEPTED
    attempt.upstream_id = upstream_id
    attempt.reason = sights.FOUND_BY_SCAN
    attempt.finished_at = now
    attempt.save(update_fields=["outcome", "upstream_id", "reason", "finished_at"])
    record(order, Code.FOUND, attempt=attempt.number, upstream_id=upstream_id)
    logger.info("lost answer found order=%s attempt=%s", order.pk, attempt.number)
    return True


@dataclass(frozen=True)
class _Held:
    """An unconfirmed order with its account, and its attempt, locked until the transaction ends."""

    locked: Locked
    attempt: Attempt


def _lock_open(attempt_id: int) -> _Held | None:
    """Lock them, if it is still this attempt that is unconfirmed."""
    order_id = Attempt.objects.values_list("order_id", flat=True).get(pk=attempt_id)
    locked = lock_order(order_id)
    order = locked.order
    attempt = Attempt.objects.select_for_update(no_key=True).get(pk=attempt_id)
    is_open = (
        order.dispatch == Dispatch.UNKNOWN
        and order.attempt_no == attempt.number
        and attempt.outcome == Outcome.UNKNOWN
    )
    return _Held(locked, attempt) if is_open else None


@transaction.atomic
def _propose_absent(attempt_id: int, finding: Finding) -> bool:
    """Tell staff that the order is not at the provider; neither its state nor its money moves."""
    held = _lock_open(attempt_id)
    if held is None:
        return False
    order, attempt = held.locked.order, held.attempt
    order.attention = "absent"
    order.save(update_fields=["attention"])
    record(
        order,
        Code.ABSENT,
        attempt=attempt.number,
        scanned=finding.scanned,
        low=finding.window.low,
        high=finding.window.high,
    )
    return True


@transaction.atomic
def _take_back(attempt_id: int) -> None:
    """Something was found after all that may be the order."""
    held = _lock_open(attempt_id)
    if held is None or held.locked.order.attention != "absent":
        return
    held.locked.order.attention = "unknown"
    held.locked.order.save(update_fields=["attention"])


def _refund_absent(provider: Provider, now: datetime) -> int:
    """Refund what was found absent long enough ago, where the provider's settings say so."""
    hours = Scan.objects.values_list("refund_absent_hours", flat=True).get(provider=provider)
    if hours is None:
        return 0
    found = sights.open_attempts(provider).filter(
        search__verdict=Verdict.ABSENT.value, search__decided_at__lte=now - timedelta(hours=hours)
    )
    return sum(_refund(attempt_id) for attempt_id in found.values_list("pk", flat=True))


@transaction.atomic
def _refund(attempt_id: int) -> bool:
    """Give the money of an absent order back; its attempt stays unconfirmed, and competes on."""
    held = _lock_open(attempt_id)
    if held is None or held.locked.order.attention != "absent":
        return False
    order = held.locked.order
    if order.charge > order.refunded:
        refund_order(
            held.locked, amount=order.charge - order.refunded, reference=f"order-{order.pk}"
        )
    order.dispatch = Dispatch.REJECTED
    order.status = Status.CANCELED
    order.finished_at = timezone.now()
    order.attention = ""
    order.save(update_fields=["dispatch", "status", "finished_at", "attention"])
    record(order, Code.ABSENT, action="refund")
    tell_ended([order.pk])
    logger.info("absent order refunded order=%s", order.pk)
    return True


def evidence(order: Order, *, now: datetime | None = None) -> Evidence | None:
    """What is known of an unconfirmed order; None when it isn't unconfirmed."""
    now = now or timezone.now()
    attempt = _open_attempt(order)
    if attempt is None:
        return None
    # A page asks this, and looking at a page writes nothing.
    scan = Scan.objects.filter(provider=order.provider).first() or Scan(provider=order.provider)
    search = getattr(attempt, "search", None) or Search(attempt=attempt)
    return Evidence(
        sent_at=sights.began(attempt),
        gave_up_at=attempt.finished_at,
        age=now - sights.began(attempt),
        expected=order.expected_charge,
        searching=_hindrance(scan, now),
        note=_hindrance_note(scan, now),
        verdict=search.verdict,
        reason=search.reason,
        low=search.low,
        high=search.high,
        scanned=search.scanned,
        total=search.total,
        calls=search.calls,
        calls_most=scan.calls_per_order,
        found="" if search.found is None else str(search.found),
        candidates=_candidates(order, search),
        balance_says_placed=search.balance_says_placed,
        balance_spent=search.balance_spent,
        decided_at=search.decided_at,
        is_restored=search.is_restored,
    )


def _candidates(order: Order, search: Search) -> tuple[Candidate, ...]:
    strays = StrayOrder.objects.filter(
        provider_id=order.provider_id, upstream_id__in=search.candidates
    )
    return tuple(
        Candidate(stray.upstream_id, stray.charge, stray.raw_status, stray.found_at)
        for stray in strays.order_by("pk")
    )


def _hindrance(scan: Scan, now: datetime) -> str:
    if not scan.is_enabled:
        return "off"
    if scan.canary == Scan.Canary.FAILED:
        return "canary"
    if scan.canary == Scan.Canary.UNTRIED:
        return "untested"
    if scan.disorder:
        return "disorder"
    if scans.is_resting(scan, now):
        return "paused"
    if scan.review_until is not None and scan.review_until > now:
        return "review_only"
    return ""


def _hindrance_note(scan: Scan, now: datetime) -> str:
    if scan.canary == Scan.Canary.FAILED:
        return scan.canary_note
    return scan.pause_note if scans.is_resting(scan, now) else ""
