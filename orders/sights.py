"""Reading what is known of a provider's lost orders into the plain values of `orders.matching`."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from catalog.models import BalanceSample, Provider
from orders.decisions import Shape, shape_of
from orders.matching import (
    LATEST,
    SCAN_AFTER,
    Lost,
    Orphan,
    Own,
    Payment,
    Sample,
    Sight,
    Span,
    window,
)
from orders.models import Attempt, Order, ScannedSpan, Search, StrayOrder
from orders.scans import number_of, scan_of
from orders.states import OPEN, UNDECIDED, Dispatch, Outcome, Status

# How far back an attempt of unknown fate may still explain an ID that is found now.
COMPETES_FOR = timedelta(days=30)
HISTORY = 200
# Orders sent on either side of a lost one that are looked at for its nearest neighbours.
_NEIGHBOURS = 50
_MOST_BETWEEN = 20_000
# Lost orders nearer than this share one look at their neighbours.
_TOGETHER = timedelta(minutes=15)
FOUND_BY_SCAN = "found by its ID"


def open_attempts(provider: Provider) -> QuerySet[Attempt]:
    """The last attempts of this provider's unconfirmed orders, oldest first."""
    from_orders = Attempt.objects.filter(
        order__provider=provider, order__dispatch=Dispatch.UNKNOWN, outcome=Outcome.UNKNOWN
    )
    return from_orders.select_related("order", "search").order_by("pk")


def is_container(order: Order) -> bool:
    """Whether the provider makes part orders for it."""
    shape = shape_of(
        dispatch=Dispatch.ACCEPTED, order_type=order.order_type, parameters=order.parameters
    )
    return shape in (Shape.DRIP_FEED, Shape.SUBSCRIPTION)


def open_containers(provider: Provider) -> list[Order]:
    """Accepted orders here whose parts the provider may still be making."""
    accepted = Order.objects.filter(provider=provider, dispatch=Dispatch.ACCEPTED)
    unfinished = accepted.filter(Q(status__in=OPEN) | Q(attention="parts_missing"))
    made_of_parts = Q(parameters__has_key="runs") | Q(order_type__icontains="subscription")
    return [order for order in unfinished.filter(made_of_parts) if is_container(order)]


def began(attempt: Attempt) -> datetime:
    """The earliest moment at which a byte of it may have left."""
    return attempt.sending_at or attempt.claimed_at


def lost_of(attempt: Attempt, *, is_open: bool) -> Lost:
    """An attempt as a lost order."""
    search = getattr(attempt, "search", None)
    under_way = attempt.outcome == Outcome.SENDING
    return Lost(
        key=attempt.pk,
        began=began(attempt),
        ended=None if under_way else attempt.finished_at or attempt.claimed_at,
        expected=attempt.order.expected_charge,
        is_container=is_container(attempt.order),
        is_open=is_open,
        is_restored=search is not None and search.is_restored,
    )


def all_lost(provider: Provider) -> list[Lost]:
    """The open ones, and every attempt that may own one of the IDs in question."""
    open_ = list(open_attempts(provider))
    if not open_:
        return []
    keys = {attempt.pk for attempt in open_}
    since = min(began(attempt) for attempt in open_) - COMPETES_FOR
    others = (
        Attempt.objects.filter(
            order__provider=provider, outcome__in=UNDECIDED, sending_at__gte=since
        )
        .exclude(pk__in=keys)
        .select_related("order", "search")
    )
    return [
        *(lost_of(attempt, is_open=True) for attempt in open_),
        *(lost_of(attempt, is_open=False) for attempt in others),
    ]


def history(provider: Provider, count: int = HISTORY) -> list[Own]:
    """The latest orders whose ID stood in the provider's answer."""
    return _own(_answered(provider).order_by("-order__sent_at")[:count])


def ids_are_numbers(provider: Provider) -> bool:
    """Whether the latest IDs can be counted through."""
    latest = _answered(provider).order_by("-order__sent_at")[:HISTORY]
    return all(number_of(text) is not None for text in latest.values_list("upstream_id", flat=True))


def _answered(provider: Provider) -> QuerySet[Attempt]:
    # A reason stands where a person or a scan gave the ID; such an ID is no witness of time.
    return (
        Attempt.objects.filter(
            order__provider=provider,
            order__dispatch=Dispatch.ACCEPTED,
            outcome=Outcome.ACCEPTED,
            reason="",
            sending_at__isnull=False,
            finished_at__isnull=False,
        )
        .exclude(order__upstream_id="")
        .exclude(order__sent_at=None)
    )


def _own(attempts: QuerySet[Attempt]) -> list[Own]:
    rows = attempts.values_list("upstream_id", "sending_at", "finished_at")
    found = [(number_of(text), sent, answered) for text, sent, answered in rows]
    return [
        Own(id_, sent, answered)
        for id_, sent, answered in found
        if id_ is not None and sent is not None and answered is not None
    ]


