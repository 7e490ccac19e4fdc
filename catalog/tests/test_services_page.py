from decimal import Decimal

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from catalog.models import Category, Provider, Service
from catalog.search import categories, search

MOST_QUERIES = 12
MOST_BYTES = 60_000


@pytest.fixture
def signed_in(client: Client, customer: User) -> Client:
    client.force_login(customer)
    return client


def add(provider: Provider, number: int, name: str, category: str, **fields: object) -> Service:
    values: dict[str, object] = {
        "provider": provider,
        "category": Category.objects.get_or_create(name=category)[0],
        "upstream_id": str(number),
        "name": name,
        "type": "Default",
        "order_type": "default",
        "cost_rate": Decimal(1),
        "price_rate": Decimal(2),
        "min_quantity": 10,
        "max_quantity": 1000,
    }
    return Service(**(values | fields))


def titles(text: str, category: int | None = None) -> list[str]:
    return [found.title for found in search(text, category)]


@pytest.fixture
def services(provider: Provider) -> None:
    Service.objects.bulk_create(
        [
            add(provider, 1, "Likes, fast", "Instagram"),
            add(provider, 2, "Likes, slow", "TikTok"),
            add(provider, 3, "VIEWS", "TikTok", own_name="Plays"),
            add(provider, 4, "Likes, held", "TikTok", is_held=True),
            add(provider, 5, "Likes, stopped", "TikTok", is_sold=False),
            add(provider, 6, "Likes, gone", "TikTok", is_present=False),
            add(provider, 7, "Likes, hidden", "Hidden"),
        ]
    )
    Category.objects.filter(name="Hidden").update(is_visible=False)


def test_every_word_must_be_in_the_name_or_the_category(services: None) -> None:
    assert titles("likes") == ["Likes, fast", "Likes, slow"]
    assert titles("tiktok LIKES") == ["Likes, slow"]
    assert titles("likes nothing") == []


def test_the_own_name_is_what_customers_find(services: None) -> None:
    assert titles("plays") == ["Plays"]
    assert titles("views") == []


def test_a_number_finds_the_service_first(services: None) -> None:
    wanted = Service.objects.get(name="Likes, slow")

    assert titles(str(wanted.pk))[0] == "Likes, slow"
    assert titles(f"#{wanted.pk}")[0] == "Likes, slow"


def test_a_category_narrows_the_search(services: None) -> None:
    tiktok = Category.objects.get(name="TikTok")

    assert titles("", tiktok.pk) == ["Likes, slow", "Plays"]


@pytest.mark.parametrize("text", ["%", "_", "'; --", "9" * 60, "a " * 500, "\x00"])
def test_hostile_words_find_nothing_and_break_nothing(
    services: None, signed_in: Client, text: str
) -> None:
    page = signed_in.get("/services/", {"q": text})

    assert page.status_code == 200


def test_only_categories_with_something_on_sale_are_offered(services: None) -> None:
    assert [category.title for category in categories(10)] == ["Instagram", "TikTok"]
    assert len(categories(1)) == 1


def test_the_page_shows_price_limits_and_the_way_to_order(
    signed_in: Client, service: Service
) -> None:
    page = signed_in.get("/services/").content.decode()

    assert "$2.00" in page
    assert "10,000" in page
    assert f"/orders/new/?service={service.pk}" in page


def test_names_are_escaped(signed_in: Client, service: Service) -> None:
    Service.objects.update(name="<script>alert(1)</script>")

    assert "<script>alert" not in signed_in.get("/services/").content.decode()


def test_services_are_sorted_by_price(signed_in: Client, services: None) -> None:
    Service.objects.filter(name="Likes, slow").update(price_rate=1)

    cheap = signed_in.get("/services/?sort=price").context["page"].object_list
    dear = signed_in.get("/services/?sort=-price").context["page"].object_list

    assert cheap[0].name == "Likes, slow"
    assert dear[len(dear) - 1].name == "Likes, slow"


