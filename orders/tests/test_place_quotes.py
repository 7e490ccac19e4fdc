"""What an order would be, and which orders can't be: rules by table."""

from collections.abc import Mapping
from decimal import Decimal

import pytest
from django.utils import translation

from catalog.models import Category, Provider, Service
from orders.errors import InvalidOrder, NotOnSale
from orders.quotes import Quote, quote
from upstream.order_types import ORDER_TYPES

LINK = "https://example.com/p/1"


def service_of_type(order_type: str, **fields: object) -> Service:
    """An unsaved service: a quote asks nothing of the database."""
    values: dict[str, object] = {
        "provider": Provider(name="Upstream", exchange_rate=Decimal(1)),
        "category": Category(name="Followers"),
        "order_type": order_type,
        "cost_rate": Decimal(1),
        "price_rate": Decimal(2),
        "min_quantity": 10,
        "max_quantity": 1000,
        **fields,
    }
    return Service(**values)


def errors_of(service: Service, values: Mapping[str, str]) -> dict[str, str]:
    with pytest.raises(InvalidOrder) as refusal:
        quote(service, values)
    return refusal.value.errors


def comments(count: int) -> str:
    return "\n".join(f"comment {number}" for number in range(count))


@pytest.mark.parametrize(
    ("order_type", "values", "units", "charge"),
    [
        ("default", {"link": LINK, "quantity": "100"}, 100, "0.2"),
        ("default", {"link": LINK, "quantity": " 0100 "}, 100, "0.2"),
        ("default", {"link": LINK, "quantity": "100", "runs": "5", "interval": "10"}, 500, "1"),
        ("package", {"link": LINK}, 1, "2"),
        ("customcomments", {"link": LINK, "comments": comments(12)}, 12, "0.024"),
        ("customcomments", {"link": LINK, "comments": comments(12) + "\r\n\r\n  "}, 12, "0.024"),
        ("customcommentspackage", {"link": LINK, "comments": "one"}, 1, "2"),
        ("mentionscustomlist", {"link": LINK, "usernames": comments(10)}, 10, "0.02"),
        (
            "subscriptions",
            {"username": "watched", "min": "10", "max": "20", "posts": "3", "old_posts": "2",
             "delay": "0"},
            100,
            "0.2",
        ),
    ],
)  # fmt: skip
def test_units_and_charge_follow_the_type(
    order_type: str, values: dict[str, str], units: int, charge: str
) -> None:
    found = quote(service_of_type(order_type, dripfeed=True), values)

    assert found.units == units
    assert found.charge == Decimal(charge)
    assert found.cost == Decimal(charge) / 2
    assert found.expected_charge == Decimal(charge) / 2


def test_every_type_the_client_knows_can_be_quoted() -> None:
    everything = {
        "link": LINK, "quantity": "100", "comments": comments(10), "usernames": comments(10),
        "keywords": "a", "hashtags": "a", "hashtag": "a", "username": "a", "media": LINK,
        "answer_number": "1", "groups": "a", "min": "10", "max": "20", "posts": "1", "delay": "0",
        "country": "US", "device": "1", "type_of_traffic": "3",
    }  # fmt: skip
    quotes: list[Quote] = [quote(service_of_type(kind.key), everything) for kind in ORDER_TYPES]

    assert [found.order_type for found in quotes] == [kind.key for kind in ORDER_TYPES]
    assert all(found.charge > 0 for found in quotes)


