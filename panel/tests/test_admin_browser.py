"""The admin in a real browser: its dialogs work by mouse, and its pages stand in both themes."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db import transaction
from django.test import Client
from django.utils import timezone
from openpyxl import load_workbook
from playwright.sync_api import Browser, Locator, Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts import audit
from accounts.models import User
from catalog import history, sync
from catalog.changing import plan
from catalog.models import HeldChange, Provider, Service
from catalog.tests.panel import Panel, listening, row
from orders import sales
from orders.models import Attempt, Gate, Order
from orders.money import charge_orders
from orders.states import Dispatch, Outcome
from orders.timeline import Code, record
from panel.models import Job
from panel.roles import ensure_roles
from panel.tests.browsing import overflow, settled
from panel.tests.people import person
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


@contextmanager
def opened(browser: Browser, address: str, user: User | None = None) -> Iterator[Page]:
    """A page, signed in if a user is given; a blocked script or a broken one fails the test."""
    context = browser.new_context(
        base_url=address, viewport={"width": 1360, "height": 900}, reduced_motion="reduce"
    )
    if user:
        client = Client()
        client.force_login(user)
        session = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": session, "url": address}])
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
def page(browser: Browser, live_server: LiveServer, staff: User) -> Iterator[Page]:
    """A page of the owner."""
    with opened(browser, live_server.url, staff) as page:
        yield page


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
        pk=12_345_678, customer=customer, service=service, provider=service.provider, order_type="default",
        link="https://example.com/some/post", quantity=1000, price_rate=2, charge=Decimal(2), cost=1,
        exchange_rate=1, expected_charge=1, dispatch=Dispatch.UNKNOWN, attempt_no=1,
        attention="unknown", parameters={"link": "https://example.com/some/post"},
    )  # fmt: skip
    with transaction.atomic():
        charge_orders(account=lock_account(customer.pk), orders=[order])
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


_CUT = """() => [...document.querySelectorAll("#main td[data-label]")]
  .filter(cell => cell.offsetParent && cell.scrollHeight > cell.clientHeight + 1)
  .map(cell => cell.dataset.label)"""
_BESIDE = """() => [...document.querySelectorAll("#main table")]
  .filter(table => table.offsetWidth > table.parentElement.clientWidth)
  .map(table => table.innerText.slice(0, 40))"""

_NAME_FITS = """() => {
  const name = [...document.querySelectorAll("#header-inner h1 a")].at(-1);
  return name.scrollWidth <= name.clientWidth;
}"""
_WIDE_ICONS = """() => [...document.querySelectorAll(".material-symbols-outlined")]
  .filter(icon => icon.offsetWidth > 2 * parseFloat(getComputedStyle(icon).fontSize))
  .map(icon => icon.innerText)"""


@pytest.fixture
def wordy(shop: dict[str, int]) -> dict[str, int]:
    """The same shop, with names, a link and a job's result in which no space allows a break.

    Numbers and times are as wide as they become.
    """
    evening = timezone.localtime().replace(month=12, day=20, hour=22, minute=45)
    User.objects.filter(orders=shop["order"]).update(
        email=f"{'customer' * 6}@{'mail' * 4}.example.com"
    )
    Provider.objects.update(name="Upstreamofeverything" * 2)
    Service.objects.filter(pk=shop["service"]).update(name="Donaudampfschifffahrt" * 9)
    Order.objects.filter(pk=shop["order"]).update(
        link="https://example.com/" + "name" * 90,
        parameters={"link": "name" * 90},
        created_at=evening,
        quantity=123_456,
        charge="1234.56789",
        cost="1234.56789",
    )
    Job.objects.filter(name="sweep").update(result="x" * 200)
    return shop


@pytest.mark.parametrize("name", ["dashboard", "job", "orders", "order", "services", "service",
                                  "held", "bulk", "sales"])  # fmt: skip
def test_a_word_without_end_is_broken_and_not_cut(
    page: Page, wordy: dict[str, int], name: str
) -> None:
    page.goto(PAGES[name].format(**wordy))
    assert overflow(page) <= 0
    _keep_picture(page, f"wordy-{name}")
    assert settled(page, _BESIDE) == []
    page.set_viewport_size({"width": 390, "height": 900})
    assert overflow(page) <= 0
    assert settled(page, _CUT) == []


def test_an_icon_takes_no_more_room_before_its_font_has_come(
    page: Page, shop: dict[str, int]
) -> None:
    page.route("**/Material-Symbols*", lambda route: route.abort())
    for name in ("dashboard", "orders", "provider"):
        page.goto(PAGES[name].format(**shop))
        assert page.locator(".material-symbols-outlined").count() > 10
        assert settled(page, _WIDE_ICONS) == [], name


def test_a_pages_name_keeps_its_room_beside_many_buttons(page: Page, shop: dict[str, int]) -> None:
    for name in ("order", "provider"):
        page.goto(PAGES[name].format(**shop))
        assert settled(page, _NAME_FITS), name


def test_fields_beside_each_other_begin_on_one_line(page: Page, shop: dict[str, int]) -> None:
    page.goto(PAGES["provider"].format(**shop))
    tops = [page.locator(f"#id_{name}").bounding_box() for name in ("currency", "exchange_rate")]
    assert tops[0] is not None
    assert tops[1] is not None
    assert abs(tops[0]["y"] - tops[1]["y"]) <= 1


@pytest.fixture
def market(settings: Settings) -> Iterator[Panel]:
    """A provider that lists three services, of which a held change waits for none yet."""
    settings.ALLOW_PRIVATE_UPSTREAM = True
    with listening() as panel:
        panel.lists(row(number, rate="2") for number in (1, 2, 3))
        Provider.objects.create(name="Market", url=panel.url, api_key="key-of-the-fixture")
        sync.sync_all()
        yield panel


def test_the_pricing_admins_day(
    browser: Browser, live_server: LiveServer, market: Panel, tmp_path: Path
) -> None:
    """From signing in to an imported list; nothing of money is in reach."""
    ensure_roles()
    person("Pricing")
    market.lists([row(1, rate="9"), row(2, rate="2.2"), row(3, rate="2"), row(4, rate="1")])
    with opened(browser, live_server.url) as page:
        page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        page.goto("/admin/")
        page.get_by_label(re.compile("E-?mail", re.IGNORECASE)).fill("pricing@example.com")
        page.get_by_label("Password", exact=True).fill("a-Long-passw0rd")
        page.get_by_role("button", name="Sign in").click()
        _syncs_and_accepts(page)
        _sets_a_rule(page)
        _changes_many_and_undoes(page)
        _edits_the_list(page)
        _brings_a_workbook(page, tmp_path)
        _reads_a_history_and_reaches_no_money(page)


def _stands(page: Page, name: str) -> None:
    """The page breaks no rule in the dark, and is not wider than a phone."""
    assert broken_rules(page) == {}
    for width in (390, 1360):
        page.set_viewport_size({"width": width, "height": 900})
        assert overflow(page) <= 0
        _keep_picture(page, f"{name}-dark-{width}")


def _items(page: Page, name: str) -> Locator:
    """The menu's items of this name; their icons are letters before it."""
    return page.get_by_role("link", name=re.compile(f"{name}$"))


