"""How long timelines, providers' answers, bulk actions, readings and deleted customers' links stay.

Never touched: money, attempts themselves (they prove that an order was sent once), and everything of
an order that is not settled. Orders are walked by their number and the walk is remembered, so a run
looks at what has become old since, and at a bounded part of what lies behind an order that never ends.
"""

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from itertools import islice, takewhile

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from accounts.keeping import CHUNK, MOST_PER_RUN, before, delete_in_parts
from accounts.models import User
from catalog.models import BalanceSample, Provider
from orders.models import Attempt, Event, Order, Request, RetentionMark, ScannedSpan
from orders.run_models import BulkRow, BulkRun
from orders.sights import COMPETES_FOR, began, open_attempts
from orders.states import REQUEST_OPEN, Dispatch
from upstream.order_types import FieldKind, find_type

_NUMBERS = {FieldKind.INTEGER, FieldKind.CHOICE, FieldKind.DATE}


def forget_timelines(now: datetime) -> int:
    """Delete the timelines of orders that ended longer ago than KEEP_TIMELINES_DAYS; how many lines."""
    limit = before(settings.KEEP_TIMELINES_DAYS, now)
    return _walk("timelines", limit, _delete_events) if limit else 0


def forget_answers(now: datetime) -> int:
    """Blank what providers answered about orders that ended longer ago than KEEP_ANSWERS_DAYS."""
    limit = before(settings.KEEP_ANSWERS_DAYS, now)
    return _walk("answers", limit, _blank_answers) if limit else 0


def _delete_events(orders: Collection[int]) -> int:
    return Event.objects.filter(order_id__in=orders).delete()[0]


def _blank_answers(orders: Collection[int]) -> int:
    attempts = Attempt.objects.filter(order_id__in=orders).exclude(answer="")
    requests = Request.objects.filter(order_id__in=orders).exclude(answer="")
    return attempts.update(answer="") + requests.update(answer="")


def _walk(name: str, limit: datetime, forget: Callable[[Collection[int]], int]) -> int:
    """Do it to every order that ended before `limit`, up to a bound; how many rows it changed.

    One mark is at the front of what has been looked at. Another stays before the first order that
    was passed over because it was not settled: between the two a third goes round, so that such an
    order is met again, and one that never ends costs no run more than the bound.
    """
    first, front, again = _marks(name, f"{name} front", f"{name} again")
    front.order_id = passed = max(front.order_id, first.order_id)
    forgotten = _pass_over(first, front, _old_orders(passed, limit), limit, forget)
    if first.order_id < passed:
        again.order_id = max(again.order_id, first.order_id)
        behind = _old_orders(again.order_id, limit, until=passed)
        forgotten += _pass_over(first, again, behind, limit, forget)
        if again.order_id >= passed:
            again.order_id = 0
            again.save(update_fields=["order_id"])
    return forgotten


def _marks(*names: str) -> list[RetentionMark]:
    found = RetentionMark.objects.in_bulk(names)
    missing = [RetentionMark(name=name) for name in names if name not in found]
    if missing:
        RetentionMark.objects.bulk_create(missing, ignore_conflicts=True)
    made = {mark.name: mark for mark in missing}
    return [found.get(name) or made[name] for name in names]


