"""The admin in a real browser: its dialogs work by mouse, and its pages stand in both themes."""

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db import transaction
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from accounts import audit
from accounts.models import User
from catalog import history
from catalog.changing import plan
from catalog.models import HeldChange, Service
from orders import sales
from orders.models import Attempt, Gate, Order
from orders.money import charge_order
from orders.states import Dispatch, Outcome
from orders.timeline import Code, record
from panel.models import Job
from wallet.models import Account, Approval
from wallet.services import lock_account

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PAGES = {
    "dashboard": "/admin/",
    "services": "/admin/catalog/service/",
    "service": "/admin/catalog/service/{service}/change/",
    "rules": "/admin/catalog/siterules/",
    "held": "/admin/catalog/heldchange/",
    "bulk": "/admin/catalog/bulkchange/{bulk}/change/",
    "import": "/admin/catalog/service/import/",
    "attention": "/admin/attention/",
    "sales": "/admin/sales/?days=7&by=service",
    "approval": "/admin/wallet/approval/{approval}/change/",
    "audit": "/admin/accounts/auditentry/",
    "job": "/admin/panel/job/sweep/change/",
    "preview": "/admin/catalog/provider/{provider}/preview/",
    "categories": "/admin/catalog/category/",
    "provider": "/admin/catalog/provider/{provider}/change/",
    "orders": "/admin/orders/order/",
    "order": "/admin/orders/order/{order}/change/",
    "wallets": "/admin/wallet/account/",
    "wallet": "/admin/wallet/account/{wallet}/change/",
    "confirm": "/admin/wallet/account/{wallet}/top_up/",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, live_server: LiveServer, staff: User) -> Iterator[Page]:
    """A page of the owner, signed in; a blocked script or a broken one fails the test."""
    client = Client()
    client.force_login(staff)
    context = browser.new_context(
        base_url=live_server.url, viewport={"width": 1360, "height": 900}, reduced_motion="reduce"
    )
    context.add_cookies(
        [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]
    )
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda line: complaints.append(line.text) if "Content Security" in line.text else None,
    )
    yield page
    context.close()
    assert complaints == []


@pytest.fixture
def shop(customer: User, service: Service) -> dict[str, int]:
    """An unconfirmed order, a paused provider and some services."""
    for number in range(12):
        Service.objects.create(
            provider=service.provider, category=service.category, upstream_id=f"s{number}",
            name=f"Instagram followers {number}, real and active, 30 days refill", type="Default",
            order_type="default", cost_rate=Decimal("0.93") + number, price_rate=Decimal(2) + number,
            min_quantity=10, max_quantity=100_000, is_held=number == 3, is_present=number != 4,
        )  # fmt: skip
    order = Order.objects.create(
        customer=customer, service=service, provider=service.provider, order_type="default",
        link="https://example.com/some/post", quantity=1000, price_rate=2, charge=Decimal(2), cost=1,
        exchange_rate=1, expected_charge=1, dispatch=Dispatch.UNKNOWN, attempt_no=1,
        attention="unknown", parameters={"link": "https://example.com/some/post"},
    )  # fmt: skip
    with transaction.atomic():
        charge_order(account=lock_account(customer.pk), order=order)
    Attempt.objects.create(
        order=order, number=1, outcome=Outcome.UNKNOWN, reason="the connection was reset"
    )
    record(order, Code.PLACED)
    record(order, Code.UNKNOWN)
    Gate.objects.create(provider=service.provider, pause="funds")
    Job.objects.create(name="sweep", succeeded=True, seconds=0.1, result="0 due")
    wallet = Account.objects.get()
    history.write(
        [(service.pk, {"price_rate": ["1.7", "2"]})],
        history.Cause(),
        timezone.now() - timedelta(days=2),
    )
    Service.objects.filter(pk=service.pk).update(created_at=timezone.now() - timedelta(days=9))
    HeldChange.objects.create(
        service=service, reasons=["cost", "name"],
        fields={"cost_rate": ["1", "3"], "name": [service.name, "Pinterest board saves, gradual"]},
    )  # fmt: skip
    clerk = User.objects.create_user("clerk@example.com", "a-Long-passw0rd", is_staff=True)
    bulk = plan("set markup %: 80", [(service, {"markup_percent": Decimal(80)})], clerk)
    approval = Approval.objects.create(
        kind="refund", account=wallet, amount=1, order_number=order.pk, requested_by=clerk,
        reason="not delivered",
    )  # fmt: skip
    audit.record("1.00 refunded.", actor=clerk, target=order, details={"price": ["1", "2"]})
    sales.heal(timezone.now())
    return {
        "bulk": bulk.pk, "approval": approval.pk,
        "service": service.pk, "provider": service.provider_id, "order": order.pk,
        "wallet": wallet.pk,
    }  # fmt: skip


def test_a_top_up_is_made_in_a_dialog_over_the_page(page: Page, shop: dict[str, int]) -> None:
    page.goto(PAGES["wallet"].format(**shop))
    page.get_by_role("link", name="Top up").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Amount")).to_be_focused()
    dialog.get_by_label("Amount").fill("-5")
    dialog.get_by_role("button", name="Credit the amount").click()
    expect(dialog).to_contain_text("greater than or equal to")

    dialog.get_by_label("Amount").fill("5.25")
    dialog.get_by_role("button", name="Credit the amount").dblclick()

    expect(page.get_by_text("5.25 credited; the balance is 13.25.")).to_be_visible()
    assert Account.objects.get().balance == Decimal("13.25")


def test_an_unconfirmed_order_is_refunded_and_a_price_is_pinned(
    page: Page, shop: dict[str, int]
) -> None:
    page.goto(PAGES["order"].format(**shop))
    page.get_by_role("link", name="Refund unconfirmed order").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("not in their list")
    page.get_by_role("button", name="Refund in full").click()
    expect(page.get_by_text("The order is refunded in full.")).to_be_visible()

    page.goto(PAGES["services"])
    page.get_by_label(re.compile("Pinned price: .* Followers, fast")).fill("4.5")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("row", name=re.compile("Followers, fast"))).to_contain_text("4.50")

    assert Account.objects.get().balance == 10
    assert Service.objects.get(name="Followers, fast").price_rate == Decimal("4.5")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_stands_in_both_themes_and_on_a_phone(
    page: Page, shop: dict[str, int], theme: Literal["light", "dark"]
) -> None:
    """No rule of WCAG 2.2 AA that axe can judge is broken in our parts, and nothing is wider than a phone."""
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    wrong: dict[str, object] = {}
    for name, path in PAGES.items():
        for width in (1360, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(path.format(**shop))
            page.wait_for_load_state("networkidle")
            _keep_picture(page, f"{name}-{theme}-{width}")
            extra = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if extra > 0:
                wrong[f"{name} {width}"] = f"{extra} px too wide"
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
        for violation in found.response["violations"]:
            nodes = [node["html"][:150] for node in violation["nodes"]]
            wrong[f"{name} {violation['id']} {len(nodes)}"] = nodes[:2]
    assert wrong == {}


def _keep_picture(page: Page, name: str) -> None:
    """Pictures for the eye, when a folder is named."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
