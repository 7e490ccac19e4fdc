"""Revenue, refunds, cost and profit by day, kept ready: they equal the ledger and heal themselves.

A day's rows are always made anew from its orders, whole; nothing is added to what was there, so a
run that is repeated, overlaps another or was missed changes no figure.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Q

from catalog.models import Service
from orders.models import DailySales, Order, SalesMark
from orders.states import Dispatch, Status
from wallet.models import Entry
from wallet.money import ZERO, round_money

Part = DailySales.Part
HEAL_DAYS = 90
# Entries are numbered before they are committed: a few behind the mark may have come since.
_OVERLAP = 2000
_CHUNK = 5000


@dataclass(slots=True)
class Figures:
    """Sums over some orders."""

    orders: int = 0
    revenue: Decimal = ZERO
    refunds: Decimal = ZERO
    cost: Decimal = ZERO

    def add(self, other: "Figures") -> None:
        self.orders += other.orders
        self.revenue += other.revenue
        self.refunds += other.refunds
        self.cost += other.cost

    @property
    def net(self) -> Decimal:
        return self.revenue - self.refunds

    @property
    def profit(self) -> Decimal:
        return self.net - self.cost

    @property
    def margin(self) -> Decimal | None:
        """In percent of what customers paid in the end."""
        return self.profit / self.net * 100 if self.net else None


def true_cost(
    *,
    dispatch: str,
    status: str,
    cost: Decimal,
    exchange_rate: Decimal,
    upstream_charge: Decimal | None,
    quantity: int,
    remains: int | None,
) -> Decimal:
    """What an order really cost: what the provider says it charged, else the booked cost.

    Nothing for what was not placed or was cancelled, and the delivered part of a partial order.
    """
    if status == Status.CANCELED or dispatch == Dispatch.CHILD:
        return ZERO
    if upstream_charge is not None and status in {Status.COMPLETED, Status.PARTIAL}:
        return round_money(upstream_charge * exchange_rate, up=True)
    if status == Status.PARTIAL and remains is not None and quantity:
        delivered = max(0, quantity - remains)
        return round_money(cost * delivered / quantity, up=True)
    return cost


_SUMS = ("orders", "revenue", "refunds", "cost")
_COLUMNS = (
    "service_id", "service__category_id", "provider_id", "customer_id", "charge", "refunded",
    "dispatch", "status", "cost", "exchange_rate", "upstream_charge", "quantity", "remains",
)  # fmt: skip


def reckon(day: date) -> dict[tuple[str, int], Figures]:
    """The figures of the orders placed on a UTC day, by part and key."""
    begin = datetime.combine(day, time(), UTC)
    placed = Order.objects.filter(
        created_at__gte=begin, created_at__lt=begin + timedelta(days=1), parent__isnull=True
    )
    found: dict[tuple[str, int], Figures] = {}
    rows = placed.order_by().values_list(*_COLUMNS).iterator(chunk_size=5000)
    for service, category, provider, customer, charge, refunded, *facts in rows:
        names = (
            "dispatch",
            "status",
            "cost",
            "exchange_rate",
            "upstream_charge",
            "quantity",
            "remains",
        )
        one = Figures(1, charge, refunded, true_cost(**dict(zip(names, facts, strict=True))))
        for place in (
            (Part.SITE.value, 0), (Part.SERVICE.value, service), (Part.CATEGORY.value, category),
            (Part.PROVIDER.value, provider), (Part.CUSTOMER.value, customer),
        ):  # fmt: skip
            found.setdefault(place, Figures()).add(one)
    return found


@transaction.atomic
def renew(day: date) -> bool:
    """Make a day's rows anew; whether anything of them had to change."""
    SalesMark.objects.get_or_create(pk=1)
    # One at a time: two that make the same day would both insert.
    SalesMark.objects.select_for_update().get(pk=1)
    wanted = reckon(day)
    stored = {(row.part, row.key): row for row in DailySales.objects.filter(day=day)}
    stale = [row.pk for place, row in stored.items() if place not in wanted]
    changed = [
        DailySales(
            day=day, part=part, key=key, orders=new.orders, revenue=new.revenue,
            refunds=new.refunds, cost=new.cost,
        )
        for (part, key), new in wanted.items()
        if not _equals(stored.get((part, key)), new)
    ]  # fmt: skip
    DailySales.objects.filter(pk__in=stale).delete()
    DailySales.objects.bulk_create(
        changed,
        update_conflicts=True,
        unique_fields=["part", "day", "key"],
        update_fields=["orders", "revenue", "refunds", "cost"],
        batch_size=1000,
    )
    return bool(stale or changed)


