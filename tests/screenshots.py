"""Draws every page, light and dark, on a desktop and on a phone: `make screenshots`.

Not collected with the tests: pytest runs it when it is named. The pictures go to /screenshots/.
"""

import datetime as dt
import re
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from accounts.sessions import note_sign_in
from catalog.models import Category, Favourite, LinkRule, Provider, Service
from orders.models import Order, ServiceTimes
from orders.services import place_order
from orders.settlement import apply_status
from orders.states import Dispatch
from upstream.parse import order_status
from wallet.models import TopUpMethod
from wallet.services import top_up
from wallet.topups import approve, file_request

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

FOLDER = settings.BASE_DIR / "screenshots"
SIZES = {"desktop": (1280, 860), "phone": (390, 844)}
THEMES = ("light", "dark")

# Category, name, cost per 1000, price per 1000, min, max, refill, cancel.
_CATALOGUE = [
    ("Instagram · Followers", "Followers, real accounts, 30-day refill", "1.20", "1.90", 50, 200_000, True, True),
    ("Instagram · Followers", "Followers, mixed quality, fast start", "0.62", "0.98", 100, 500_000, False, True),
    ("Instagram · Likes", "Likes, worldwide", "0.18", "0.29", 10, 100_000, False, True),
    ("Instagram · Likes", "Likes, Türkiye", "0.41", "0.65", 20, 20_000, True, False),
    ("TikTok · Views", "Video views, instant start", "0.02", "0.04", 100, 10_000_000, False, False),
    ("TikTok · Followers", "Followers, 60-day refill", "2.10", "3.25", 50, 100_000, True, True),
    ("YouTube · Subscribers", "Subscribers, steady delivery", "14.00", "21.50", 20, 10_000, True, True),
    ("YouTube · Views", "Views, high retention", "1.05", "1.60", 500, 1_000_000, True, False),
    ("Telegram · Members", "Channel members, no drop for 90 days", "0.88", "1.40", 100, 80_000, True, True),
    ("Spotify · Plays", "Track plays, worldwide", "0.35", "0.55", 1_000, 1_000_000, False, False),
]  # fmt: skip

_ORDERS = [
    (1, "https://www.instagram.com/northcoast.coffee/", 2_500, "Completed", 0),
    (3, "https://www.instagram.com/p/C9hT2kLoQ1a/", 1_000, "Completed", 0),
    (5, "https://www.tiktok.com/@trailmap/video/7391", 50_000, "Completed", 0),
    (8, "https://www.youtube.com/watch?v=k3Jd81sQpXw", 5_000, "Partial", 1_400),
    (9, "https://t.me/citywalks", 500, "Canceled", 500),
    (7, "https://www.youtube.com/@lanternstudio", 100, "In progress", 38),
    (6, "https://www.tiktok.com/@trailmap", 1_000, "In progress", 270),
    (2, "https://www.instagram.com/atelier.mira/", 2_000, "Processing", 2_000),
    (10, "https://open.spotify.com/track/4uLU6hMCjMI75M1A2tKUQC", 10_000, "Pending", 10_000),
]


@pytest.fixture
def shop(db: None) -> list[Service]:
    provider = Provider.objects.create(
        name="Harbour Wholesale", url="https://provider.example/api/v2", api_key="key-of-the-picture",
        balance=Decimal("184.20"), balance_checked_at=timezone.now(),
    )  # fmt: skip
    services = []
    for number, (heading, name, cost, price, low, high, refill, cancel) in enumerate(_CATALOGUE, 1):
        category, _ = Category.objects.get_or_create(name=heading, defaults={"position": number})
        services.append(
            Service.objects.create(
                provider=provider, category=category, upstream_id=str(4000 + number), name=name,
                description="Starts by itself. The page must be public until the order is completed.",
                type="Default", order_type="default", cost_rate=Decimal(cost),
                price_rate=Decimal(price), min_quantity=low, max_quantity=high, refill=refill,
                cancel=cancel, position=number,
            )
        )  # fmt: skip
        ServiceTimes.objects.create(
            service=services[-1], start_seconds=240 * number, start_sample=40 + 7 * number,
            finish_seconds=5400 * number, finish_sample=38 + 7 * number,
        )  # fmt: skip
    LinkRule.objects.create(kind="word", text="casino", message="We do not promote gambling.")
    return services


@pytest.fixture
def buyer(shop: list[Service], staff: User) -> User:
    """A customer with orders in every state, and top-ups in two."""
    user = User.objects.create_user("mara@example.com", "a-Long-passw0rd", name="Mara")
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    top_up(user=user, amount=Decimal(40), note="Bank transfer", reference="first")
    bank = TopUpMethod.objects.create(
        name="Bank transfer", min_amount=5, max_amount=2000, percent=2,
        instructions="Pay to Harbour Panel Ltd., DE00 0000 0000 0000 00.\nWrite your e-mail address as reference.",
    )  # fmt: skip
    TopUpMethod.objects.create(name="Card by phone", instructions="Call us.", percent=-3)
    for amount, reference in ((25, "2026-1108"), (50, "2026-1121")):
        asked = file_request(
            user=user, method=bank, amount=Decimal(amount), reference=reference,
            client_token=uuid.uuid4(),
        )  # fmt: skip
        if amount == 25:
            approve(request_id=asked.pk, actor=staff)
    for number, row in enumerate(_ORDERS):
        _order(user, shop, number, row)
    Favourite.objects.create(user=user, service=shop[0])
    Favourite.objects.create(user=user, service=shop[5])
    note_sign_in(
        user, session_key="x" * 32, agent="iPhone Safari", address="192.0.2.7", is_known=True
    )
    return user