def test_an_empty_search_says_what_to_do_next(signed_in: Client, services: None) -> None:
    assert "Try fewer or other words" in signed_in.get("/services/?q=zzz").content.decode()


@pytest.mark.parametrize("address", ["/services/", "/services/?q=instant", "/services/?page=399"])
def test_the_page_weighs_the_same_at_20000_services(
    signed_in: Client,
    provider: Provider,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    address: str,
) -> None:
    names = [
        f"🔥 INSTANT START – SUPER FAST – LIFETIME GUARANTEE {number}" for number in range(300)
    ]
    groups = [
        Category(name=f"A category with a rather long name {number}") for number in range(400)
    ]
    Category.objects.bulk_create(groups)
    Service.objects.bulk_create(
        [
            Service(
                provider=provider,
                category=groups[number % 400],
                upstream_id=str(number),
                name=names[number % 300] * 2,
                order_type="default",
                cost_rate=1,
                price_rate=Decimal("1.2345678"),
                max_quantity=1_000_000,
            )
            for number in range(20_000)
        ],
        batch_size=2000,
    )

    with django_assert_max_num_queries(MOST_QUERIES):
        page = signed_in.get(address)

    assert len(page.context["page"].object_list) == 50
    assert len(page.content) <= MOST_BYTES


def test_platforms_are_offered_by_what_is_on_sale_and_narrow_the_list(
    signed_in: Client, services: None
) -> None:
    page = signed_in.get("/services/")
    assert [each.key for each in page.context["platforms"]] == ["instagram", "tiktok"]

    found = signed_in.get("/services/?platform=tiktok").context["page"].object_list

    assert [each.title for each in found] == ["Likes, slow", "Plays"]
    assert len(signed_in.get("/services/?platform=nonsense").context["page"].object_list) == 3


def test_a_favourite_is_kept_and_let_go(signed_in: Client, service: Service) -> None:
    def favourites() -> list[str]:
        page = signed_in.get("/services/?favourites=1").context["page"]
        return [each.title for each in page.object_list]

    assert favourites() == []
    answer = signed_in.post(
        "/services/favourite/", {"service": service.pk, "next": "/services/?q=f"}
    )
    assert answer["Location"] == f"/services/?q=f#s{service.pk}"
    assert favourites() == ["Followers, fast"]
    assert "Favourites" in signed_in.get("/orders/new/").content.decode()

    button = signed_in.post(
        "/services/favourite/", {"service": service.pk}, headers={"HX-Request": "true"}
    )

    assert 'aria-pressed="false"' in button.content.decode()
    assert favourites() == []


def test_favourites_are_ones_own(signed_in: Client, service: Service) -> None:
    signed_in.post("/services/favourite/", {"service": service.pk})
    other = Client()
    other.force_login(User.objects.create_user("other@example.com"))

    assert len(other.get("/services/?favourites=1").context["page"].object_list) == 0


@pytest.mark.parametrize("number", ["", "x", "999999", "-1"])
def test_what_is_no_service_can_not_be_kept(
    signed_in: Client, service: Service, number: str
) -> None:
    assert signed_in.post("/services/favourite/", {"service": number}).status_code == 404


def test_a_star_leads_to_no_other_site(signed_in: Client, service: Service) -> None:
    answer = signed_in.post(
        "/services/favourite/", {"service": service.pk, "next": "https://evil.example/"}
    )

    assert answer["Location"].startswith("/services/#")


def test_visitors_read_the_price_list_when_the_operator_wants(
    client: Client, service: Service, settings: Settings
) -> None:
    assert client.get("/services/")["Location"] == "/accounts/login/?next=/services/"

    settings.PUBLIC_CATALOG = True

    page = client.get("/services/").content.decode()
    assert "Followers, fast" in page
    assert "star" not in page
    assert "/services/" in client.get("/").content.decode()
