"""The customer's ways in a real browser, up to what the simulated provider really holds."""

import base64
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from django.core import mail as sent
from playwright.sync_api import Browser, FilePayload, Locator, Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.mail import send_due as send_mails
from accounts.models import User
from catalog.models import Service
from orders.audit import check as audit
from orders.following import poll_due
from orders.fulfilment import run_due
from orders.models import Order, Request
from orders.requests import poll_due as poll_requests
from orders.requests import send_due as send_requests
from orders.states import Dispatch, Status
from orders.tests.test_order_types import SENT, TYPED, TYPES
from orders.tests.upstream_world import Upstream, balance, due, running_upstream
from panel.tests.browsing import DESKTOP, PHONE, check, overflow, resize, violations, watched
from wallet.models import Entry, TopUpMethod, TopUpRequest
from wallet.templatetags.money import money

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PASSWORD = "a-Long-passw0rd"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
# Every order type, each a service of its own at 1 per 1000, sold for 2.
ROWS = [
    {"service": number, "name": f"All about {name}", "type": name, "category": "A", "rate": "1.00",
     "min": "1", "max": "10000", "refill": False, "cancel": False, "dripfeed": name == "Default"}
    for number, (name, _fields, _charge) in enumerate(TYPES, 1)
]  # fmt: skip

DRIP_FEED = {"runs": "3", "interval": "30"}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture
def page(browser: Browser, live_server: LiveServer, customer: User) -> Iterator[Page]:
    """The customer at a desktop."""
    size = {"width": DESKTOP[0], "height": DESKTOP[1]}
    with watched(browser, live_server.url, customer, viewport=size) as context:
        yield context.new_page()


def place_button(page: Page, charge: str) -> Locator:
    return page.get_by_role("button", name=f"Place order · {charge}", exact=True)


def order_shown(page: Page) -> Order:
    """The order whose page is open; waits for it."""
    shown = re.compile(r"/orders/(\d+)/\?placed$")
    expect(page).to_have_url(shown)
    found = shown.search(page.url)
    assert found
    return Order.objects.get(pk=int(found[1]))


