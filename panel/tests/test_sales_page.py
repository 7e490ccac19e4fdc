"""The sales pages: each figure leads to what it is made of and agrees with it to the cent."""

import csv
import re
from datetime import timedelta
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from catalog.models import Category, Provider, Service
from orders import sales
from orders.models import Order
from orders.states import Dispatch, Status
from panel.attention import KINDS
from panel.reports import cells
from panel.tests.test_desk_pages import accepted, bought, text
from wallet.services import top_up

D = Decimal
FACTS = ("dispatch", "status", "cost", "exchange_rate", "upstream_charge", "quantity", "remains")


@pytest.fixture
def owner(client: Client, staff: User) -> Client:
    client.force_login(staff)
    return client


@pytest.fixture
def shop(customer: User, service: Service) -> dict[str, Service]:
    """Two services of two providers and categories, sold to two people now and a week ago."""
    second = User.objects.create_user("second@example.com", "a-Long-passw0rd")
    for user in (customer, second):
        top_up(user=user, amount=D(100), reference=f"more-{user.pk}")
    other = Service.objects.create(
        provider=Provider.objects.create(name="Second", url="http://127.0.0.1:9/b", api_key="k"),
        category=Category.objects.create(name="Likes"), upstream_id="7", name="=Likes",
        type="Default", order_type="default", cost_rate=D("0.777"), price_rate=D("1.2345"),
        min_quantity=1, max_quantity=10_000,
    )  # fmt: skip
    for number, (user, sold, quantity, days, fields) in enumerate(
        [
            (customer, service, 1000, 0, {}),
            (customer, service, 500, 1, {"refunded": D("0.3333"), "status": Status.PARTIAL, "remains": 100}),
            (second, other, 777, 2, {"status": Status.COMPLETED, "upstream_charge": D("0.7")}),
            (second, service, 3000, 8, {}),
            (customer, other, 100, 9, {}),
            (second, other, 10, 200, {}),
        ]
    ):  # fmt: skip
        placed = timezone.now() - timedelta(days=days)
        finished = {"finished_at": timezone.now()} if fields else {}
        facts = {**accepted(number), "created_at": placed, **fields, **finished}
        bought(user, sold, quantity, **facts)
    whole = Order.objects.order_by("pk")[0]
    Order.objects.create(
        customer=customer, service=service, provider=service.provider, order_type="default",
        link="https://example.com/run", quantity=10, price_rate=2, charge=0, cost=0,
        exchange_rate=1, expected_charge=0, dispatch=Dispatch.CHILD, parent=whole,
    )  # fmt: skip
    sales.heal(timezone.now())
    sales.renew((timezone.now() - timedelta(days=200)).date())
    return {"service": service, "other": other}


def href(cell: Any) -> str:
    found = re.search(r'href="([^"]+)"', str(cell))
    assert found, cell
    return unescape(found[1])


def word(cell: Any) -> str:
    return unescape(re.sub("<[^>]*>", "", str(cell)))


def behind(owner: Client, address: str) -> list[str]:
    """The figures that the listed rows come to; the rows of a category's page, or orders."""
    if address.startswith("?"):
        page = owner.get(f"/admin/sales/{address}")
        return [str(cell) for cell in page.context["total"]]
    listed = owner.get(address).context["cl"].result_list
    figures = sales.Figures()
    for order in Order.objects.filter(pk__in=[each.pk for each in listed]):
        facts = {name: getattr(order, name) for name in FACTS}
        cost = sales.true_cost(**facts)
        figures.add(sales.Figures(1, order.charge, order.refunded, cost))
    return cells(figures)


@pytest.mark.parametrize("part", ["", "service", "category", "provider", "customer"])
def test_each_figure_agrees_with_the_rows_that_its_link_leads_to(
    owner: Client, shop: dict[str, Service], part: str
) -> None:
    for days, moments in ((7, 3), (30, 5), (90, 5)):
        page = owner.get(f"/admin/sales/?days={days}&by={part}")
        rows = page.context["table"]["rows"]
        assert len(rows) == (2 if part else moments)
        for name, *figures in rows:
            assert behind(owner, href(name)) == figures, word(name)

        total = [value for _name, value, _link in page.context["pairs"]]
        links = {link for _name, _value, link in page.context["pairs"]}
        assert behind(owner, *links) == total
        for at in (0, 1, 2, 3, 4):
            assert sum(D(row[at + 1]) for row in rows) == D(total[at])


