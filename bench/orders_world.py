"""Customers with money, services on sale, and as many orders as a benchmark asks for."""

import uuid
from datetime import timedelta
from decimal import Decimal

from django.db import connection
from django.utils import timezone

from accounts.models import User
from catalog.models import Category, Provider, Service
from orders.models import Order
from wallet.services import top_up

PASSWORD = "a-password-of-the-benchmark"  # noqa: S105 - opens nothing else
# How a hundred orders of a running panel are spread: the rest is completed.
_STATUS = """
    CASE WHEN n % 100 < {open} THEN
        (ARRAY['pending', 'processing', 'in_progress'])[1 + (n + {first}) % 3]
    WHEN n % 100 < {open} + 2 THEN 'partial'
    WHEN n % 100 < {open} + 8 THEN 'canceled'
    ELSE 'completed' END
"""


def customers(count: int, *, balance: int = 100_000) -> list[User]:
    """Customers who can pay, made one by one through the wallet."""
    made = []
    for number in range(count):
        user = User(email=f"customer-{uuid.uuid4().hex[:8]}-{number}@example.com")
        user.set_unusable_password()
        user.save()
        top_up(user=user, amount=Decimal(balance), note="benchmark")
        made.append(user)
    return made


def provider(name: str = "", url: str = "http://127.0.0.1:9/api/v2") -> Provider:
    return Provider.objects.create(
        name=name or f"Provider {uuid.uuid4().hex[:6]}", url=url, api_key="key-of-the-benchmark"
    )


def service(of: Provider) -> Service:
    """One that sells from 10 units on, at twice its cost."""
    return Service.objects.create(
        provider=of,
        category=Category.objects.get_or_create(name="Followers")[0],
        upstream_id=uuid.uuid4().hex[:12],
        name="Followers, fast",
        type="Default",
        order_type="default",
        cost_rate=1,
        price_rate=2,
        min_quantity=10,
        max_quantity=10_000,
        refill=True,
        cancel=True,
    )


def fill_orders(
    count: int,
    *,
    of: list[Service],
    by: list[User],
    days: int = 90,
    open_percent: int = 2,
    is_due: bool = False,
    analyze: str = "VACUUM ANALYZE",
) -> None:
    """So many orders by one INSERT of PostgreSQL, with every constraint and index as it is.

    The first customer has every tenth order, the others share the rest. `is_due` has the open ones
    asked about now. They have neither entries nor timelines: what needs those makes its own.
    Inside a transaction `analyze` has to be ANALYZE alone.
    """
    first = (Order.objects.order_by("-pk").values_list("pk", flat=True).first() or 0) + 1
    begin = timezone.now() - timedelta(days=days)
    sql = f"""
        INSERT INTO orders_order (
            customer_id, service_id, provider_id, source, client_token, order_type, link,
            parameters, quantity, price_rate, may_lose, charge, refunded, cost, exchange_rate,
            expected_charge, dispatch, attempt_no, waiting_for, upstream_id, status, raw_status,
            attention, created_at, sent_at, finished_at
        )
        SELECT customer, service, provider, 'web', gen_random_uuid(), 'default', link,
            jsonb_build_object('link', link, 'quantity', '1000'), 1000, 2, false, 2,
            CASE status WHEN 'canceled' THEN 2 WHEN 'partial' THEN 1 ELSE 0 END, 1, 1, 1,
            'accepted', 1, '', (n + %(first)s)::text, status, status,
            '', at, at, CASE WHEN NOT is_open THEN at + interval '1 hour' END
        FROM (
            SELECT n, status, status IN ('pending', 'processing', 'in_progress') AS is_open,
                CASE WHEN n %% 10 = 0 OR %(customers)s = 1 THEN (%(by)s::bigint[])[1]
                ELSE (%(by)s::bigint[])[2 + n %% greatest(%(customers)s - 1, 1)] END AS customer,
                (%(services)s::bigint[])[1 + n %% %(kinds)s] AS service,
                (%(providers)s::bigint[])[1 + n %% %(kinds)s] AS provider,
                'https://www.instagram.com/p/' || substr(md5((n + %(first)s)::text), 1, 11) || '/'
                    AS link,
                %(begin)s::timestamptz + n * (interval '1 day' * %(days)s / %(count)s) AS at
            FROM (
                SELECT n, {_STATUS.format(open=open_percent, first=first).replace("%", "%%")} AS status
                FROM generate_series(0, %(count)s - 1) AS n
            ) AS numbered
        ) AS fresh
    """
    with connection.cursor() as cursor:
        cursor.execute(
            sql,
            {
                "first": first,
                "count": count,
                "days": days,
                "begin": begin,
                "customers": len(by),
                "by": [user.pk for user in by],
                "kinds": len(of),
                "services": [each.pk for each in of],
                "providers": [each.provider_id for each in of],
            },
        )
        cursor.execute(
            f"""
            INSERT INTO orders_poll (order_id, provider_id, due_at)
            SELECT id, provider_id, created_at + interval '{"0 seconds" if is_due else "1 year"}'
            FROM orders_order WHERE id >= %s AND finished_at IS NULL
            """,
            [first],
        )
        cursor.execute(f"{analyze} orders_order, orders_poll")
