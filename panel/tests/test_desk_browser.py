"""The support agent's day in a real browser, with a second person and a simulated provider."""

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.cache import cache
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from catalog.models import Service
from orders.models import Order, Request
from orders.requests import request_refill
from orders.run_models import BulkRun
from orders.states import Dispatch, RequestState, Status
from orders.tests.upstream_world import Upstream, running_upstream
from orders.tests.worlds import assert_ledger_adds_up, balance_of
from panel.periodic import run_periodic_job
from panel.roles import ensure_roles
from panel.tests.browsing import overflow, settled
from panel.tests.people import PASSWORD, person
from wallet.models import TopUpMethod, TopUpRequest
from wallet.services import top_up
from wallet.topups import file_request

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

D = Decimal
WCAG = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]


@pytest.fixture
def upstream(db: None) -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture
def desk(upstream: Upstream, customer: User) -> dict[str, Any]:
    """An order to check and refund, thirty not sent, a refill and a top-up that wait."""
    ensure_roles()
    top_up(user=customer, amount=D(1000), reference="day")
    service = upstream.services["1"]
    Service.objects.filter(pk=service.pk).update(price_rate=100)
    service.refresh_from_db()
    upstream.services["1"] = service
    late, old = upstream.accept(customer), upstream.accept(customer)
    upstream.world.advance(11)
    Order.objects.filter(pk=old.pk).update(
        status=Status.COMPLETED, finished_at=timezone.now() - timedelta(days=2)
    )
    Service.objects.filter(pk=service.pk).update(refill_by="staff")
    waiting = request_refill(order_id=old.pk, actor=customer)
    Service.objects.filter(pk=service.pk).update(price_rate=10)
    for number in range(30):
        upstream.place(customer, link=f"https://example.com/queued/{number}")
    paid = file_request(
        user=customer, method=TopUpMethod.objects.create(name="Bank", instructions="x"),
        amount=D(25), reference="TR-17", client_token=uuid.uuid4(),
    )  # fmt: skip
    cache.clear()
    return {"order": late, "refill": waiting, "paid": paid}


