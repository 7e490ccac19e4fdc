"""What a provider should have taken from our balance on a day, and what it did take.

All amounts are in the provider's currency, days are UTC's. What is not explained is shown as money:
a top-up by hand, another program on the same account, an order placed twice, a wrong charge.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Q, QuerySet

from catalog.models import BalanceSample, Provider
from orders.models import Order, ProviderDay
from orders.states import Dispatch, Status
from upstream.order_types import Units, find_type
from wallet.money import ZERO, round_money

# Late answers and statuses still change the days before yesterday.
HEALED_DAYS = 3


@dataclass(frozen=True)
class Placed:
    """An order at the provider: what it was expected to take, says it took, and delivered."""

    expected: Decimal
    reported: Decimal | None
    status: str
    quantity: int
    remains: int | None

    @property
    def due(self) -> Decimal:
        """What it may cost in the end: nothing when canceled, the delivered part when partial."""
        if self.status == Status.CANCELED:
            return ZERO
        if self.status != Status.PARTIAL or self.remains is None:
            return self.expected
        delivered = max(0, min(self.quantity, self.quantity - self.remains))
        return round_money(self.expected * delivered / self.quantity, up=True)


@dataclass(frozen=True)
class Reckoning:
    """A provider's day. `spent` is what the balance lost; None when it was not read twice."""

    booked: Decimal = ZERO
    given_back: Decimal = ZERO
    overcharged: Decimal = ZERO
    spent: Decimal | None = None

    @property
    def unexplained(self) -> Decimal | None:
        """What the balance lost beyond our orders; negative when it lost less."""
        return None if self.spent is None else self.spent - (self.booked - self.given_back)


def reckon(
    sent: Iterable[Placed], ended: Iterable[Placed], spent: Decimal | None = None
) -> Reckoning:
    """The day on which these orders were sent, and those ended (whenever they were sent)."""
    found = Reckoning(booked=sum((each.expected for each in sent), ZERO), spent=spent)
    for each in ended:
        over = ZERO if each.reported is None else each.reported - each.due
        found = replace(
            found,
            given_back=found.given_back + each.expected - each.due,
            overcharged=found.overcharged + over,
        )
    return found


def reckon_day(provider: Provider, day: date) -> Reckoning:
    """Reckon from the rows; a day that is not over yet as far as it has come."""
    begin = datetime.combine(day, time(), UTC)
    end = begin + timedelta(days=1)
    orders = Order.objects.filter(provider=provider).exclude(upstream_id="")
    return reckon(
        _placed(orders.filter(sent_at__gte=begin, sent_at__lt=end)),
        _placed(orders.filter(finished_at__gte=begin, finished_at__lt=end)),
        _spent(provider, begin, end),
    )


def _placed(orders: QuerySet[Order]) -> Iterable[Placed]:
    columns = ("dispatch", "order_type", "parent__order_type", "expected_charge",
               "upstream_charge", "status", "quantity", "remains")  # fmt: skip
    mine = orders.filter(Q(dispatch=Dispatch.ACCEPTED) | Q(dispatch=Dispatch.CHILD)).order_by()
    for dispatch, order_type, parent_type, expected, reported, *facts in mine.values_list(
        *columns
    ).iterator(chunk_size=5000):
        is_child = dispatch == Dispatch.CHILD
        if _is_charged_by_parts(parent_type if is_child else order_type) != is_child:
            continue  # its money is its parent's, or its parts'
        yield Placed((reported or ZERO) if is_child else expected, reported, *facts)


def _is_charged_by_parts(order_type: str) -> bool:
    """A subscription takes nothing itself; each part order takes its own charge."""
    found = find_type(order_type)
    return found is not None and found.units_by is Units.PER_POST


def _spent(provider: Provider, begin: datetime, end: datetime) -> Decimal | None:
    readings = BalanceSample.objects.filter(provider=provider, answered_at__lt=end)
    amounts = readings.order_by("answered_at").values_list("amount", flat=True)
    last = amounts.last()
    first = amounts.filter(answered_at__lt=begin).last()
    if first is None:
        first = amounts.filter(answered_at__gte=begin).first()
    if first is None or last is None or not readings.filter(answered_at__gte=begin).exists():
        return None
    return first - last


def reckon_all(now: datetime) -> int:
    """Write the last days of every provider; gives how many days have money unexplained."""
    today = now.astimezone(UTC).date()
    rows = [
        _write(provider, today - timedelta(days=back))
        for provider in Provider.objects.defer("api_key")
        for back in range(HEALED_DAYS + 1)
    ]
    return sum(1 for row in rows if row.unexplained)


@transaction.atomic
def _write(provider: Provider, day: date) -> ProviderDay:
    found = reckon_day(provider, day)
    values = {
        "booked": found.booked,
        "given_back": found.given_back,
        "overcharged": found.overcharged,
        "spent": found.spent,
        "unexplained": found.unexplained,
    }
    return ProviderDay.objects.update_or_create(provider=provider, day=day, defaults=values)[0]
