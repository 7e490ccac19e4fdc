import re
import uuid
from decimal import Decimal
from html import unescape

import pytest
from django.test import Client
from django.utils import translation
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from catalog.models import Service
from orders.forms import OrderForm
from orders.models import Order
from upstream.order_types import ORDER_TYPES, OrderType
from wallet.context_processors import balance_of
from wallet.models import Account

MOST_QUERIES = 8
MOST_BYTES = 60_000
LINK = "https://example.com/p/1"


@pytest.fixture
def signed_in(client: Client, customer: User) -> Client:
    client.force_login(customer)
    return client


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of the order form, as a browser would send them back."""
    form = page[page.index('class="split"') :]
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form)
    return {name: unescape(value) for name, value in found if name != "csrfmiddlewaretoken"}


def drawn(client: Client, service: Service) -> dict[str, str]:
    return hidden(client.get(f"/orders/new/?service={service.pk}").content.decode())


def seen(client: Client, service: Service, **fields: str) -> dict[str, str]:
    """The form after the first press, which shows the charge."""
    first = drawn(client, service) | {"link": LINK, "quantity": "1000"} | fields
    page = client.post("/orders/new/", first | {"action": "quote"})
    return first | hidden(page.content.decode())


def test_an_order_is_found_filled_in_seen_and_placed_without_scripts(
    signed_in: Client, service: Service, customer: User
) -> None:
    found = signed_in.get("/orders/new/?q=followers").content.decode()
    assert f"/orders/new/?service={service.pk}" in found
    form = signed_in.get(f"/orders/new/?service={service.pk}").content.decode()
    assert "Show the charge" in form

    fields = hidden(form) | {"link": LINK, "quantity": "1000"}
    priced = signed_in.post("/orders/new/", fields | {"action": "quote"}).content.decode()
    assert "Place order · $2.00" in priced
    assert "$8.00" in priced
    assert not Order.objects.exists(), "the first press only shows the charge"

    fields |= hidden(priced)
    placed = signed_in.post("/orders/new/", fields | {"action": "place"})

    order = Order.objects.get()
    assert placed["Location"] == f"/orders/{order.pk}/?placed"
    assert (order.link, order.quantity, order.charge) == (LINK, 1000, Decimal(2))
    assert balance_of(customer.pk) == 8


def test_a_form_sent_twice_is_one_order(signed_in: Client, service: Service) -> None:
    fields = seen(signed_in, service)

    first = signed_in.post("/orders/new/", fields | {"action": "place"})
    second = signed_in.post("/orders/new/", fields | {"action": "place"})

    assert first["Location"] == second["Location"]
    assert Order.objects.count() == 1


def test_a_used_form_with_other_content_asks_before_it_orders_again(
    signed_in: Client, service: Service
) -> None:
    fields = seen(signed_in, service)
    signed_in.post("/orders/new/", fields | {"action": "place"})

    changed = fields | {"link": LINK + "2", "action": "place"}
    page = signed_in.post("/orders/new/", changed).content.decode()

    assert "already placed an order" in page
    assert Order.objects.count() == 1
    signed_in.post("/orders/new/", changed | hidden(page))
    assert Order.objects.count() == 2


def test_nothing_is_placed_whose_charge_was_not_named(signed_in: Client, service: Service) -> None:
    fields = drawn(signed_in, service) | {"link": LINK, "quantity": "1000", "action": "place"}

    for charge in ("", "NaN", "Infinity", "free"):
        page = signed_in.post("/orders/new/", fields | {"seen_charge": charge}).content.decode()
        assert "Place order · $2.00" in page

    assert not Order.objects.exists()


def test_a_price_that_moved_charges_nothing_and_shows_both(
    signed_in: Client, service: Service, customer: User
) -> None:
    fields = seen(signed_in, service)
    Service.objects.update(price_rate=3)

    page = signed_in.post("/orders/new/", fields | {"action": "place"}).content.decode()

    assert "It was $2.00 and is now $3.00" in page
    assert "Place order · $3.00" in page
    assert balance_of(customer.pk) == 10
    signed_in.post("/orders/new/", fields | hidden(page) | {"action": "place"})
    assert Order.objects.get().charge == 3


def test_errors_stand_beside_their_fields_and_keep_what_was_typed(
    signed_in: Client, service: Service
) -> None:
    fields = drawn(signed_in, service) | {
        "link": "java script:<b>", "quantity": "5", "seen_charge": "2", "action": "place",
    }  # fmt: skip

    page = signed_in.post("/orders/new/", fields).content.decode()

    assert 'value="java script:&lt;b&gt;"' in page
    assert 'aria-describedby="id_link_helptext id_link_error"' in page
    assert "A link has no blanks." in page
    assert "<title>Error:" in page
    assert not Order.objects.exists()


def test_a_quantity_out_of_range_is_refused_by_the_server(
    signed_in: Client, service: Service
) -> None:
    page = signed_in.post(
        "/orders/new/",
        drawn(signed_in, service) | {"link": LINK, "quantity": "5", "action": "quote"},
    ).content.decode()

    assert "Enter a quantity from 10 to 10,000." in page
    assert 'value="5"' in page


def test_too_little_balance_says_how_much_is_missing(signed_in: Client, service: Service) -> None:
    page = signed_in.post(
        "/orders/new/",
        drawn(signed_in, service) | {"link": LINK, "quantity": "6000", "action": "quote"},
    ).content.decode()

    assert "You have $10.00; $2.00 is missing." in page
    assert 'href="/wallet/add/">Add funds' in page
    assert signed_in.get("/wallet/add/").headers["Location"] == "/wallet/"
    assert "Place order" not in page


def test_a_balance_spent_elsewhere_meanwhile_orders_nothing(
    signed_in: Client, service: Service
) -> None:
    fields = seen(signed_in, service, quantity="4000")
    other = seen(signed_in, service, link=LINK + "2", quantity="4000")
    signed_in.post("/orders/new/", other | {"action": "place"})

    page = signed_in.post("/orders/new/", fields | {"action": "place"}).content.decode()

    assert "$6.00 is missing" in page
    assert Order.objects.count() == 1


def test_a_second_order_on_an_active_link_needs_a_yes(signed_in: Client, service: Service) -> None:
    signed_in.post("/orders/new/", seen(signed_in, service) | {"action": "place"})
    first = Order.objects.get()
    fields = seen(signed_in, service) | {"action": "place"}

    page = signed_in.post("/orders/new/", fields).content.decode()

    assert f'href="/orders/{first.pk}/"' in page
    assert 'name="allow_duplicate"' in page
    assert Order.objects.count() == 1
    signed_in.post("/orders/new/", fields | {"allow_duplicate": "yes"})
    assert Order.objects.count() == 2


def test_a_frozen_wallet_is_told_so(signed_in: Client, service: Service) -> None:
    fields = seen(signed_in, service)
    Account.objects.update(frozen_reason="audit")

    page = signed_in.post("/orders/new/", fields | {"action": "place"}).content.decode()

    assert "Your wallet is being checked" in page
    assert not Order.objects.exists()


@pytest.mark.parametrize("change", [{"is_sold": False}, {"is_held": True}, {"order_type": ""}])
def test_a_service_that_went_off_sale_sends_back_to_the_search(
    signed_in: Client, service: Service, change: dict[str, object]
) -> None:
    fields = seen(signed_in, service)
    Service.objects.update(**change)

    answers = [
        signed_in.get(f"/orders/new/?service={service.pk}", follow=True),
        signed_in.post("/orders/new/", fields | {"action": "place"}, follow=True),
    ]

    for answer in answers:
        assert answer.redirect_chain[-1][0] == "/orders/new/"
        assert "not on sale now" in answer.content.decode()
    assert not Order.objects.exists()


@pytest.mark.parametrize("number", ["0", "x", "99999999", "9" * 50, "-1"])
def test_a_service_that_does_not_exist_breaks_nothing(signed_in: Client, number: str) -> None:
    assert signed_in.get(f"/orders/new/?service={number}", follow=True).status_code == 200
    assert signed_in.post("/orders/new/", {"service": number}, follow=True).status_code == 200
    assert signed_in.post("/orders/new/quote/", {"service": number}).status_code == 200


def test_the_charge_follows_the_typing_and_places_nothing(
    signed_in: Client, service: Service
) -> None:
    fields = drawn(signed_in, service) | {"link": LINK, "quantity": "500"}

    fragment = signed_in.post("/orders/new/quote/", fields).content.decode()

    assert "Place order · $1.00" in fragment
    assert 'name="seen_charge" value="1' in fragment
    assert "<html" not in fragment
    assert not Order.objects.exists()


def test_while_typing_only_filled_fields_are_complained_about(
    signed_in: Client, service: Service
) -> None:
    fields = drawn(signed_in, service) | {"link": "", "quantity": "5000000"}

    too_much = signed_in.post("/orders/new/quote/", fields).content.decode()
    empty = signed_in.post("/orders/new/quote/", fields | {"quantity": ""}).content.decode()

    assert "errorlist" not in empty
    assert "Place order" not in too_much


def test_a_token_is_new_on_every_page_and_kept_by_errors(
    signed_in: Client, service: Service
) -> None:
    first, second = drawn(signed_in, service), drawn(signed_in, service)
    refused = signed_in.post("/orders/new/", first | {"action": "quote"}).content.decode()

    assert first["token"] != second["token"]
    assert hidden(refused)["token"] == first["token"]
    assert uuid.UUID(first["token"]).version == 4


@pytest.mark.parametrize("order_type", ORDER_TYPES, ids=lambda each: each.key)
def test_each_type_draws_its_fields_with_labels_and_hints_in_both_languages(
    signed_in: Client, service: Service, order_type: OrderType
) -> None:
    Service.objects.update(order_type=order_type.key, dripfeed=True)

    page = signed_in.get(f"/orders/new/?service={service.pk}").content.decode()
    service.refresh_from_db()
    with translation.override("tr"):
        turkish = {
            name: field.label for name, field in OrderForm(service, order_type).fields.items()
        }

    for declared in order_type.fields:
        assert f'for="id_{declared.name}"' in page
        assert turkish[declared.name] != declared.label or declared.label in {"Username"}


def test_drip_feed_is_offered_only_where_the_service_has_it(
    signed_in: Client, service: Service
) -> None:
    without = signed_in.get(f"/orders/new/?service={service.pk}").content.decode()
    Service.objects.update(dripfeed=True)
    with_it = signed_in.get(f"/orders/new/?service={service.pk}").content.decode()

    assert 'name="runs"' not in without
    assert 'name="runs"' in with_it


def test_an_order_is_repeated_with_what_was_filled_in(signed_in: Client, service: Service) -> None:
    signed_in.post("/orders/new/", seen(signed_in, service) | {"action": "place"})
    order = Order.objects.get()

    page = signed_in.get(f"/orders/new/?service={service.pk}&again={order.pk}").content.decode()

    assert f'value="{LINK}"' in page
    assert 'value="1000"' in page


def test_nobody_repeats_anothers_order(client: Client, signed_in: Client, service: Service) -> None:
    signed_in.post("/orders/new/", seen(signed_in, service) | {"action": "place"})
    order = Order.objects.get()
    client.force_login(User.objects.create_user("other@example.com"))

    page = client.get(f"/orders/new/?service={service.pk}&again={order.pk}").content.decode()

    assert LINK not in page


def test_services_ordered_lately_are_at_hand(signed_in: Client, service: Service) -> None:
    assert "Ordered lately" not in signed_in.get("/orders/new/").content.decode()

    signed_in.post("/orders/new/", seen(signed_in, service) | {"action": "place"})

    page = signed_in.get("/orders/new/").content.decode()
    assert "Ordered lately" in page
    assert page.count(f"?service={service.pk}") == 1


def test_a_description_is_shown_as_text(signed_in: Client, service: Service) -> None:
    Service.objects.update(description="<img src=x onerror=alert(1)>")

    page = signed_in.get(f"/orders/new/?service={service.pk}").content.decode()

    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


def test_the_form_stays_small_and_needs_few_queries(
    signed_in: Client, service: Service, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    Service.objects.bulk_create(
        [
            Service(
                provider=service.provider, category=service.category, upstream_id=f"x{number}",
                name="LIKES – INSTANT – " * 10, order_type="default", cost_rate=1, price_rate=2,
            )
            for number in range(3000)
        ]
    )  # fmt: skip
    for address in ("/orders/new/", "/orders/new/?q=likes", f"/orders/new/?service={service.pk}"):
        with django_assert_max_num_queries(MOST_QUERIES):
            page = signed_in.get(address)
        assert len(page.content) <= MOST_BYTES


@pytest.mark.parametrize("address", ["/orders/new/", "/orders/new/results/", "/orders/"])
def test_a_visitor_is_sent_to_sign_in(client: Client, db: None, address: str) -> None:
    assert client.get(address)["Location"] == f"/accounts/login/?next={address}"


def test_fetching_the_quote_or_the_form_by_other_methods_is_refused(
    signed_in: Client, service: Service
) -> None:
    assert signed_in.get("/orders/new/quote/").status_code == 405
    assert signed_in.delete("/orders/new/").status_code == 405


@pytest.mark.parametrize(
    "charge", ["1e30", "-1e30", "1e999999", "1e1000000", "1e-999999", "9" * 400]
)
def test_a_charge_that_nobody_can_have_seen_places_nothing(
    signed_in: Client, service: Service, charge: str
) -> None:
    fields = drawn(signed_in, service) | {"link": LINK, "quantity": "1000", "action": "place"}

    page = signed_in.post("/orders/new/", fields | {"seen_charge": charge}).content.decode()

    assert "Place order · $2.00" in page
    assert not Order.objects.exists()