def fill(page: Page, values: dict[str, str]) -> None:
    for name, value in values.items():
        field = page.locator(f"form.split [name={name}]")
        if field.evaluate("each => each.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def pass_time(upstream: Upstream, order: Order, steps: int = 6) -> None:
    """Let the provider's time pass, and the worker ask."""
    for _ in range(steps):
        upstream.world.advance(2.5)
        due(order)
        poll_due()


def assert_books_are_right() -> None:
    assert [finding for finding in audit() if finding.is_error] == []


def test_from_sign_up_over_a_top_up_to_a_completed_order(
    browser: Browser, live_server: LiveServer, staff: User, upstream: Upstream,
    settings: Settings, tmp_path: Path,
) -> None:  # fmt: skip
    """On a phone; staff approve at a desktop, and press twice."""
    terms = tmp_path / "terms.txt"
    terms.write_text("Be kind.", encoding="utf-8")
    settings.TERMS_PATH = str(terms)
    settings.MEDIA_ROOT = str(tmp_path)
    TopUpMethod.objects.create(name="Bank transfer", instructions="Pay to us.", percent=10)
    phone = {"width": PHONE[0], "height": PHONE[1]}
    with watched(browser, live_server.url, viewport=phone) as visitor:
        page = visitor.new_page()
        sign_up(page)
        confirm_address(page, live_server)
        ask_for_top_up(page)
        with watched(browser, live_server.url, staff) as office:
            approve_twice(office.new_page())
        assert TopUpRequest.objects.get().state == TopUpRequest.State.APPROVED
        [credit] = Entry.objects.all()
        assert (credit.amount, credit.actor) == (Decimal(11), staff)
        order_and_follow(page, upstream)
    assert_books_are_right()


def sign_up(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Create an account").click()
    page.get_by_label("Email").fill("mara@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("I accept the terms of use").check()
    page.get_by_role("button", name="Create an account").click()
    expect(page.locator("#balance b")).to_have_text("$0.00")
    assert User.objects.get(email="mara@example.com").terms_at


def confirm_address(page: Page, live_server: LiveServer) -> None:
    send_mails()
    [link] = re.findall(r"http\S+/confirm-email/\S+", str(sent.outbox[0].body))
    assert link.startswith(live_server.url)
    page.goto(link)
    assert violations(page) == []
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("You have confirmed mara@example.com")).to_be_visible()


def ask_for_top_up(page: Page) -> None:
    page.goto("/wallet/")
    page.get_by_role("main").get_by_role("link", name="Add funds").click()
    page.get_by_label("Amount paid").fill("10")
    page.get_by_label("Reference of the payment").fill("Mara 1")
    receipt: FilePayload = {"name": "receipt.png", "mimeType": "image/png", "buffer": PNG}
    page.get_by_label("Picture of the receipt").set_input_files(files=[receipt])
    assert violations(page) == []
    page.get_by_role("button", name="I have paid").dblclick()
    expect(page.get_by_text("Thank you. Your balance changes")).to_be_visible()
    assert TopUpRequest.objects.count() == 1
    with page.expect_download() as download:
        page.get_by_role("link", name="Proof of payment").click()
    assert Path(download.value.path()).read_bytes() == PNG
    assert overflow(page) <= 0


def approve_twice(page: Page) -> None:
    page.goto("/admin/wallet/topuprequest/")
    page.get_by_role("row", name=re.compile("Mara 1")).get_by_role("link").first.click()
    page.get_by_role("link", name="Approve").click()
    page.get_by_role("dialog").get_by_role("button", name="Credit the amount").dblclick()
    expect(page.get_by_text("11.00 credited; the balance is 11.00.")).to_be_visible()


def order_and_follow(page: Page, upstream: Upstream) -> None:
    page.goto("/orders/new/")
    expect(page.locator("#balance b")).to_have_text("$11.00")
    page.get_by_label("Service name or ID").press_sequentially("foll")
    page.get_by_role("link", name="Followers").click()
    page.get_by_label("Link").fill("https://example.com/mara")
    page.get_by_label("Quantity").fill("1000")
    place_button(page, "$2.00").click()
    order = order_shown(page)
    assert violations(page) == []
    assert run_due(10) == 1
    pass_time(upstream, order)
    expect(page.locator("#order .badge").first).to_have_text("Completed")
    expect(page.get_by_role("heading", name="Timeline").locator("..")).to_contain_text("Completed")
    [arrived] = upstream.world.truth()["orders"]
    assert arrived["fields"] == {
        "service": "1", "link": "https://example.com/mara", "quantity": "1000",
    }  # fmt: skip
    page.goto("/wallet/")
    expect(page.locator("#balance b")).to_have_text("$9.00")
    assert check(page) == []


def test_every_type_is_ordered_through_its_form_and_arrives_exactly_so(
    page: Page, customer: User
) -> None:
    wanted: dict[int, tuple[dict[str, str], Decimal]] = {}
    with running_upstream(ROWS) as upstream:
        for number, (name, fields, plain) in enumerate(TYPES, 1):
            typed = {field: TYPED[field] for field in fields.split()}
            typed |= DRIP_FEED if name == "Default" else {}
            charge = Decimal(plain) * int(typed.get("runs", 1))
            order = order_by_form(page, upstream.services[str(number)], typed, charge)
            wanted[order.pk] = (typed | {"service": str(number)}, charge)
        assert run_due(50) == len(wanted) == len(TYPES) == 17

        truth = {str(each["order"]): each for each in upstream.world.truth()["orders"]}
        for order in Order.objects.all():
            sent_fields, charge = wanted[order.pk]
            expected = {name: SENT.get(name, value) for name, value in sent_fields.items()}
            assert truth[order.upstream_id]["fields"] == expected
            assert order.charge == charge
        assert balance(customer) == 10 - sum(charge for _, charge in wanted.values())
        assert_books_are_right()


def order_by_form(page: Page, service: Service, typed: dict[str, str], charge: Decimal) -> Order:
    page.goto(f"/orders/new/?service={service.pk}")
    if "runs" in typed:
        page.get_by_text("Deliver in portions (drip-feed)").click()
    fill(page, typed)
    place_button(page, money(charge)).click()
    return order_shown(page)


def test_a_price_that_changed_meanwhile_is_shown_and_charged_only_when_pressed_again(
    page: Page, customer: User, upstream: Upstream
) -> None:
    service = upstream.services["1"]
    page.goto(f"/orders/new/?service={service.pk}")
    fill(page, {"link": "https://example.com/p", "quantity": "1000"})
    expect(place_button(page, "$2.00")).to_be_visible()
    Service.objects.filter(pk=service.pk).update(price_rate=3)

    place_button(page, "$2.00").click()

    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("nothing was charged")
    expect(alert).to_contain_text("It was $2.00 and is now $3.00")
    expect(alert).to_be_focused()
    assert not Order.objects.exists()
    assert balance(customer) == 10
    expect(page.get_by_label("Link")).to_have_value("https://example.com/p")
    assert check(page) == []
    place_button(page, "$3.00").click()
    assert order_shown(page).charge == 3
    assert balance(customer) == 7


def test_however_often_it_is_pressed_the_provider_has_one_order(
    page: Page, customer: User, upstream: Upstream
) -> None:
    """A double click, a reload, the back button and a second tab."""
    page.goto(f"/orders/new/?service={upstream.services['1'].pk}")
    typed = {"link": "https://example.com/once", "quantity": "1000"}
    fill(page, typed)
    place_button(page, "$2.00").dblclick()
    first = order_shown(page)

    page.reload()
    page.go_back()
    fill(page, typed)
    place_button(page, "$2.00").click()
    # As the browser kept the page: the form's own order again, or a warning before a second one.
    expect(page.get_by_text(re.compile(f"Order #{first.pk}")).first).to_be_visible()
    tab = page.context.new_page()
    tab.goto(f"/orders/new/?service={upstream.services['1'].pk}")
    fill(tab, typed)
    place_button(tab, "$2.00").click()
    alert = tab.get_by_role("alert")
    expect(alert.get_by_role("link", name=f"Order #{first.pk}")).to_be_visible()
    assert check(tab) == []

    run_due(10)
    assert len(upstream.world.truth()["orders"]) == Order.objects.count() == 1
    assert balance(customer) == 8

    tab.get_by_label("Order it all the same").check()
    tab.get_by_role("button", name=re.compile("Place order")).click()
    assert order_shown(tab).pk != first.pk
    run_due(10)
    assert len(upstream.world.truth()["orders"]) == 2
    assert_books_are_right()


def test_a_refill_and_a_cancel_pressed_here_reach_the_provider(
    page: Page, customer: User, upstream: Upstream
) -> None:
    done = upstream.accept(customer, link="https://example.com/done")
    pass_time(upstream, done)
    stopped = upstream.accept(customer, link="https://example.com/slow")

    page.goto(f"/orders/{done.pk}/")
    page.get_by_role("button", name="Request a refill").dblclick()
    expect(page.get_by_text("Refill requested. The provider may refuse it.")).to_be_visible()
    expect(page.get_by_role("button", name="Request a refill")).to_have_count(0)
    assert check(page) == []
    page.goto(f"/orders/{stopped.pk}/")
    page.get_by_role("button", name="Cancel the order").dblclick()
    expect(page.get_by_text("Cancel requested. The provider may refuse it.")).to_be_visible()

    send_requests()
    [refill] = upstream.world.truth()["refills"]
    assert str(refill["order"]) == done.upstream_id
    assert Request.objects.count() == 2
    pass_time(upstream, stopped)
    Request.objects.update(next_poll_at=None)
    poll_requests()
    expect(page.locator("#order .badge").first).to_have_text("Canceled")
    expect(page.locator("#balance b")).to_have_text("$8.00")
    stopped.refresh_from_db()
    assert (stopped.status, stopped.refunded) == (Status.CANCELED, 2)
    page.goto("/wallet/?type=refund")
    expect(page.get_by_role("row", name=re.compile(f"#{stopped.pk}"))).to_contain_text("+$2.00")
    assert_books_are_right()


def test_a_list_with_good_and_bad_lines_arrives_without_the_bad_ones(
    page: Page, customer: User, upstream: Upstream
) -> None:
    followers, pack = upstream.services["1"].pk, upstream.services["2"].pk
    page.goto("/orders/mass/")
    page.get_by_label("Orders, one per line").fill(
        f"{followers} | https://example.com/a | 100\n\n{followers} | https://example.com/b | x\n"
        f"999999 | https://example.com/c | 100\n{pack} | https://example.com/d\n"
    )
    expect(page.locator("#said")).to_have_text("4 lines, 2 with errors, charge $6.20")
    expect(page.get_by_role("button", name=re.compile("Place"))).to_have_count(0)
    assert check(page) == []
    page.get_by_label("Place all of them or none").uncheck()

    page.get_by_role("button", name="Place 2 orders · $6.20").dblclick()

    expect(page.get_by_text("2 orders are placed and paid.")).to_be_visible()
    run_due(10)
    arrived = sorted(each["fields"]["link"] for each in upstream.world.truth()["orders"])
    assert arrived == ["https://example.com/a", "https://example.com/d"]
    assert balance(customer) == Decimal("3.8")
    assert_books_are_right()


def test_the_site_speaks_the_browsers_language_and_the_one_that_is_chosen(
    browser: Browser, live_server: LiveServer, customer: User, upstream: Upstream
) -> None:
    size = {"width": PHONE[0], "height": PHONE[1]}
    with watched(browser, live_server.url, customer, viewport=size, locale="tr-TR") as context:
        page = context.new_page()
        page.goto(f"/orders/new/?service={upstream.services['1'].pk}")
        assert page.locator("html").get_attribute("lang") == "tr"
        fill(page, {"link": "https://example.com/tr", "quantity": "1500"})
        page.get_by_role("button", name="Sipariş ver · $3,00").click()
        order = order_shown(page)
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Sipariş #{order.pk}")
        expect(page.locator("#order")).to_contain_text("1.500")
        assert check(page) == []

        resize(page, PHONE)
        page.get_by_role("button", name="English").click()

        expect(page.get_by_role("heading", level=1)).to_have_text(f"Order #{order.pk}")
        expect(page.locator("#order")).to_contain_text("1,500")
        page.goto("/account/")
        page.get_by_label("Language (optional)").select_option("tr")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Kaydedildi.")).to_be_visible()


def test_the_whole_form_works_with_scripts_off(
    browser: Browser, live_server: LiveServer, customer: User, upstream: Upstream
) -> None:
    """Search, a mistake, the charge, too little balance, a changed price, and the order."""
    with watched(browser, live_server.url, customer, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto("/orders/new/")
        page.get_by_label("Service name or ID").fill("followers")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("link", name="Followers").click()
        fill(page, {"link": "no link", "quantity": "1000"})
        page.get_by_role("button", name="Show the charge").click()
        expect(page.locator("[name=link]")).to_have_attribute("aria-invalid", "true")
        expect(page.locator("[name=quantity]")).to_have_value("1000")

        fill(page, {"link": "https://example.com/plain", "quantity": "9000"})
        page.get_by_role("button", name="Show the charge").click()
        expect(page.get_by_text("You have $10.00; $8.00 is missing.")).to_be_visible()
        expect(place_button(page, "$18.00")).to_have_count(0)

        fill(page, {"quantity": "1000"})
        page.get_by_role("button", name="Check again").click()
        expect(place_button(page, "$2.00")).to_be_visible()
        Service.objects.update(price_rate=4)
        place_button(page, "$2.00").click()
        expect(page.get_by_role("alert")).to_contain_text("It was $2.00 and is now $4.00")
        place_button(page, "$4.00").click()
        order = order_shown(page)
        assert (order.charge, order.dispatch) == (4, Dispatch.QUEUED)
        page.get_by_role("button", name="Cancel the order").click()
        expect(page.locator("#balance b")).to_have_text("$10.00")
    assert_books_are_right()
