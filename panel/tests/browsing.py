"""What the browser tests share: sizes, a signed-in context that complains, and what is wrong with a page."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page

from accounts.models import User

DESKTOP, PHONE, SMALLEST = (1360, 900), (390, 844), (320, 640)
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# What htmx says of a request that a newer one replaced, or that the page was left before.
_OVERTAKEN = ("htmx:afterRequest, ", "htmx:sendAbort, ")
# Asking for a width makes the browser lay the page out, and with that ask for its fonts.
_IS_SETTLED = """() => document.readyState === "complete"
  && document.body.offsetWidth > 0 && document.fonts.status === "loaded" """


@contextmanager
def watched(
    browser: Browser, site: str, user: User | None = None, **options: Any
) -> Iterator[BrowserContext]:
    """A browser of its own, signed in as the user; its console stays free of errors and violations."""
    opened = browser.new_context(base_url=site, **options)
    opened.set_default_timeout(30_000)
    if user is not None:
        client = Client()
        client.force_login(user)
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        opened.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": site}])
    complaints: list[str] = []

    def complain(line: ConsoleMessage) -> None:
        if line.type == "error" and not line.text.startswith(_OVERTAKEN):
            complaints.append(line.text)

    opened.on("console", complain)
    opened.on("weberror", lambda error: complaints.append(str(error.error)))
    try:
        yield opened
    finally:
        opened.close()
    assert not complaints, complaints


def violations(page: Page) -> list[str]:
    """What axe finds on the page as it stands."""
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": WCAG}})
    return [
        f"{page.url} {each['id']}: {each['nodes'][0]['html'][:160]}"
        for each in found.response["violations"]
    ]


def settled(page: Page, measure: str) -> Any:
    """What a JavaScript function measures on the page, once it and its fonts have come.

    An icon is a long word before that, and all text has another width. The page may be on its way
    still, after a click: so this asks until it is there.
    """
    deadline = time.monotonic() + 30
    while True:
        try:
            if page.evaluate(_IS_SETTLED):
                return page.evaluate(measure)
        except Error:
            # It was left for the next page meanwhile.
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, f"{page.url} does not come to rest"
        page.wait_for_timeout(50)


def overflow(page: Page) -> int:
    """How many pixels of the page stick out sideways, once its fonts have come."""
    return int(settled(page, "() => document.documentElement.scrollWidth - window.innerWidth"))


def resize(page: Page, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})


def check(page: Page) -> list[str]:
    """Everything wrong with a page: too wide at one of three widths, or hard to use in a theme."""
    problems = []
    for size in (DESKTOP, PHONE, SMALLEST):
        resize(page, size)
        if overflow(page) > 0:
            problems.append(f"{page.url} is too wide at {size[0]}")
    for size, theme in ((DESKTOP, "light"), (PHONE, "dark")):
        resize(page, size)
        page.evaluate("theme => document.documentElement.dataset.theme = theme", theme)
        problems += [f"{theme} {size[0]} {text}" for text in violations(page)]
    return problems
