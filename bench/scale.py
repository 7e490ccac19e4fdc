"""Scale: pages and the picking of due orders at 10,000 orders and at a million, at 10,000,000 in full.

Beside the time of each page, the blocks that PostgreSQL reads for it: they are the same on a busy
machine.
"""

import json
import statistics
from collections.abc import Callable

from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from bench import orders_world
from bench.harness import Figure, report, say, sized, timed
from catalog.models import Provider, Service
from orders.following import _claim
from orders.models import Order
from orders.poll_models import Poll

_SMALL = 10_000
# An index of a million rows is a level deeper at each look, and counts that stop at 1,001 don't get
# that far among ten thousand; a page that reads what it doesn't show reads a hundred times as much.
_MORE_BLOCKS = 4


def main() -> None:
    """Report every figure of scale."""
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.REQUIRE_STAFF_2FA = False
    providers = [orders_world.provider() for _ in range(3)]
    services = [orders_world.service(providers[at % 3]) for at in range(60)]
    customers = orders_world.customers(20)
    pages = _Pages(customers, services)
    large = sized(1_000_000, 30_000)
    orders_world.fill_orders(_SMALL, of=services, by=customers, open_percent=6)
    few = {name: _measured(page) for name, page in pages.all().items()}
    # Enough that each round finds a hundred that are due.
    among = sized(100_000, 30_000)
    _grow(among - _SMALL, services, customers)
    picked = _claiming(providers)
    _grow(large - among, services, customers)
    for name, page in pages.all().items():
        seconds, blocks = _measured(page)
        named = f"{name}, at {large:,} orders against {_SMALL:,}"
        report(Figure(named, seconds * 1000, few[name][0] * 1000, 2, "ms", large))
        report(Figure(f"{named}: blocks", blocks, few[name][1], _MORE_BLOCKS, "blocks", large))
    total = sized(10_000_000, 60_000)
    _grow(total - large, services, customers)
    _report_picking(_claiming(providers), picked, f"among {total:,} against {among:,}", total)


def _grow(count: int, services: list[Service], customers: list[User]) -> None:
    say(f"{count:,} more orders")
    step = 500_000
    for begun in range(0, count, step):
        orders_world.fill_orders(
            min(step, count - begun), of=services, by=customers, open_percent=6
        )


class _Pages:
    """What is asked for: a customer with a tenth of all orders, and the owner."""

    def __init__(self, customers: list[User], services: list[Service]) -> None:
        self._service = services[0]
        self._customer = customers[0]
        self._client = _signed_in(customers[0])
        self._owner = _signed_in(User.objects.create_superuser("owner@example.com"))

    def all(self) -> dict[str, Callable[[], object]]:
        newest = Order.objects.of(self._customer.pk).latest("pk")
        deep = Order.objects.of(self._customer.pk).earliest("pk").pk + 500
        of_customer = {
            "the order list": "",
            "a page deep in it": f"before={deep}",
            "a tab": "status=partial",
            "a search that finds a link": f"q={newest.link[-13:-1]}",
            "a search that finds nothing": "q=nothing-like-it",
            "a search for what all links have": "q=instagram",
        }
        of_staff = {
            "the admin's order list": "",
            "the admin's search for a link": f"q={newest.link[-13:-1]}",
            "the admin's search for an ID": f"q={newest.upstream_id}",
            "the admin's search that finds nothing": "q=nothing-like-it",
        }
        return {
            **{
                name: _get(self._client, f"/orders/?{query}") for name, query in of_customer.items()
            },
            **{
                name: _get(self._owner, f"/admin/orders/order/?{query}")
                for name, query in of_staff.items()
            },
        }


def _signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend=settings.AUTHENTICATION_BACKENDS[0])
    return client


def _get(client: Client, address: str) -> Callable[[], object]:
    def get() -> None:
        answer = client.get(address)
        assert answer.status_code == 200, (address, answer.status_code)

    return get


def _measured(page: Callable[[], object]) -> tuple[float, int]:
    """The median seconds of a page, and the blocks that its statements about orders read."""
    page()
    seconds = statistics.median(timed(page) for _ in range(sized(15, 5)))
    with CaptureQueriesContext(connection) as captured:
        page()
    blocks = 0
    for query in captured.captured_queries:
        if "orders_order" in query["sql"] and query["sql"].startswith("SELECT"):
            blocks += _blocks(query["sql"])
    return seconds, blocks


def _blocks(sql: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}")
        (found,) = cursor.fetchone()
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    assert not _reads_whole_table(plan), sql
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def _reads_whole_table(plan: dict[str, object]) -> bool:
    if plan["Node Type"] == "Seq Scan" and plan["Relation Name"] == "orders_order":
        return True
    parts = plan.get("Plans", [])
    assert isinstance(parts, list)
    return any(_reads_whole_table(part) for part in parts)


def _report_picking(
    many: tuple[float, int], few: tuple[float, int], among: str, total: int
) -> None:
    """Claiming 100 due orders, of 6 in 100 that are open: in all, against the smaller table."""
    name = f"picking due orders {among}"
    report(Figure(name, many[0] * 1000, few[0] * 1000, 3, "ms for 100", total))
    report(Figure(f"{name}: blocks", many[1], few[1], 3, "blocks", total))


def _claiming(providers: list[Provider]) -> tuple[float, int]:
    Poll.objects.update(due_at=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE orders_order, orders_poll")
    provider = providers[0]

    def claim() -> None:
        assert len(_claim(provider, 1, timezone.now())) == 1

    claim()
    seconds = statistics.median(timed(claim) for _ in range(sized(15, 3)))
    with CaptureQueriesContext(connection) as captured:
        claim()
    statements = [query["sql"] for query in captured.captured_queries]
    return seconds, sum(_blocks(sql) for sql in statements if sql.startswith("SELECT"))
