"""Reports: 90 days of sales from what is kept ready, against adding up the orders."""

from collections.abc import Callable
from datetime import UTC, timedelta
from decimal import Decimal
from time import perf_counter

from django.db import connection
from django.utils import timezone

from accounts.models import User
from bench import orders_world
from bench.harness import Figure, in_turns, report, say, sized, timed
from catalog.models import Service
from orders import sales
from orders.models import DailySales, Order
from orders.tests.worlds import order_of
from wallet.models import Entry

_TARGET_MS = 20


def main() -> None:
    """Report every figure of the sales report."""
    providers = [orders_world.provider() for _ in range(3)]
    services = [orders_world.service(providers[at % 3]) for at in range(60)]
    customers = orders_world.customers(20)
    if connection.vendor == "postgresql":
        orders_world.fill_orders(sized(1_000_000, 20_000), of=services, by=customers, days=89)
        _write_entries()
    else:
        _place_some(services[0], customers[0])
    now = timezone.now()
    began = perf_counter()
    sales.heal(now)
    say(f"all 91 days made anew in {perf_counter() - began:.1f} s")
    last = now.astimezone(UTC).date()
    first = last - timedelta(days=89)

    count = Order.objects.count()
    ours, limit, by_service = in_turns(
        lambda: timed(lambda: sales.by_day(first, last)),
        lambda: timed(_added_up),
        lambda: timed(lambda: sales.by_part(DailySales.Part.SERVICE, first, last)),
        rounds=sized(7, 3),
    )
    report(Figure("90 days of sales", ours * 1000, _TARGET_MS, 1, "ms", count))
    report(Figure("90 days of sales by service", by_service * 1000, _TARGET_MS, 1, "ms", count))
    report(Figure("90 days of sales, against adding up", ours * 1000, limit * 1000, 1, "ms", count))
    _agrees(lambda: sales.by_day(first, last).total.net)


def _place_some(service: Service, customer: User) -> None:
    for _ in range(sized(2_000, 200)):
        order_of(customer, service)


def _write_entries() -> None:
    """The charge and the refund of every order, as the ledger would have them."""
    with connection.cursor() as cursor:
        for kind, column, sign in (("charge", "charge", "-"), ("refund", "refunded", "")):
            cursor.execute(
                f"""
                INSERT INTO wallet_entry (account_id, kind, amount, balance_after, reference,
                    order_number, note, created_at)
                SELECT account.id, '{kind}', {sign}placed.{column}, 0, 'order-' || placed.id,
                    placed.id, '', placed.created_at
                FROM orders_order AS placed
                JOIN wallet_account AS account ON account.user_id = placed.customer_id
                WHERE placed.{column} > 0
                """
            )
        cursor.execute("ANALYZE wallet_entry")


def _added_up() -> None:
    """The same figures by one GROUP BY over the orders."""
    day = "date(created_at)" if connection.vendor == "sqlite" else "created_at::date"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {day}, count(*), sum(charge), sum(refunded), sum(cost) "
            "FROM orders_order WHERE parent_id IS NULL GROUP BY 1"
        )
        cursor.fetchall()


def _agrees(net: Callable[[], Decimal]) -> None:
    """To the cent with the ledger; and again by itself after a day was spoilt."""
    entries = Entry.objects.filter(order_number__isnull=False).values_list("amount", flat=True)
    ledger = -sum(entries.iterator(chunk_size=10_000), Decimal(0))
    off = abs(net() - ledger)
    report(Figure("cents that differ from the ledger", float(off * 100), 1, 0, "cents", 1))
    spoilt = DailySales.objects.filter(part=DailySales.Part.SITE).latest("day")
    DailySales.objects.filter(pk=spoilt.pk).update(revenue=spoilt.revenue + 7)
    assert net() != ledger
    sales.renew(spoilt.day)
    off = abs(net() - ledger)
    report(Figure("cents that differ after healing", float(off * 100), 1, 0, "cents", 1))