def neighbours(provider: Provider, lost: Sequence[Lost]) -> list[Own]:
    """Our orders before, between and after these, as far as their windows can reach."""
    found: dict[int, Own] = {}
    for first, last in _together(lost):
        rows = _answered(provider)
        near = [
            rows.filter(order__sent_at__lte=first).order_by("-order__sent_at")[:_NEIGHBOURS],
            rows.filter(order__sent_at__gt=first, order__sent_at__lt=last + LATEST).order_by(
                "order__sent_at"
            )[:_MOST_BETWEEN],
            rows.filter(order__sent_at__gte=last + LATEST).order_by("order__sent_at")[:_NEIGHBOURS],
        ]
        for part in near:
            found |= {each.id: each for each in _own(part)}
    return list(found.values())


def _together(lost: Sequence[Lost]) -> list[tuple[datetime, datetime]]:
    """Spans of time with lost orders close to each other: from the first's start to the last's end."""
    spans: list[tuple[datetime, datetime]] = []
    for each in sorted(lost, key=lambda each: each.began):
        end = each.ended or each.began
        if spans and each.began <= spans[-1][1] + _TOGETHER:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((each.began, end))
    return spans


def read_sight(provider: Provider, *, now: datetime) -> Sight:
    """What is known now. Read it after the answers it is to judge, or it misses their owners."""
    strays = list(StrayOrder.objects.filter(provider=provider))
    lost = all_lost(provider)
    own = neighbours(provider, lost)
    low = min((bounds.low or 0 for bounds in (window(each, own) for each in lost)), default=0)
    scan = scan_of(provider)
    spans = ScannedSpan.objects.filter(provider=provider, high__gte=low)
    return Sight(
        own=own,
        lost=lost,
        orphans=_orphans(provider, strays, low),
        known=frozenset(each.id for each in own),
        spans=_joined(spans.filter(is_settled=True)),
        tried=_joined(spans.filter(is_settled=False)),
        spent=_spent(lost, scan.calls_per_order),
        is_review_only=scan.review_until is not None and scan.review_until > now,
    )


def _spent(lost: Iterable[Lost], most: int) -> frozenset[int]:
    keys = [each.key for each in lost if each.is_open]
    done = Search.objects.filter(attempt_id__in=keys, calls__gte=most)
    return frozenset(done.values_list("attempt_id", flat=True))


def _joined(spans: QuerySet[ScannedSpan]) -> list[Span]:
    joined: list[Span] = []
    for low, high in spans.order_by("low").values_list("low", "high"):
        if joined and low <= joined[-1].high + 1:
            joined[-1] = Span(joined[-1].low, max(joined[-1].high, high))
        else:
            joined.append(Span(low, high))
    return joined


def _orphans(provider: Provider, strays: Sequence[StrayOrder], low: int) -> list[Orphan]:
    """Strays that are still nobody's: neither an order's here nor a part of another stray."""
    ids = [stray.upstream_id for stray in strays]
    parts = {part for stray in strays for part in stray.parts}
    taken = owned(provider, ids) | parts
    numbered = [(number_of(stray.upstream_id), stray) for stray in strays]
    return [
        Orphan(id_, stray.charge, is_reduced=stray.is_reduced, is_container=stray.is_container)
        for id_, stray in numbered
        if id_ is not None and id_ > low and stray.upstream_id not in taken
    ]


def owned(provider: Provider, ids: Sequence[str]) -> set[str]:
    """Those of the IDs that an order here has, or an attempt whose answer came too late for it."""
    orders = Order.objects.filter(provider=provider, upstream_id__in=ids)
    attempts = Attempt.objects.filter(order__provider=provider, is_late=True, upstream_id__in=ids)
    return {
        *orders.values_list("upstream_id", flat=True),
        *attempts.values_list("upstream_id", flat=True),
    }


def samples_around(provider: Provider, lost: Lost) -> list[Sample]:
    """The last balance before a lost order and the first after it can have been carried out."""
    rows = BalanceSample.objects.filter(provider=provider)
    before = rows.filter(answered_at__lte=lost.began).order_by("-answered_at").first()
    after = None
    if lost.ended is not None:
        after = rows.filter(asked_at__gte=lost.ended + SCAN_AFTER).order_by("asked_at").first()
    return [
        Sample(row.asked_at, row.answered_at, row.amount)
        for row in (before, after)
        if row is not None
    ]


def payments_between(provider: Provider, start: datetime, end: datetime) -> list[Payment]:
    """What known orders took from the balance between two moments."""
    placed = Attempt.objects.filter(
        order__provider=provider,
        outcome=Outcome.ACCEPTED,
        order__sent_at__lt=end,
        order__sent_at__gte=start - LATEST,
        sending_at__isnull=False,
        finished_at__gt=start,
    ).exclude(order__upstream_id="")
    rows = placed.values_list("sending_at", "finished_at", "order__expected_charge")
    return [Payment(sent, done, charge) for sent, done, charge in rows if sent and done]


def money_moved(provider: Provider, start: datetime, end: datetime) -> list[datetime]:
    """Moments at which the provider gave money back, or parts of an order took some."""
    ended = Order.objects.filter(
        provider=provider,
        status__in=[Status.PARTIAL, Status.CANCELED],
        finished_at__range=(start, end),
    ).exclude(upstream_id="")
    moments = [at for at in ended.values_list("finished_at", flat=True) if at is not None]
    if open_containers(provider):
        moments.append(end)
    return moments