@contextmanager
def visit(browser: Browser, site: str, who: User, width: int = 1360) -> Iterator[Page]:
    """A page of somebody who signed in; a blocked script or a broken one fails the test."""
    context = browser.new_context(
        base_url=site, viewport={"width": width, "height": 900}, reduced_motion="reduce"
    )
    context.set_default_timeout(30_000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda line: complaints.append(line.text) if "Content Security" in line.text else None,
    )
    page.goto("/admin/")
    page.get_by_label("Email").fill(who.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/admin/")
    try:
        yield page
    finally:
        context.close()
    assert complaints == []


def problems(page: Page, name: str) -> list[str]:
    """What is too wide on a phone, and what axe finds, in both themes."""
    found = []
    before = page.viewport_size
    settled(page, "() => true")
    for theme in ("light", "dark"):
        # The answer to a form can't be loaded again, so the theme is switched where it stands.
        page.evaluate(
            "name => document.documentElement.classList.toggle('dark', name === 'dark')", theme
        )
        for width in (1360, 390):
            page.set_viewport_size({"width": width, "height": 900})
            if folder := os.environ.get("SCREENSHOTS"):
                page.screenshot(path=Path(folder) / f"{name}-{theme}-{width}.png", full_page=True)
            if (extra := overflow(page)) > 0:
                found.append(f"{name} {width}: {extra} px too wide")
        answer = Axe().run(page, options={"runOnly": WCAG})
        found += [
            f"{name} {theme} {each['id']}: {each['nodes'][0]['html'][:150]}"
            for each in answer.response["violations"]
        ]
    page.evaluate("document.documentElement.classList.remove('dark')")
    if before is not None:
        page.set_viewport_size(before)
    return found


def confirm(page: Page, link: str, button: str, **fields: str) -> None:
    """Open a dialog by its link, fill it in by label, and send it."""
    # The theme writes an icon's name in front, and hides the links behind one on a phone.
    if page.viewport_size and page.viewport_size["width"] < 1024:
        page.get_by_role("link", name="more_horiz").click()
    page.get_by_role("link", name=re.compile(rf"^\s*\w+\s+{link}\s*$")).click()
    dialog = page.get_by_role("dialog")
    for label, value in fields.items():
        # A field that must be filled in has a star after its label.
        words = re.escape(label.replace("_", " "))
        field = dialog.get_by_label(re.compile(rf"^\s*{words}\s*\*?\s*$"))
        if field.evaluate("each => each.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    dialog.get_by_role("button", name=button).click()


def cancel_all_that_wait(page: Page) -> list[str]:
    """Thirty orders at once, watched to the end; what is wrong with the pages on the way."""
    page.goto("/admin/orders/order/?dispatch__exact=queued")
    page.locator("#result_list input.action-select").first.check()
    page.locator("select[name=action]").select_option(label="Cancel orders")
    page.get_by_role("button", name="Run").click()
    page.get_by_label(re.compile("all that the list and its filters show: 30")).check()
    wrong = problems(page, "bulk")
    page.get_by_role("button", name="Cancel orders").click()
    expect(page.get_by_text("0 of 30 orders")).to_be_visible()
    run_periodic_job("bulk_runs", now=True)
    expect(page.get_by_text("30 of 30 orders")).to_be_visible()
    expect(page.get_by_role("link", name="Stop")).to_have_count(0)
    wrong += problems(page, "run")
    page.get_by_role("link", name="All results").click()
    expect(page.locator("#result_list tbody")).to_have_count(30)
    return wrong + problems(page, "results")


def test_a_day_of_support(
    browser: Browser, live_server: LiveServer, customer: User, desk: dict[str, Any]
) -> None:
    agent, owner = person("Support", "agent"), person("Owner", "boss")
    order: Order = desk["order"]
    wrong: list[str] = []
    with (
        visit(browser, live_server.url, agent) as page,
        visit(browser, live_server.url, owner) as second,
    ):
        # What waits.
        page.get_by_role("link", name=re.compile("Needs attention")).first.click()
        for title in ("Refills that wait for you", "Top-ups waiting"):
            tile = page.get_by_role("link", name=re.compile(rf"^\s*{title}\s+1\s"))
            expect(tile).to_be_visible()
        wrong += problems(page, "attention")

        # An order, found by its customer, checked, and refunded above the ceiling.
        page.goto(f"/admin/orders/order/?q={customer.email}")
        page.get_by_role("link", name=str(order.pk), exact=True).click()
        confirm(page, "Check now", "Ask the provider")
        expect(page.get_by_text("The order is: Completed.")).to_be_visible()
        confirm(page, "Refund", "Refund", Amount="60", Why="too slow", Reason="a week late")
        expect(page.get_by_text("it waits for a second person")).to_be_visible()
        second.goto("/admin/wallet/approval/?state__exact=open")
        second.locator("#result_list").get_by_role("link", name="refund").click()
        expect(second).to_have_url(re.compile("/change/"))
        wrong += problems(second, "approval")
        confirm(second, "Approve", "Approve and pay")
        expect(second.get_by_text("60.00 paid.")).to_be_visible()

        # The refill that waits.
        page.goto("/admin/orders/request/")
        page.get_by_role("link", name="Waiting for staff").click()
        wrong += problems(page, "refills")
        page.locator("#result_list tbody th a").first.click()
        confirm(page, "Approve refill", "Approve")
        expect(page.get_by_text("Approved.", exact=True)).to_be_visible()

        wrong += cancel_all_that_wait(page)

        # The top-up.
        page.goto("/admin/wallet/topuprequest/?state__exact=open")
        page.locator("#result_list tbody th a").first.click()
        confirm(page, "Approve", "Credit the amount")
        expect(page.get_by_text("25.00 credited")).to_be_visible()
    assert wrong == []
    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.COMPLETED, 60)
    assert set(Order.objects.filter(dispatch=Dispatch.WITHDRAWN).values_list("status")) == {
        ("canceled",)
    }
    assert BulkRun.objects.get().done == 30
    assert Request.objects.get(kind="refill").state == RequestState.QUEUED
    assert TopUpRequest.objects.get().decided_by == agent
    assert balance_of(customer) == 10 + 1000 - 200 + 60 + 25
    assert_ledger_adds_up()


def test_a_few_things_on_the_way_with_a_phone(
    browser: Browser, live_server: LiveServer, desk: dict[str, Any]
) -> None:
    order: Order = desk["order"]
    with visit(browser, live_server.url, person("Support", "agent"), width=390) as page:
        page.goto("/admin/attention/")
        page.get_by_role("link", name=re.compile("Refills that wait for you")).click()
        page.locator("#result_list tbody th a").first.click()
        confirm(page, "Refuse refill", "Refuse", Reason="the account was private")
        expect(page.get_by_text("Refused.", exact=True)).to_be_visible()

        page.goto(f"/admin/orders/order/{order.pk}/change/")
        fields = {"How_did_it_end?": "partial", "Remains": "100", "How_it_is_known": "seen"}
        confirm(page, "Settle by hand", "Settle it", **fields, Reason="counted")
        expect(page.get_by_text("The order has ended; 10.00 refunded.")).to_be_visible()
    order.refresh_from_db()
    assert (order.status, order.refunded, order.remains) == (Status.PARTIAL, 10, 100)
    assert Request.objects.get().reason == "the account was private"