def _pass_over(
    first: RetentionMark,
    mark: RetentionMark,
    chunks: Iterator[list[tuple[int, datetime]]],
    limit: datetime,
    forget: Callable[[Collection[int]], int],
) -> int:
    """Move the mark over a bounded number of chunks; `first` goes with it up to what has to wait."""
    forgotten = 0
    for chunk in islice(chunks, max(MOST_PER_RUN // CHUNK, 1)):
        settled = _settled([pk for pk, _ in chunk], limit)
        waiting = [pk for pk, _ in chunk if pk not in settled]
        with transaction.atomic():
            forgotten += forget(settled)
            if first.order_id == mark.order_id:
                first.order_id = waiting[0] - 1 if waiting else chunk[-1][0]
                first.save(update_fields=["order_id"])
            mark.order_id = chunk[-1][0]
            mark.save(update_fields=["order_id"])
    return forgotten


def _old_orders(
    after: int, limit: datetime, *, until: int | None = None
) -> Iterator[list[tuple[int, datetime]]]:
    """Orders placed before `limit`, by number; numbers grow with time, so the first young one ends it."""
    orders = Order.objects.order_by("pk")
    if until is not None:
        orders = orders.filter(pk__lte=until)
    while True:
        read = list(orders.filter(pk__gt=after).values_list("pk", "created_at")[:CHUNK])
        old = list(takewhile(lambda row: row[1] < limit, read))
        if old:
            yield old
        if len(old) < CHUNK:
            return
        after = read[-1][0]


def _settled(orders: Collection[int], limit: datetime) -> set[int]:
    """Those that ended before `limit` and about which nothing is open."""
    ended = Order.objects.filter(pk__in=orders, finished_at__lt=limit)
    ended = ended.exclude(dispatch=Dispatch.UNKNOWN)
    asked = Request.objects.filter(order_id__in=orders, state__in=REQUEST_OPEN)
    return set(ended.values_list("pk", flat=True)) - set(asked.values_list("order_id", flat=True))


def forget_readings(now: datetime) -> int:
    """Delete balance readings and scanned ranges older than KEEP_READINGS_DAYS; how many.

    What may still explain a lost order stays, and so does each provider's last reading.
    """
    limit = before(settings.KEEP_READINGS_DAYS, now)
    if limit is None:
        return 0
    providers = Provider.objects.defer("api_key")
    return sum(_forget_readings_of(provider, limit) for provider in providers)


def _forget_readings_of(provider: Provider, limit: datetime) -> int:
    lost = [began(attempt) for attempt in open_attempts(provider)]
    oldest = min([limit, *(moment - COMPETES_FOR for moment in lost)])
    readings = BalanceSample.objects.filter(provider=provider)
    newest = readings.aggregate(newest=Max("pk"))["newest"] or 0
    old = readings.filter(asked_at__lt=oldest, pk__lt=newest)
    spans = ScannedSpan.objects.filter(provider=provider, at__lt=oldest)
    return delete_in_parts(old) + delete_in_parts(spans)


def forget_bulk_runs(now: datetime) -> int:
    """Delete bulk actions that ended longer ago than KEEP_BULK_RUNS_DAYS; how many orders' results.

    A run goes after its last row: one that is cut short is met again.
    """
    limit = before(settings.KEEP_BULK_RUNS_DAYS, now)
    if limit is None:
        return 0
    ended = BulkRun.objects.filter(finished_at__lt=limit).order_by("pk")
    forgotten = 0
    for number in ended.values_list("pk", flat=True)[:CHUNK]:
        forgotten += delete_in_parts(BulkRow.objects.filter(run=number), MOST_PER_RUN - forgotten)
        if forgotten >= MOST_PER_RUN:
            break
        BulkRun.objects.filter(pk=number).delete()
    return forgotten


def forget_links(now: datetime) -> int:
    """Blank the links and texts of orders whose customers' accounts were deleted long enough ago.

    Until then the provider may still be asked about them; what remains are numbers and money.
    """
    limit = before(settings.KEEP_DELETED_LINKS_DAYS, now)
    if limit is None:
        return 0
    gone = User.objects.filter(deleted_at__lt=limit, links_deleted_at=None).order_by("pk")
    blanked = 0
    for number in gone.values_list("pk", flat=True)[:CHUNK]:
        if blanked >= MOST_PER_RUN:
            break
        blanked += _forget_links_of(number)
        User.objects.filter(pk=number).update(links_deleted_at=now)
    return blanked


def _forget_links_of(customer_id: int) -> int:
    """All orders of one customer: however many, each thousand is a transaction of its own."""
    last = blanked = 0
    rows = Order.objects.of(customer_id).only("link", "parameters", "order_type").order_by("pk")
    while chunk := list(rows.filter(pk__gt=last)[:CHUNK]):
        for order in chunk:
            order.link, order.parameters = "", numbers_of(order)
        with transaction.atomic():
            Order.objects.bulk_update(chunk, ["link", "parameters"], batch_size=200)
            _blank_answers([order.pk for order in chunk])
        last, blanked = chunk[-1].pk, blanked + len(chunk)
    return blanked


def numbers_of(order: Order) -> dict[str, str]:
    """The parameters that are numbers, dates or choices: refunds and part orders follow from them."""
    declared = find_type(order.order_type)
    kinds = {field.name: field.kind for field in declared.fields} if declared else {}
    return {
        name: value
        for name, value in order.parameters.items()
        if (kinds[name] in _NUMBERS if name in kinds else name != "link" and value.isdecimal())
    }