def test_a_categorys_page_holds_its_services_and_only_those(
    owner: Client, shop: dict[str, Service]
) -> None:
    other = shop["other"]
    page = owner.get(f"/admin/sales/?days=30&by=service&category={other.category_id}")

    assert [word(row[0]) for row in page.context["table"]["rows"]] == [str(other)]
    assert "Only the services of Likes." in text(page)
    rows = list(csv.reader(text(owner.get(f"/admin/sales/{page.context['file']}")).splitlines()))
    assert [row[1] for row in rows[1:]] == [str(other)]
    for wrong in ("category=999", "category=x", f"category={'9' * 30}"):
        assert owner.get(f"/admin/sales/?by=service&{wrong}").context["asked"].category is None


def test_new_customers_lead_to_the_list_of_exactly_those(owner: Client, customer: User) -> None:
    old = User.objects.create_user("old@example.com", "a-Long-passw0rd")
    User.objects.filter(pk=old.pk).update(date_joined=timezone.now() - timedelta(days=8))

    for days, count in ((7, 1), (30, 2)):
        page = owner.get(f"/admin/sales/?days={days}")
        assert page.context["new_customers"] == count
        listed = owner.get(page.context["new_customers_link"]).context["cl"].result_list
        assert len(listed) == count
    first = owner.get("/admin/").context["sales"]["rows"]
    assert [word(row[-1]) for row in first] == ["1", "2", "2"]


def test_the_first_page_has_the_same_sums_as_the_report(
    owner: Client, shop: dict[str, Service]
) -> None:
    rows = owner.get("/admin/").context["sales"]["rows"]

    for days, (name, *figures, _customers) in zip((7, 30, 90), rows, strict=True):
        page = owner.get(href(name))
        assert page.context["asked"].days == days
        assert page.context["total"] == figures


def test_who_rose_and_who_fell_is_told_to_the_cent_and_leads_to_both_periods(
    owner: Client, customer: User, shop: dict[str, Service]
) -> None:
    page = owner.get("/admin/sales/?days=7&by=service")
    rose, fell = page.context["movers"]

    assert (str(rose["title"]), str(fell["title"])) == ("Rose most", "Fell most")
    assert [[word(cell) for cell in row] for row in rose["table"]["rows"]] == [
        [str(shop["other"]), "0.95921", "0.12345", "0.83576"]
    ]
    assert [[word(cell) for cell in row] for row in fell["table"]["rows"]] == [
        [str(shop["service"]), "2.6667", "6.00", "-3.3333"]
    ]
    for row in (*rose["table"]["rows"], *fell["table"]["rows"]):
        for cell, figure in ((row[0], row[1]), (row[2], word(row[2]))):
            _count, revenue, refunds, *_rest = behind(owner, href(cell))
            assert D(revenue) - D(refunds) == D(str(figure))

    file = list(
        csv.reader(text(owner.get(f"/admin/sales/{page.context['movers_file']}")).splitlines())
    )
    assert file[0] == ["service", "name", "revenue_less_refunds", "before", "change"]
    assert [row[2:] for row in file[1:]] == [
        ["0.95921", "0.12345", "0.83576"], ["2.6667", "6", "-3.3333"],
    ]  # fmt: skip
    for part in ("category", "provider", "customer"):
        movers = owner.get(f"/admin/sales/?days=7&by={part}").context["movers"]
        assert sum(len(each["table"]["rows"]) for each in movers) == 2
    assert owner.get("/admin/sales/?days=90&by=service").context["movers"]
    assert owner.get("/admin/sales/?days=7").context["movers"] == []


def test_the_pages_ask_the_same_however_much_was_sold(
    owner: Client, shop: dict[str, Service]
) -> None:
    owner.get("/admin/sales/")
    counts = {}
    for part in ("", "service", "category", "provider", "customer"):
        with CaptureQueriesContext(connection) as queries:
            owner.get(f"/admin/sales/?days=90&by={part}")
        counts[part] = len(queries)
        assert not [
            one for one in queries if "orders_order" in one["sql"] and "charge" in one["sql"]
        ]

    assert max(counts.values()) <= 12 + len(KINDS), counts
