"""Each order type from the form to the provider: what arrives there, and what it costs here."""

import re
from decimal import Decimal
from html import unescape

import pytest
from django.test import Client

from accounts.models import User
from catalog.models import Service
from orders.fulfilment import run_due
from orders.models import Order
from orders.tests.worlds import FOLLOWERS, KEY, buy_from
from upstream.simulator import Simulator

LINK = "https://example.com/p/1"
# What is typed into each field, as a browser sends it.
TYPED = {
    "link": f"  {LINK} ",
    "quantity": "100",
    "comments": "Great!\r\n\r\n  So nice \r\n🔥",
    "usernames": "anna\r\nben\r\ncarl\r\n",
    "username": "anna",
    "keywords": "shoes\r\nred shoes",
    "hashtags": "#sun\r\n#sea",
    "hashtag": "#sun",
    "media": "https://example.com/media/9",
    "answer_number": "2",
    "groups": "group one\r\ngroup two",
    "min": "10",
    "max": "20",
    "posts": "2",
    "delay": "30",
    "country": "TR",
    "device": "1",
    "type_of_traffic": "1",
    "google_keyword": "running shoes",
}
# What must arrive; the rest arrives as it was typed.
SENT = {
    "link": LINK,
    "comments": "Great!\nSo nice\n🔥",
    "usernames": "anna\nben\ncarl",
    "keywords": "shoes\nred shoes",
    "hashtags": "#sun\n#sea",
    "groups": "group one\ngroup two",
}
# The type as price lists spell it, its fields, and the charge at 2 per 1000.
TYPES = [
    ("Default", "link quantity", "0.2"),
    ("Package", "link", "2"),
    ("SEO", "link quantity keywords", "0.2"),
    ("Custom Comments", "link comments", "0.006"),
    ("Custom Comments Package", "link comments", "2"),
    ("Mentions", "link quantity usernames", "0.2"),
    ("Mentions with Hashtags", "link quantity usernames hashtags", "0.2"),
    ("Mentions Custom List", "link usernames", "0.006"),
    ("Mentions Hashtag", "link quantity hashtag", "0.2"),
    ("Mentions User Followers", "link quantity username", "0.2"),
    ("Mentions Media Likers", "link quantity media", "0.2"),
    ("Comment Likes", "link quantity username", "0.2"),
    ("Comment Replies", "link username comments", "0.006"),
    ("Poll", "link quantity answer_number", "0.2"),
    ("Invites from Groups", "link quantity groups", "0.2"),
    ("Subscriptions", "username min max posts delay", "0.08"),
    (
        "Web Traffic",
        "link quantity country device type_of_traffic google_keyword",
        "0.2",
    ),
]


def hidden(page: str) -> dict[str, str]:
    form = page[page.index('class="split"') :]
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form)
    return {name: unescape(value) for name, value in found}


def order_through_the_form(client: Client, service: Service, typed: dict[str, str]) -> Order:
    """Draw the form, see the charge, place the order: as without scripts."""
    drawn = client.get(f"/orders/new/?service={service.pk}").content.decode()
    for name in typed:
        assert f'name="{name}"' in drawn
    fields = hidden(drawn) | typed
    priced = client.post("/orders/new/", fields | {"action": "quote"}).content.decode()
    client.post("/orders/new/", fields | hidden(priced) | {"action": "place"})
    return Order.objects.get()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("name", "fields", "charge"), TYPES, ids=[each[0] for each in TYPES])
def test_what_is_filled_in_arrives_at_the_provider_and_is_charged_right(
    client: Client, customer: User, simulator: Simulator, name: str, fields: str, charge: str
) -> None:
    simulator.world.sell([FOLLOWERS | {"type": name, "min": "1"}])
    service = buy_from(simulator)
    Service.objects.update(type=name, order_type=name.lower().replace(" ", ""), min_quantity=1)
    client.force_login(customer)
    typed = {field: TYPED[field] for field in fields.split()}

    order = order_through_the_form(client, service, typed)
    run_due(10)

    [arrived] = [each for each in simulator.world.truth()["orders"] if each["parent"] in (None, "")]
    wanted = {field: SENT.get(field, TYPED[field]) for field in typed}
    assert arrived["fields"] == wanted | {"service": "1"}
    order.refresh_from_db()
    assert order.charge == Decimal(charge)
    assert order.upstream_id == str(arrived["order"])
    page = client.get(f"/orders/{order.pk}/").content.decode()
    assert "Accepted" in page
    assert KEY not in page
