"""What is found, in the catalogue's order, and how little is asked for it."""

import pytest
from django.db import connection
from django.db.models import Q
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from catalog.models import Category, Provider, Service
from catalog.search import MOST_FOUND, Found, words_of
from catalog.shelves import is_named, is_named_among_few, on_sale, shelves
from catalog.tests.test_services_page import add
from tests.crowds import multiply

EVERYWHERE, FAR, RARE, HEADING = "instant", "seldom", "9999", "likes"


@pytest.fixture
def crowd(provider: Provider) -> None:
    """2,000 services of 40 categories: a word nearly everywhere, one only far behind, one rare."""
    headings = Category.objects.bulk_create(
        Category(name=f"{'Likes' if number % 8 == 5 else 'Views'} {number:02}")
        for number in range(40)
    )
    service = add(provider, 0, "template", headings[0].name, is_sold=False)
    service.save()
    multiply(
        service,
        2_000,
        {
            "upstream_id": "n",
            "is_sold": "true",
            "category_id": f"{headings[0].pk} + n % 40",
            "name": "'No. ' || n || CASE WHEN n % 20 = 7 THEN '' ELSE ' Instant' END",
            "own_name": "CASE WHEN n % 40 >= 20 THEN 'SELDOM ' || n || ' instant' ELSE '' END",
        },
    )
    Service.objects.filter(upstream_id="1234").update(name=f"{RARE} things", own_name="")


def plainly(text: str) -> list[int]:
    """As one condition over all that is on sale would have it."""
    found = on_sale()
    for word in text.split():
        found = found.filter(is_named(word) | Q(category__name__icontains=word))
    return [each.pk for each in found]


@pytest.mark.parametrize(
    "text",
    [
        EVERYWHERE, FAR, RARE + " things", HEADING, "views", f"{FAR} {EVERYWHERE}",
        f"{HEADING} {EVERYWHERE}", f"{HEADING} {FAR}", "no.", "nowhere", "INSTANT views",
    ],
)  # fmt: skip
def test_the_first_of_them_are_the_first_in_the_catalogue(crowd: None, text: str) -> None:
    expected = plainly(text)
    stock = shelves()

    uncounted = Found(on_sale(), words_of(text), stock)
    counted = Found(on_sale(), words_of(text), stock)
    total = counted.count()

    assert [each.pk for each in uncounted[0:51]] == expected[:51]
    assert [each.pk for each in counted[0:50]] == expected[:50]
    assert [each.pk for each in counted[50:100]] == expected[50:100]
    assert total == len(expected) or (counted.is_more and total == MOST_FOUND < len(expected))


def asked_of_services(client: Client, address: str) -> list[str]:
    client.get(address)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    return [
        each["sql"] for each in queries.captured_queries if 'FROM "catalog_service"' in each["sql"]
    ]


@pytest.mark.parametrize(
    ("text", "most"), [(EVERYWHERE, 1), (FAR, 3), ("nowhere", 3), (HEADING, 2), ("no. 1234", 3)]
)
def test_a_search_while_typing_counts_nothing_that_it_soon_finds(
    crowd: None, client: Client, customer: User, text: str, most: int
) -> None:
    client.force_login(customer)

    asked = asked_of_services(client, f"/orders/new/results/?q={text}")

    assert len(asked) <= most
    assert all("LIMIT" in sql for sql in asked)


def test_a_small_catalogue_is_looked_through_once(
    client: Client, customer: User, provider: Provider
) -> None:
    Service.objects.bulk_create(
        add(provider, number, f"Likes {number}", f"Heading {number % 3}") for number in range(30)
    )
    client.force_login(customer)

    assert len(asked_of_services(client, "/orders/new/results/?q=29")) == 2  # a number: any service
    assert len(asked_of_services(client, "/orders/new/results/?q=likes")) == 1
    assert len(asked_of_services(client, "/orders/new/results/?q=nothing")) == 1


@pytest.mark.parametrize("word", ["fast", "FAST", "own", "given", "%", "_", "\\"])
def test_both_ways_of_looking_at_a_name_find_the_same(provider: Provider, word: str) -> None:
    names = [("Fast, given", ""), ("Fast, given", "My own"), ("100%", "fast_own"), ("\\", "")]
    Service.objects.bulk_create(
        add(provider, number, name, "Any", own_name=own) for number, (name, own) in enumerate(names)
    )

    one = Service.objects.filter(is_named(word)).order_by("pk")
    other = Service.objects.filter(is_named_among_few(word)).order_by("pk")

    assert list(one) == list(other)
    assert word != "fast" or len(one) == 2