def _menu(page: Page, name: str) -> None:
    _items(page, name).first.click()


def _prices() -> list[str]:
    rates = Service.objects.order_by("pk").values_list("price_rate", flat=True)
    return [f"{rate.normalize():f}" for rate in rates]


def _become(prices: list[str]) -> None:
    """Wait for the prices: a sentence that is looked for may still be the one of the page before."""
    deadline = time.monotonic() + 30
    while _prices() != prices and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _prices() == prices


def _confirm(page: Page, action: str, button: str) -> None:
    page.get_by_role("link", name=re.compile(f"{action}$")).click()
    page.get_by_role("dialog").get_by_role("button", name=button).click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def _choose(page: Page, names: list[str], action: str) -> None:
    for name in names:
        page.get_by_role("checkbox", name=re.compile(f"Select .*{name}")).check()
    page.locator("select[name=action]").select_option(label=action)
    page.get_by_role("button", name="Run").click()


def _syncs_and_accepts(page: Page) -> None:
    _menu(page, "Providers")
    page.get_by_role("link", name="Market").click()
    page.get_by_role("link", name="Preview sync").click()
    page.get_by_role("button", name="Show what would change").click()
    expect(page.get_by_role("row", name="held: cost rises too much")).to_contain_text("2 → 9")
    _become(["3", "3", "3"])
    page.get_by_role("button", name="Apply exactly this list").click()
    expect(page.get_by_text("1 added, 1 changed, 1 repriced, 0 vanished, 1 held")).to_be_visible()
    _become(["3", "3.3", "3", "1.5"])

    _menu(page, "Held changes")
    _choose(page, ["Followers 1"], "Accept")
    page.get_by_role("button", name="Accept", exact=True).click()
    expect(page.get_by_text("1 row changed.")).to_be_visible()
    _become(["13.5", "3.3", "3", "1.5"])


def _sets_a_rule(page: Page) -> None:
    _menu(page, "Price rules")
    page.get_by_label("Markup %").fill("100")
    page.get_by_role("button", name="Preview prices").click()
    expect(page.get_by_role("row", name="Followers 1")).to_contain_text("18")
    _stands(page, "rule_preview")
    _become(["13.5", "3.3", "3", "1.5"])
    page.get_by_role("button", name="Save the rules").click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    _become(["18", "4.4", "4", "2"])


