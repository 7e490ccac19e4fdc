"""The pages in a real browser: scripts, policy, widths and accessibility."""

import re
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from catalog.models import Service
from orders.models import Order
from orders.services import place_order
from orders.states import Dispatch, Status
from panel.tests.browsing import PHONE, check, overflow, resize, violations, watched
from wallet.models import TopUpMethod
from wallet.topups import file_request

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def context(browser: Browser, live_server: LiveServer, customer: User) -> Iterator[BrowserContext]:
    with watched(browser, live_server.url, customer) as opened:
        yield opened


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def place(customer: User, service: Service, number: int = 0) -> Order:
    return place_order(
        customer=customer,
        service=service,
        values={"link": f"https://example.com/{'long' * 20}/{number}", "quantity": "100"},
        client_token=uuid.uuid4(),
    )


def start(order: Order, remains: int) -> None:
    Order.objects.filter(pk=order.pk).update(
        status=Status.IN_PROGRESS,
        dispatch=Dispatch.ACCEPTED,
        upstream_id=f"u{order.pk}",
        remains=remains,
    )


def finish(order: Order) -> None:
    Order.objects.filter(pk=order.pk).update(
        status=Status.COMPLETED, remains=0, finished_at=timezone.now()
    )


def test_a_service_is_searched_priced_and_ordered_and_a_double_click_orders_once(
    page: Page, service: Service
) -> None:
    page.goto("/orders/new/")
    page.get_by_label("Service name or ID").press_sequentially("follow")
    page.get_by_role("link", name="Followers, fast").click()
    page.get_by_label("Link").fill("https://example.com/p/1")
    page.get_by_label("Quantity").press_sequentially("1000")
    button = page.get_by_role("button", name="Place order · $2.00")
    expect(page.locator("#said")).to_have_text("Charge $2.00, balance after $8.00")

    button.dblclick()

    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"Order #\d+"))
    expect(page.locator("#balance b")).to_have_text("$8.00")
    assert Order.objects.count() == 1
    page.go_back()
    page.reload()
    assert Order.objects.count() == 1


def test_the_form_works_with_scripts_off_and_by_keyboard_alone(
    browser: Browser, context: BrowserContext, live_server: LiveServer, service: Service
) -> None:
    plain = browser.new_context(
        base_url=live_server.url, java_script_enabled=False, storage_state=context.storage_state()
    )
    page = plain.new_page()
    page.goto(f"/orders/new/?service={service.pk}")
    page.get_by_label("Link").focus()
    page.keyboard.type("https://example.com/p/1")
    page.keyboard.press("Tab")
    page.keyboard.type("1000")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Place order · $2.00").focus()
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"Order #\d+"))
    plain.close()


def test_a_list_is_checked_while_it_is_typed_and_a_double_click_places_it_once(
    page: Page, service: Service
) -> None:
    page.goto("/orders/mass/")
    page.get_by_label("Orders, one per line").fill(
        f"{service.pk} | https://example.com/1 | 100\n{service.pk} | https://example.com/2 | 1\n"
    )
    expect(page.locator("#checked")).to_contain_text("Enter a quantity from 10 to 10,000.")
    expect(page.locator("#said")).to_have_text("2 lines, 1 with errors, charge $0.20")
    page.get_by_label("Place all of them or none").uncheck()
    assert violations(page) == []

    page.get_by_role("button", name="Place 1 order · $0.20").dblclick()

    expect(page.get_by_text("1 order is placed and paid.")).to_be_visible()
    assert Order.objects.count() == 1


def test_a_star_is_set_and_let_go_in_place(page: Page, service: Service) -> None:
    page.goto("/services/")
    page.evaluate("window.stayed = true")
    star = page.get_by_role("button", name=f"Favourite #{service.pk}")

    star.click()
    expect(star).to_have_attribute("aria-pressed", "true")
    star.click()
    expect(star).to_have_attribute("aria-pressed", "false")

    assert page.evaluate("window.stayed")


