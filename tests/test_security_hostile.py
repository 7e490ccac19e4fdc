"""What a provider writes is hostile text: it is shown, and it does nothing."""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from django.conf import LazySettings
from django.test import Client

from accounts.models import User
from catalog.models import Category, Provider, Service
from catalog.sync import sync_provider
from catalog.tests.panel import listening, row
from orders.models import Order
from orders.services import place_order
from tests.site_map import text_of
from tests.test_security_access import paths_for

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"
BREAKOUT = "\"'></title></script><svg/onload=alert(3)>{{7*7}}{% now 'Y' %}"
REVERSED = "cheap \u202egnp.exe\u2066 followers\x00\x1b[31m"
LONG = "W" * 10_000
NAMES = [SCRIPT, BREAKOUT, REVERSED, LONG, "javascript:alert(4)", "=cmd|' /C calc'!A0"]
# What would be markup or a script if it stood in a page like this.
_ALIVE = re.compile(
    r"<script>alert|<img src=x|<svg/onload|(?:href|src|action|formaction)=[\"']?\s*javascript:"
    r"|[\u202a-\u202e\u2066-\u2069\x00\x1b]",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Shop:
    """The hostile catalogue, an order out of it, and its rows for the walk."""

    rows: dict[str, object]


@pytest.fixture
def shop(customer: User, settings: LazySettings) -> Iterator[Shop]:
    settings.ALLOW_PRIVATE_UPSTREAM = True
    with listening() as panel:
        panel.lists(
            row(number, name=name, category=name, description=name, type="Default")
            for number, name in enumerate(NAMES, start=1)
        )
        provider = Provider.objects.create(name=SCRIPT, url=panel.url, api_key="key")
        sync_provider(provider)
        service = Service.objects.get(upstream_id="1")
        order = place_order(
            customer=customer,
            service=service,
            values={"link": "https://example.com/a", "quantity": "100"},
            client_token=uuid.uuid4(),
        )
        Order.objects.filter(pk=order.pk).update(
            link='javascript:alert("5")', parameters={"link": SCRIPT, "comments": BREAKOUT},
            raw_status=SCRIPT[:60],
        )  # fmt: skip
        yield Shop({
            "orders_order": order.pk,
            "catalog_provider": provider.pk,
            "catalog_service": service.pk,
            "catalog_category": service.category_id,
        })  # fmt: skip


def pages(shop: Shop) -> list[str]:
    ids = Service.objects.values_list("pk", flat=True)
    chosen = [f"/orders/new/?service={pk}" for pk in ids]
    searched = [f"/orders/new/results/?q={word}" for word in ("script", "cheap", "W", "cmd")]
    return [*paths_for(shop.rows), *chosen, *searched, "/services/?q=%3Cscript%3E"]


@pytest.mark.parametrize("who", ["customer", "staff"])
def test_no_page_lets_it_live(
    client: Client, shop: Shop, customer: User, staff: User, who: str
) -> None:
    client.force_login(staff if who == "staff" else customer)
    shown = 0

    for page in pages(shop):
        answer = client.get(page)
        content = text_of(answer)
        if "html" in answer["Content-Type"]:
            assert _ALIVE.findall(content) == [], page
            shown += "&lt;script&gt;alert(1)" in content

    assert shown >= 3


def test_what_is_stored_is_short_enough_and_has_no_invisible_marks(shop: Shop) -> None:
    texts = [
        *Service.objects.values_list("name", flat=True),
        *Service.objects.values_list("description", flat=True),
        *Category.objects.values_list("name", flat=True),
    ]

    assert Service.objects.count() == len(NAMES)
    assert max(len(name) for name in Service.objects.values_list("name", flat=True)) <= 500
    assert [
        text for text in texts if re.search(r"[\u202a-\u202e\u2066-\u2069\x00\x1b]", text)
    ] == []


def test_a_formula_in_the_export_is_text(client: Client, shop: Shop, customer: User) -> None:
    formula = Service.objects.get(upstream_id="6")
    Order.objects.update(service=formula, link="=1+1")
    client.force_login(customer)

    lines = b"".join(client.get("/orders/export/")).decode()

    assert "'=1+1" in lines
    assert "'=cmd" in lines
