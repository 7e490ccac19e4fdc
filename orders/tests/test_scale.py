"""What must not grow with the number of orders: the plans of PostgreSQL, and what is counted."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from bench import orders_world
from catalog.models import Service
from orders import following, tallies
from orders.models import Order
from orders.pages import Filter
from orders.poll_models import Poll
from orders.states import Status
from orders.tests.worlds import order_of


def plans(captured: CaptureQueriesContext) -> list[str]:
    """How PostgreSQL carries out each statement that reads orders."""
    found = []
    with connection.cursor() as cursor:
        for query in captured.captured_queries:
            if query["sql"].startswith(("SELECT", "UPDATE")) and "orders_order" in query["sql"]:
                cursor.execute(f"EXPLAIN {query['sql']}")
                found.append("\n".join(line for (line,) in cursor.fetchall()))
    return found


@pytest.fixture
def crowd(db: None, customer: User, service: Service) -> list[User]:
    """Customers with 8,000 orders, of which the first has 800; PostgreSQL's own plans for them."""
    everyone = [customer, *orders_world.customers(9)]
    others = [orders_world.service(service.provider) for _ in range(20)]
    orders_world.fill_orders(8_000, of=[service, *others], by=everyone, analyze="ANALYZE")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # As autovacuum would: links that wait to be sorted in, those of other tests too, make
            # the index seem dear.
            cursor.execute("SELECT gin_clean_pending_list(to_regclass('order_by_part_of_link'))")
    return everyone


@pytest.mark.postgres
def test_no_list_reads_or_counts_the_whole_table(
    client: Client, crowd: list[User], service: Service
) -> None:
    link = Order.objects.of(crowd[0].pk).latest("pk").link
    client.force_login(crowd[0])
    addresses = [
        "/orders/", "/orders/?status=pending", "/orders/?status=partial&q=nothing-like-it",
        f"/orders/?q={link}", "/orders/?q=nothing-like-it", f"/orders/?q={service.pk}",
        "/orders/?q=instagram", f"/orders/?before={Order.objects.latest('pk').pk - 4000}",
    ]  # fmt: skip
    for address in addresses:
        with CaptureQueriesContext(connection) as captured:
            answer = client.get(address)
        assert answer.status_code == 200
        for plan in plans(captured):
            assert "Seq Scan on orders_order" not in plan, f"{address}\n{plan}"
        counting = [q["sql"] for q in captured.captured_queries if "count(" in q["sql"].lower()]
        assert all("LIMIT 1001" in sql for sql in counting), counting
    assert [row.link for row in client.get(f"/orders/?q={link}").context["page"].rows] == [link]


@pytest.mark.postgres
def test_the_admins_list_reads_and_counts_no_whole_table(client: Client, crowd: list[User]) -> None:
    staff = User.objects.create_superuser("owner@example.com")
    client.force_login(staff)
    some = Order.objects.latest("pk")
    for query in ["", f"q={some.pk}", f"q={some.upstream_id}", "q=nothing-like-it", "q=ab",
                  f"q={some.link}", "status__exact=partial", "p=3",
                  f"customer__id__exact={crowd[3].pk}"]:  # fmt: skip
        with CaptureQueriesContext(connection) as captured:
            answer = client.get(f"/admin/orders/order/?{query}")
        assert answer.status_code == 200, query
        for plan in plans(captured):
            assert "Seq Scan on orders_order" not in plan, f"{query}\n{plan}"
            # The menu counts what waits, each kind up to a limit.
            assert plan.count("Aggregate") <= plan.count("Limit"), f"{query}\n{plan}"


@pytest.mark.postgres
def test_orders_that_are_due_are_found_in_their_index_alone(
    crowd: list[User], service: Service
) -> None:
    Poll.objects.update(due_at=timezone.now())
    with CaptureQueriesContext(connection) as captured:
        assert following.poll_due(limit_calls=1).calls == 1

    reading = [plan for plan in plans(captured) if "LockRows" in plan]
    assert len(reading) == 1
    assert "Index Scan using poll_due" in reading[0]
    assert "Index Scan using orders_order_pkey" in reading[0]
    assert "Sort" not in reading[0]
    assert "Seq Scan" not in reading[0]


def test_tabs_count_exactly_up_to_a_thousand_and_no_further(
    client: Client, customer: User, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tallies, "MOST", 3)
    for _ in range(3):
        order_of(customer, service)
    client.force_login(customer)

    assert shown(client) == ("3", "3", "0")
    order_of(customer, service)
    assert shown(client) == ("3+", "3+", "0")


def shown(client: Client) -> tuple[str, str, str]:
    """What the tabs say: all, pending, completed."""
    context: Any = client.get("/orders/").context
    counts = {value: str(count) for value, _label, count in context["tabs"]}
    return str(context["total"]), counts[Status.PENDING], counts[Status.COMPLETED]


def test_a_search_shows_each_order_once_and_pages_through_all(
    client: Client, customer: User, service: Service
) -> None:
    """One that link, service and number all name is one row, and no page leaves one out."""
    Service.objects.update(name="example")
    orders = [order_of(customer, service, quantity=10) for _ in range(60)]
    client.force_login(customer)
    seen: list[int] = []
    address = "/orders/?q=example"
    while address:
        page = client.get(address).context["page"]
        seen += [order.pk for order in page.rows]
        address = f"/orders/{page.older}" if page.older else ""

    assert seen == [order.pk for order in reversed(orders)]
    newer = client.get(f"/orders/?q=example&after={orders[39].pk}").context["page"]
    assert [order.pk for order in newer.rows] == [order.pk for order in reversed(orders[40:])]


def test_only_services_that_the_customer_ordered_are_searched(
    customer: User, staff: User, service: Service
) -> None:
    order_of(customer, service)
    wanted = Filter(status="", text="followers", since=None, until=None)

    assert len(wanted.meant(customer.pk) or []) == 2
    assert len(wanted.meant(staff.pk) or []) == 1