def _changes_many_and_undoes(page: Page) -> None:
    _menu(page, "Services")
    _choose(page, ["Followers 3", "Followers 4"], "Change the chosen services")
    page.get_by_label("What to do").select_option(label="set markup %")
    page.get_by_label("Number").fill("150")
    page.get_by_role("button", name="Show each service").click()
    expect(page.get_by_role("row", name="Followers 3")).to_contain_text("4 → 5")
    _become(["18", "4.4", "4", "2"])
    _confirm(page, "Apply", "Write these values")
    expect(page.get_by_text("2 services changed.")).to_be_visible()
    _become(["18", "4.4", "5", "2.5"])
    _confirm(page, "Undo", "Give back the values before")
    expect(page.get_by_text("2 services changed.")).to_be_visible()
    _become(["18", "4.4", "4", "2"])


def _edits_the_list(page: Page) -> None:
    _menu(page, "Services")
    page.get_by_label(re.compile("Pinned price: .*Followers 2")).fill("4.95")
    page.get_by_label(re.compile("Fixed markup: .*Followers 3")).fill("0.5")
    page.get_by_label(re.compile("Sold: .*Followers 4")).uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("3 services were changed successfully.")).to_be_visible()
    expect(page.get_by_role("row", name="Followers 4")).to_contain_text("off sale")
    _become(["18", "4.95", "2.5", "2"])


def _brings_a_workbook(page: Page, folder: Path) -> None:
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as XLSX").click()
    download.value.save_as(folder / "services.xlsx")
    book: Any = load_workbook(folder / "services.xlsx")
    column = {cell.value: cell.column_letter for cell in book.active[1]}
    book.active[f"{column['pinned_price']}2"] = 19.9
    book.active[f"{column['markup_percent']}4"] = "a lot"
    book.active[f"{column['sold']}5"] = "yes"
    book.save(folder / "services.xlsx")

    page.get_by_role("link", name="Import a list").click()
    page.get_by_label("CSV or XLSX file").set_input_files(folder / "services.xlsx")
    page.get_by_role("button", name="Show what it would change").click()
    expect(page.get_by_text("a lot in markup_percent is not a number.")).to_be_visible()
    expect(page.get_by_role("row", name="Followers 1")).to_contain_text("18 → 19.9")
    _stands(page, "import_preview")
    _confirm(page, "Apply", "Write these values")
    expect(page.get_by_text("2 services changed.")).to_be_visible()
    _become(["19.9", "4.95", "2.5", "2"])
    assert Service.objects.filter(is_sold=True).count() == 4


def _reads_a_history_and_reaches_no_money(page: Page) -> None:
    _menu(page, "Services")
    page.get_by_role("link", name=re.compile("Followers 1")).click()
    expect(page.get_by_role("figure", name="Cost and price over time")).to_be_visible()
    expect(page.get_by_role("row", name="pinned price: – → 19.9")).to_be_visible()
    for name in ("Wallets", "Transactions", "Approvals", "Sales", "Orders", "Users"):
        expect(_items(page, name)).to_have_count(0)
    for path in ("wallet/account/", "wallet/entry/", "orders/order/", "sales/", "accounts/user/"):
        answer = page.goto(f"/admin/{path}")
        assert answer is not None
        assert answer.status == 403, path


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_stands_in_both_themes_and_on_a_phone(
    page: Page, shop: dict[str, int], theme: Literal["light", "dark"]
) -> None:
    """No rule of WCAG 2.2 AA that axe can judge is broken in our parts, and nothing is wider than a phone."""
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    wrong: dict[str, object] = {}
    for name, path in PAGES.items():
        page.goto(path.format(**shop))
        # The theme's scripts have drawn what is hidden until they have.
        expect(page.locator("[x-cloak]")).to_have_count(0)
        for width in (1360, 390):
            page.set_viewport_size({"width": width, "height": 900})
            _keep_picture(page, f"{name}-{theme}-{width}")
            extra = overflow(page)
            if extra > 0:
                wrong[f"{name} {width}"] = f"{extra} px too wide"
        assert page.evaluate("document.documentElement.classList.contains('dark')") == (
            theme == "dark"
        )
        wrong |= {f"{name} {rule}": nodes for rule, nodes in broken_rules(page).items()}
    assert wrong == {}


def broken_rules(page: Page) -> dict[str, list[str]]:
    """Each rule of WCAG 2.2 AA that the page breaks, with where it does."""
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
    return {
        violation["id"]: [node["html"][:150] for node in violation["nodes"]][:2]
        for violation in found.response["violations"]
    }


def _keep_picture(page: Page, name: str) -> None:
    """Pictures for the eye, when a folder is named."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