def test_rows_and_the_order_page_follow_the_order_without_a_reload(
    page: Page, customer: User, service: Service
) -> None:
    order = place(customer, service)
    page.goto("/orders/")
    page.evaluate("window.stayed = true")
    start(order, remains=30)
    expect(page.locator(f"#order-{order.pk} .badge")).to_have_text("In progress")
    page.get_by_role("link", name=f"#{order.pk}").click()
    expect(page.get_by_text("70 of 100 delivered")).to_be_visible()
    page.evaluate("window.stayed = true")

    finish(order)

    expect(page.locator("#order .badge").first).to_have_text("Completed")
    expect(page.locator("[data-poll]")).to_have_count(0)
    assert page.evaluate("window.stayed")


def test_a_page_whose_session_ended_leads_to_sign_in_instead_of_breaking(
    page: Page, context: BrowserContext, customer: User, service: Service
) -> None:
    order = place(customer, service)
    page.goto(f"/orders/{order.pk}/")

    context.clear_cookies()

    expect(page).to_have_url(re.compile(rf"/accounts/login/\?next=/orders/{order.pk}/"))


def test_the_theme_follows_the_system_and_the_switch_and_is_remembered(page: Page) -> None:
    def is_dark() -> bool:
        color = str(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        return sum(map(int, re.findall(r"\d+", color)[:3])) < 200

    page.emulate_media(color_scheme="dark")
    page.goto("/wallet/")
    assert is_dark()
    page.get_by_role("button", name="Switch between light and dark").click()
    assert not is_dark()

    page.reload()

    assert not is_dark()
    assert page.url.endswith("/wallet/")


def test_the_menu_opens_and_closes_by_keyboard(page: Page) -> None:
    page.goto("/wallet/")
    menu = page.locator("summary", has_text="Your account")
    menu.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()

    page.keyboard.press("Escape")

    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    expect(menu).to_be_focused()


def addresses(order: Order, service: Service) -> list[str]:
    return [
        "/orders/new/",
        "/orders/new/?q=follow",
        "/orders/mass/",
        "/orders/help/",
        f"/orders/new/?service={service.pk}",
        "/orders/",
        f"/orders/{order.pk}/",
        "/services/",
        "/wallet/",
        "/wallet/add/",
        "/account/",
        "/account/mails/",
        "/account/sessions/",
        "/accounts/email/",
        "/accounts/password/change/",
        "/accounts/2fa/",
    ]


VISITORS = ["/", "/terms/", "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/"]


def _check(page: Page, address: str) -> list[str]:
    page.goto(address)
    return check(page)


def test_every_page_is_accessible_in_both_themes_and_fits_every_width(
    page: Page, customer: User, service: Service
) -> None:
    Service.objects.update(
        name="🔥 LIKES–NON-DROP–INSTANT_START_SUPERFAST_LIFETIME_GUARANTEE_CHEAPEST " * 3
    )
    order = place(customer, service)
    start(order, remains=30)
    bank = TopUpMethod.objects.create(name="Bank", instructions="Pay there.", percent=2)
    file_request(
        user=customer, method=bank, amount=Decimal(5), reference="x", client_token=uuid.uuid4()
    )

    problems = [text for address in addresses(order, service) for text in _check(page, address)]

    assert problems == []


def test_the_pages_for_visitors_are_accessible_and_fit(
    browser: Browser, live_server: LiveServer, db: None, settings: Settings, tmp_path: Path
) -> None:
    terms = tmp_path / "terms.txt"
    terms.write_text("Be kind.\n\nOrder only for pages that are yours.", encoding="utf-8")
    settings.TERMS_PATH = str(terms)
    page = browser.new_page(base_url=live_server.url)

    problems = [text for address in VISITORS for text in _check(page, address)]

    page.close()
    assert problems == []


def test_a_form_with_errors_is_accessible_and_the_summary_has_the_focus(
    page: Page, service: Service
) -> None:
    page.goto(f"/orders/new/?service={service.pk}")
    page.get_by_label("Link").fill("no link")
    page.get_by_label("Quantity").fill("1")

    page.get_by_role("button", name="Show the charge").click()

    expect(page.locator("[data-focus]")).to_be_focused()
    expect(page.get_by_label("Link")).to_have_value("no link")
    assert violations(page) == []


def test_the_pages_speak_turkish_and_fit_there_too(
    page: Page, customer: User, service: Service
) -> None:
    User.objects.update(language="tr")
    order = place(customer, service)
    resize(page, PHONE)

    for address in addresses(order, service)[:8]:
        page.goto(address)
        assert page.locator("html").get_attribute("lang") == "tr"
        assert overflow(page) <= 0