@pytest.mark.parametrize(
    ("order_type", "values", "field"),
    [
        ("default", {"quantity": "100"}, "link"),
        ("default", {"link": "  ", "quantity": "100"}, "link"),
        ("default", {"link": LINK}, "quantity"),
        ("default", {"link": LINK, "quantity": "9"}, "quantity"),
        ("default", {"link": LINK, "quantity": "1001"}, "quantity"),
        ("default", {"link": LINK, "quantity": "-100"}, "quantity"),
        ("default", {"link": LINK, "quantity": "1e2"}, "quantity"),
        ("default", {"link": LINK, "quantity": "1.5"}, "quantity"),
        ("default", {"link": LINK, "quantity": "٣٠٠"}, "quantity"),
        ("default", {"link": LINK, "quantity": "9" * 30}, "quantity"),
        ("default", {"link": LINK, "quantity": "500", "runs": "3", "interval": "5"}, "quantity"),
        ("default", {"link": LINK, "quantity": "5", "runs": "3", "interval": "5"}, "quantity"),
        ("default", {"link": LINK, "quantity": "100", "runs": "1", "interval": "5"}, "runs"),
        ("default", {"link": LINK, "quantity": "100", "runs": "3"}, "interval"),
        ("customcomments", {"link": LINK, "comments": comments(9)}, "comments"),
        ("customcomments", {"link": LINK, "comments": comments(1001)}, "comments"),
        ("customcomments", {"link": LINK, "comments": "\n \n"}, "comments"),
        ("mentionscustomlist", {"link": LINK, "usernames": "one"}, "usernames"),
        ("subscriptions", {"username": "a", "min": "9", "max": "20", "posts": "1", "delay": "0"},
         "min"),
        ("subscriptions", {"username": "a", "min": "10", "max": "1001", "posts": "1",
                           "delay": "0"}, "max"),
        ("subscriptions", {"username": "a", "min": "30", "max": "20", "posts": "1", "delay": "0"},
         "min"),
        ("subscriptions", {"username": "a", "min": "10", "max": "20", "delay": "0"}, "posts"),
        ("subscriptions", {"username": "a", "min": "10", "max": "20", "posts": "9" * 12,
                           "delay": "0"}, "posts"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_at_its_field(
    order_type: str, values: dict[str, str], field: str
) -> None:
    found = errors_of(service_of_type(order_type, dripfeed=True), values)

    assert list(found) == [field]
    assert found[field].endswith(".")


@pytest.mark.parametrize(
    "link",
    [
        "https://example.com/p/1",
        "HTTP://EXAMPLE.COM",
        "http://example.com:8080/x?y=1#z",
        "example.com/p/1",
        "example.com:8080/p",
        "@some.name",
        "plain_handle",
        "spotify:track:4uLU6hMCjMI75M1A2tKUQC",
        "имя_пользователя",
    ],
)
def test_web_addresses_and_plain_names_are_links(link: str) -> None:
    found = quote(service_of_type("default"), {"link": f" {link} ", "quantity": "10"})

    assert found.link == link
    assert found.parameters["link"] == link


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "http:example.com",
        "https://",
        "two words",
        "line\nbreak",
        "nul\x00byte",
        "right\u202eto-left",
        "https://example.com/" + "x" * 1000,
    ],
)
def test_what_could_run_or_hide_is_no_link(link: str) -> None:
    found = errors_of(service_of_type("default"), {"link": link, "quantity": "10"})

    assert list(found) == ["link"]


def test_dripfeed_is_for_services_that_have_it() -> None:
    values = {"link": LINK, "quantity": "100", "runs": "2", "interval": "5"}

    assert quote(service_of_type("default", dripfeed=True), values).units == 200
    assert list(errors_of(service_of_type("default"), values)) == ["runs"]


@pytest.mark.parametrize(
    "unsold",
    [
        {"is_sold": False},
        {"is_present": False},
        {"is_held": True},
        {"refusal": Service.Refusal.TYPE},
        {"provider": Provider(exchange_rate=1, is_enabled=False)},
        {"category": Category(name="Hidden", is_visible=False)},
        {"order_type": "special"},
        {"order_type": ""},
    ],
)
def test_what_is_not_on_sale_has_no_price(unsold: dict[str, object]) -> None:
    service = service_of_type("default")
    for name, value in unsold.items():
        setattr(service, name, value)

    with pytest.raises(NotOnSale):
        quote(service, {"link": LINK, "quantity": "10"})


def test_charge_goes_up_to_a_hundred_thousandth_and_cost_follows_the_exchange_rate() -> None:
    service = service_of_type(
        "default",
        provider=Provider(exchange_rate=Decimal("0.0333333")),
        cost_rate=Decimal("0.0007"),
        price_rate=Decimal("0.0001"),
    )

    found = quote(service, {"link": LINK, "quantity": "11"})

    assert found.charge == Decimal("0.00001")  # 0.0000011, never nothing
    assert found.cost == Decimal("0.00001")
    assert found.expected_charge == Decimal("0.000008")  # 0.0000077 in the provider's currency


def test_an_amount_that_can_not_be_stored_is_refused() -> None:
    service = service_of_type(
        "default", price_rate=Decimal(99_999_999), max_quantity=10**9, cost_rate=Decimal(1)
    )

    assert list(errors_of(service, {"link": LINK, "quantity": str(10**9)})) == ["quantity"]


def test_sentences_are_translated_with_their_numbers() -> None:
    with translation.override("en"):
        found = errors_of(service_of_type("default"), {"link": "x" * 3000, "quantity": "x"})

    assert found == {
        "link": "At most 2,000 characters.",
        "quantity": "Enter a whole number.",
    }