def _equals(row: DailySales | None, new: Figures) -> bool:
    return row is not None and (row.orders, row.revenue, row.refunds, row.cost) == (
        new.orders, new.revenue, new.refunds, new.cost,
    )  # fmt: skip


def roll_up() -> int:
    """Bring in what the ledger has gained since the last time; how many days were made anew."""
    mark = SalesMark.objects.get_or_create(pk=1)[0]
    newest = Entry.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    days: set[date] = set()
    for begin in range(max(0, mark.entry_id - _OVERLAP), newest, _CHUNK):
        days |= _days_of(begin, begin + _CHUNK)
    for day in sorted(days):
        renew(day)
    SalesMark.objects.filter(pk=1).update(entry_id=newest)
    return len(days)


def _days_of(above: int, up_to: int) -> set[date]:
    """The days of the orders that these ledger entries are about."""
    entries = Entry.objects.filter(pk__gt=above, pk__lte=up_to, order_number__isnull=False)
    numbers = {number for number in entries.values_list("order_number", flat=True) if number}
    moments = Order.objects.filter(pk__in=numbers).values_list("created_at", flat=True)
    return {moment.astimezone(UTC).date() for moment in moments}


def heal(now: datetime) -> int:
    """Make the last 90 days anew, whatever was said of them; how many had been wrong.

    A cost that the provider told late moves no money, so only this finds it.
    """
    today = now.astimezone(UTC).date()
    return sum(renew(today - timedelta(days=back)) for back in range(HEAL_DAYS + 1))


@dataclass(frozen=True, slots=True)
class Report:
    """Sums over some days, and each day's or each key's part of them."""

    total: Figures
    rows: list[tuple[date | int, Figures]] = field(default_factory=list)


def by_day(first: date, last: date) -> Report:
    """The site's figures of each day, both ends included."""
    rows = DailySales.objects.filter(_within(first, last), part=Part.SITE).order_by("day")
    return _report(rows.values_list("day", *_SUMS))


def by_part(
    part: DailySales.Part, first: date, last: date, *, category: int | None = None
) -> Report:
    """The figures of each service, category, provider or customer, the greatest revenue first.

    Of services, those of one category if it is given.
    """
    rows = DailySales.objects.filter(_within(first, last), part=part)
    if category is not None:
        rows = rows.filter(key__in=Service.objects.filter(category=category).values("pk"))
    found = _report(rows.values_list("key", *_SUMS))
    return Report(found.total, sorted(found.rows, key=lambda row: -row[1].net))


@dataclass(frozen=True, slots=True)
class Move:
    """What a service, category, provider or customer brought in some days, and in as many before."""

    key: int
    now: Figures
    before: Figures

    @property
    def change(self) -> Decimal:
        """By how much revenue less refunds rose."""
        return self.now.net - self.before.net


def moves(part: DailySales.Part, report: Report, first: date, last: date) -> list[Move]:
    """Each key's revenue in these days (which `report` has) against as many days before.

    The greatest rise first; what did not move is left out.
    """
    now = dict(report.rows)
    before = dict(by_part(part, *days_before(first, last)).rows)
    found = [
        Move(key, now.get(key, Figures()), before.get(key, Figures()))
        for key in sorted(now.keys() | before.keys())
        if isinstance(key, int)
    ]
    return sorted((move for move in found if move.change), key=lambda move: -move.change)


def days_before(first: date, last: date) -> tuple[date, date]:
    """As many days, ending the day before `first`."""
    return first - (last - first) - timedelta(days=1), first - timedelta(days=1)


def _within(first: date, last: date) -> Q:
    return Q(day__gte=first, day__lte=last)


def _report(rows: Iterable[tuple[date | int, int, Decimal, Decimal, Decimal]]) -> Report:
    """The rows' sums for each key and for all; in Decimal, as SQLite would add in floats."""
    found: dict[date | int, Figures] = {}
    for key, orders, revenue, refunds, cost in rows:
        found.setdefault(key, Figures()).add(Figures(orders, revenue, refunds, cost))
    total = Figures()
    for figures in found.values():
        total.add(figures)
    return Report(total, list(found.items()))
