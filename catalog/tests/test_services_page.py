from decimal import Decimal

import pytest
from django.db import connection
from django.db.models import Q
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from catalog.models import Category, Provider, Service
from catalog.search import Found, words_of
from catalog.shelves import on_sale, shelves
from tests.crowds import multiply

MOST_QUERIES = 8
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
    return [each.title for each in found(text, category)[0:1000]]


def found(text: str, category: int | None = None) -> Found:
    among = Q() if category is None else Q(category_id=category)
    stock = shelves() if category is None else shelves().of(category)
    return Found(on_sale().filter(among), words_of(text), stock, among=among)


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
    assert titles("likes", tiktok.pk) == ["Likes, slow"]


def test_a_category_that_says_every_word_is_counted_whole(
    services: None, provider: Provider
) -> None:
    Service.objects.bulk_create([add(provider, 10, "TikTok shares", "Instagram")])

    assert titles("TIKtok") == ["TikTok shares", "Likes, slow", "Plays"]
    assert found("tiktok").count() == 3
    # "s" is in the category, so only the other word is asked of the names.
    assert titles("insta s slow") == []
    assert titles("insta share") == ["TikTok shares"]


def test_what_is_found_too_often_is_counted_and_shown_up_to_a_thousand(
    services: None, provider: Provider, signed_in: Client
) -> None:
    names = [f"Saves {number}" for number in range(1100)]
    Service.objects.bulk_create(
        add(provider, 100 + number, name, "A" if number < 20 else "Z")
        for number, name in enumerate(names)
    )

    first = signed_in.get("/services/?q=saves")
    last = signed_in.get("/services/?q=saves&page=99").context["page"]

    assert [each.title for each in first.context["page"].object_list] == names[:50]
    assert "1,000+ services" in first.content.decode()
    assert (last.number, [each.title for each in last.object_list]) == (20, names[950:1000])
    # Late in the catalogue's order, so the first shelves don't have a page of them.
    assert titles("saves 10")[:2] == ["Saves 10", "Saves 100"]
    dear = signed_in.get("/services/?q=saves&sort=-price").context["page"].object_list
    assert [each.title for each in dear] == names[:-51:-1]
    # A category that says the word is known to match whole, so it is counted beyond a thousand.
    Category.objects.filter(name="Z").update(own_name="All saves")
    page = signed_in.get("/services/?q=saves&page=22")
    assert "1,100 services" in page.content.decode()
    assert [each.title for each in page.context["page"].object_list] == names[1050:]


def test_words_and_platforms_narrow_favourites_too(signed_in: Client, services: None) -> None:
    for service in Service.objects.on_sale():
        signed_in.post("/services/favourite/", {"service": service.pk})

    def shown(query: str) -> list[str]:
        page = signed_in.get(f"/services/?favourites=1&{query}").context["page"]
        return [each.title for each in page.object_list]

    assert shown("q=likes") == ["Likes, fast", "Likes, slow"]
    assert shown("q=tiktok") == ["Likes, slow", "Plays"]
    assert shown("platform=tiktok&sort=-price") == ["Plays", "Likes, slow"]


def test_a_heading_that_names_no_platform_leaves_it_to_its_services(
    signed_in: Client, services: None, provider: Provider
) -> None:
    Service.objects.bulk_create(
        [
            add(provider, 10, "TIKTOK shares", "Best of all"),
            add(provider, 11, "Shares", "Best of all", own_name="TikTok shares, ours"),
            add(provider, 12, "TikTok plays", "Best of all", own_name="Plays"),
            add(provider, 13, "For TikTok and others", "Instagram"),
        ]
    )

    page = signed_in.get("/services/?platform=tiktok").context["page"]
    cheap = signed_in.get("/services/?platform=tiktok&sort=price").context["page"]

    expected = ["TIKTOK shares", "TikTok shares, ours", "Likes, slow", "Plays"]
    assert [each.title for each in page.object_list] == expected
    assert page.paginator.count == cheap.paginator.count == 4
    found = signed_in.get("/services/?platform=tiktok&q=shares").context["page"]
    assert [each.title for each in found.object_list] == expected[:2]


@pytest.mark.parametrize("text", ["%", "_", "'; --", "9" * 60, "a " * 500, "\x00"])
def test_hostile_words_find_nothing_and_break_nothing(
    services: None, signed_in: Client, text: str
) -> None:
    page = signed_in.get("/services/", {"q": text})

    assert page.status_code == 200


def test_only_categories_with_something_on_sale_are_offered(services: None) -> None:
    other = Provider.objects.create(name="Other", url="http://127.0.0.1:9", api_key="k")
    Service.objects.bulk_create(
        [add(other, 1, "Likes", "TikTok"), add(other, 2, "Likes", "Elsewhere")]
    )
    Provider.objects.filter(pk=other.pk).update(is_enabled=False)

    found = shelves()

    assert [(each.title, count) for each, count in found.rows] == [("Instagram", 1), ("TikTok", 2)]
    assert [each.key for each in found.platforms] == ["instagram", "tiktok"]


def test_every_service_is_on_one_page_whatever_the_shelves(
    signed_in: Client, services: None, provider: Provider
) -> None:
    Service.objects.bulk_create(
        add(provider, number, f"Service {number}", f"Category {number % 7}")
        for number in range(100, 230)
    )
    expected = [each.pk for each in on_sale()]

    pages = [signed_in.get(f"/services/?page={number}").context["page"] for number in (1, 2, 3)]

    assert [each.pk for page in pages for each in page.object_list] == expected
    assert pages[0].paginator.num_pages == 3
    chosen = Category.objects.get(name="Category 3")
    page = signed_in.get(f"/services/?category={chosen.pk}").context["page"]
    assert page.paginator.count == len(page.object_list) == 19
    assert not signed_in.get("/services/?category=999999").context["page"].object_list


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