def _order(
    user: User, shop: list[Service], number: int, row: tuple[int, str, int, str, int]
) -> None:
    service, link, quantity, status, remains = row
    order = place_order(
        customer=user, service=shop[service - 1], client_token=uuid.uuid4(),
        values={"link": link, "quantity": str(quantity)},
    )  # fmt: skip
    placed = timezone.now() - dt.timedelta(days=9 - number, hours=number)
    Order.objects.filter(pk=order.pk).update(created_at=placed)
    if status == "Pending":
        return
    Order.objects.filter(pk=order.pk).update(
        dispatch=Dispatch.ACCEPTED, upstream_id=str(900 + number), sent_at=placed
    )
    for said, left in (("In progress", quantity), (status, remains)):
        row_said = {
            "status": said, "remains": str(left), "start_count": str(1200 + 37 * number),
            "charge": str(order.expected_charge),
        }  # fmt: skip
        apply_status(order.pk, order_status(row_said, str(900 + number)))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        yield started
        started.close()


def signed_in(browser: Browser, live_server: LiveServer, user: User | None) -> BrowserContext:
    context = browser.new_context(base_url=live_server.url, locale="en-US")
    if user is None:
        return context
    client = Client(headers={"user-agent": "Firefox Linux"})
    client.force_login(user)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}]
    )
    return context


def fill(page: Page, address: str) -> None:
    """Type into the forms that are empty without it."""
    if "service=" in address:
        page.get_by_label("Link").fill("https://www.instagram.com/northcoast.coffee/")
        page.get_by_label("Quantity").press_sequentially("2500")
        page.get_by_role("button", name="Place order").wait_for()
    if address == "/orders/mass/":
        numbers = list(Service.objects.order_by("pk").values_list("pk", flat=True))
        page.get_by_label("Orders, one per line").fill(
            f"{numbers[0]} | https://www.instagram.com/atelier.mira/ | 500\n"
            f"{numbers[4]} | https://www.tiktok.com/@trailmap/video/7402 | 20000\n"
            f"{numbers[2]} | https://www.youtube.com/watch?v=x | 200\n"
        )
        page.locator("#checked td").first.wait_for()


def draw(page: Page, address: str, name: str) -> None:
    for theme in THEMES:
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        page.goto(address)
        fill(page, address)
        for size, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            page.screenshot(path=FOLDER / f"{name}-{theme}-{size}.png")


def pages_of(order: Order, shop: list[Service]) -> list[str]:
    return [
        "/orders/new/", "/orders/new/?q=followers", f"/orders/new/?service={shop[0].pk}",
        "/orders/mass/", "/orders/", f"/orders/{order.pk}/", "/orders/help/", "/services/",
        "/wallet/", "/wallet/add/", "/account/", "/account/mails/", "/account/sessions/",
        "/accounts/email/", "/accounts/password/change/", "/accounts/2fa/",
    ]  # fmt: skip


VISITORS = ["/", "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/"]
STAFF = [
    "/admin/", "/admin/orders/order/", "/admin/catalog/service/", "/admin/catalog/provider/",
    "/admin/wallet/topuprequest/", "/admin/wallet/account/", "/admin/catalog/linkrule/",
]  # fmt: skip


# What the README shows: the address of a page (a service's number is filled in), and its theme.
README = {
    "order": ("/orders/new/?service={service}", "light"),
    "orders": ("/orders/", "dark"),
    "services": ("/admin/catalog/service/", "light"),
}


@pytest.mark.timeout(300)
def test_draw_the_pictures_of_the_readme(
    browser: Browser, live_server: LiveServer, buyer: User, staff: User, shop: list[Service]
) -> None:
    (FOLDER / "readme").mkdir(parents=True, exist_ok=True)
    for name, (address, theme) in README.items():
        context = signed_in(browser, live_server, staff if "admin" in address else buyer)
        page = context.new_page()
        page.set_viewport_size({"width": 1440 if "admin" in address else 1200, "height": 800})
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        page.goto(address.format(service=shop[0].pk))
        fill(page, page.url)
        page.screenshot(path=FOLDER / "readme" / f"{name}.png")
        context.close()


def _name(address: str) -> str:
    return re.sub(r"\W+", "-", address).strip("-") or "home"


@pytest.mark.timeout(900)
def test_draw_every_page(
    browser: Browser, live_server: LiveServer, buyer: User, staff: User, shop: list[Service]
) -> None:
    FOLDER.mkdir(exist_ok=True)
    partial = Order.objects.get(status="partial")
    rounds: list[tuple[User | None, list[str]]] = [
        (buyer, pages_of(partial, shop)), (None, VISITORS), (staff, STAFF),
    ]  # fmt: skip
    for user, addresses in rounds:
        context = signed_in(browser, live_server, user)
        page = context.new_page()
        page.set_default_timeout(30_000)
        for address in addresses:
            draw(page, address, _name(address))
        context.close()

    assert len(list(Path(FOLDER).glob("*.png"))) >= 4 * sum(len(each) for _, each in rounds)
