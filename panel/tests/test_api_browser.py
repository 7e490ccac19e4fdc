"""The pages for programs in a real browser: policy, widths and accessibility."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.keys import authenticate
from accounts.models import User
from panel.tests.browsing import DESKTOP, SMALLEST, WCAG, overflow

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PAGES = ["/api/", "/account/keys/", "/account/callbacks/"]


@pytest.fixture
def page(browser: Browser, live_server: LiveServer, customer: User) -> Iterator[Page]:
    client = Client()
    client.force_login(customer)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    context = browser.new_context(base_url=live_server.url)
    context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}]
    )
    complaints: list[str] = []
    context.on("console", lambda line: complaints.append(line.text))
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context.new_page()
    context.close()
    assert complaints == []


def check(page: Page) -> None:
    """Nothing sticks out sideways, and nothing stands in anybody's way."""
    assert overflow(page) <= 0
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": WCAG}})
    assert found.response["violations"] == [], found.generate_report()


@pytest.mark.parametrize("width", [DESKTOP, SMALLEST], ids=["desktop", "smallest"])
def test_the_pages_fit_and_are_accessible(page: Page, width: tuple[int, int]) -> None:
    page.set_viewport_size({"width": width[0], "height": width[1]})
    for path in PAGES:
        page.goto(path)
        check(page)


def test_the_documents_heading_stands_above_its_text(page: Page) -> None:
    page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    page.goto("/api/")
    heading, text = (page.locator(each).first.bounding_box() for each in ("h1", "dl.card"))
    assert heading is not None
    assert text is not None
    assert heading["x"] == text["x"]


def test_a_key_is_made_used_and_revoked(page: Page) -> None:
    page.goto("/account/keys/")
    page.get_by_label("Name").fill("My shop")
    page.get_by_role("button", name="Create key").click()

    secret = page.get_by_label("Copy it now").input_value()
    assert authenticate(secret, "203.0.113.7").name == "My shop"
    check(page)
    page.set_viewport_size({"width": SMALLEST[0], "height": SMALLEST[1]})
    check(page)
    page.get_by_role("button", name="Revoke My shop").click()
    expect(page.get_by_text("The key is revoked.")).to_be_visible()


def test_a_callback_is_named_and_a_bad_address_is_told(page: Page) -> None:
    page.goto("/account/callbacks/")
    page.get_by_label("Address").fill("https://shop.example.com/told")
    page.get_by_role("button", name="Save").click()

    assert len(page.get_by_label("Copy it now").input_value()) == 64
    check(page)