@pytest.mark.parametrize("address", ["/services/", "/orders/new/"])
def test_the_categories_are_escaped_cut_and_kept_chosen(
    signed_in: Client, services: None, address: str
) -> None:
    Category.objects.filter(name="Instagram").update(own_name="<b>" + "Long " * 20)
    Category.objects.filter(name="TikTok").update(position=-1)
    chosen = Category.objects.get(name="TikTok").pk

    page = signed_in.get(f"{address}?category={chosen}").content.decode()

    select = page[page.index('<select id="id_category"') : page.index("</select>")]
    assert "<b>" not in select
    assert f'<option value="{chosen}" selected>TikTok</option>' in select
    assert "&lt;b&gt;Long" in select
    assert "…</option>" in select
    assert select.index("TikTok") < select.index("&lt;b&gt;")
    assert "Hidden" not in select


def test_services_are_sorted_by_price(signed_in: Client, services: None) -> None:
    Service.objects.filter(name="Likes, slow").update(price_rate=1)

    cheap = signed_in.get("/services/?sort=price").context["page"].object_list
    dear = signed_in.get("/services/?sort=-price").context["page"].object_list

    assert cheap[0].name == "Likes, slow"
    assert dear[len(dear) - 1].name == "Likes, slow"


def test_an_empty_search_says_what_to_do_next(signed_in: Client, services: None) -> None:
    assert "Try fewer or other words" in signed_in.get("/services/?q=zzz").content.decode()


def test_the_page_weighs_the_same_at_20000_services(
    signed_in: Client,
    provider: Provider,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    groups = [
        Category(name=f"A TikTok category with a rather long name {number}")
        for number in range(400)
    ]
    first = Category.objects.bulk_create(groups)[0]
    service = add(
        provider, 0, "🔥 INSTANT START – SUPER FAST – LIFETIME GUARANTEE " * 2, first.name,
        price_rate=Decimal("1.2345678"), max_quantity=1_000_000,
    )  # fmt: skip
    service.save()
    changes = {"upstream_id": "n", "name": "name || n", "category_id": f"{first.pk} + n % 400"}
    multiply(service, 19_999, changes)

    addresses = (
        "/services/", "/services/?q=instant", "/services/?page=399", "/services/?sort=-price",
        "/services/?q=long&sort=price", "/services/?platform=tiktok&page=2",
    )  # fmt: skip
    for address in addresses:
        with django_assert_max_num_queries(MOST_QUERIES, info=address):
            page = signed_in.get(address)
        assert len(page.context["page"].object_list) == 50, address
        assert len(page.content) <= MOST_BYTES, address


@pytest.mark.postgres
def test_no_page_reads_every_service(signed_in: Client, provider: Provider) -> None:
    """By PostgreSQL's own plans; nothing is found so rarely or so often that it reads them all."""
    groups = Category.objects.bulk_create(
        Category(name=f"{name} likes {number}") for number in range(100) for name in ("TikTok", "X")
    )
    service = add(provider, 0, "Instant start, lifetime guarantee", groups[0].name)
    service.save()
    changes = {
        "upstream_id": "n",
        "name": "name || ' no. ' || n",
        "category_id": f"{groups[0].pk} + n % 200",
        "price_rate": "2 + n % 1000",
    }
    multiply(service, 10_000, changes)
    with connection.cursor() as cursor:
        # As autovacuum would soon.
        cursor.execute("SELECT gin_clean_pending_list('service_by_part_of_name')")
        cursor.execute("ANALYZE catalog_service")

    for address, index in {
        "/services/": "category_id",
        "/services/?sort=price": "service_sold_by_price",
        "/services/?sort=-price": "service_sold_by_price",
        "/services/?platform=tiktok": "category_id",
        "/services/?q=9876": "service_by_part_of_name",
        "/services/?q=tiktok": "service_by_part_of_name",
        "/orders/new/": "category_id",
        "/orders/new/results/?q=9876": "service_by_part_of_name",
    }.items():
        plans = _plans_of_services(signed_in, address)
        assert index in plans, f"{address}: {plans}"
        assert "Seq Scan on catalog_service" not in plans, f"{address}: {plans}"


def _plans_of_services(client: Client, address: str) -> str:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    asked = [query["sql"] for query in queries.captured_queries]
    plans: list[str] = []
    with connection.cursor() as cursor:
        for sql in asked:
            # The count of the shelves is read from an index when the table has been vacuumed, which
            # no test's transaction can do.
            if "catalog_service" in sql and ("COUNT(" not in sql or "LIKE" in sql):
                cursor.execute(f"EXPLAIN {sql}")
                plans += (line for (line,) in cursor.fetchall())
    return "\n".join(plans)


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


@pytest.mark.parametrize("target", ["x", "%", "services"])
def test_a_star_leads_on_whatever_the_form_says(
    signed_in: Client, service: Service, target: str
) -> None:
    form = {"service": service.pk, "next": target}

    assert signed_in.post("/services/favourite/", form).status_code == 302


def test_visitors_read_the_price_list_when_the_operator_wants(
    client: Client, service: Service, settings: Settings
) -> None:
    assert client.get("/services/")["Location"] == "/accounts/login/?next=/services/"

    settings.PUBLIC_CATALOG = True

    page = client.get("/services/").content.decode()
    assert "Followers, fast" in page
    assert "star" not in page
    assert "/services/" in client.get("/").content.decode()
