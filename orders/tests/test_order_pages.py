import csv
import datetime as dt
import io
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from catalog.models import Service
from orders.models import Order, Request
from orders.money import lock_order, refund_order
from orders.services import place_order
from orders.states import Dispatch, Status
from orders.timeline import Code, record
from wallet.services import top_up

MOST_QUERIES = 12
MOST_BYTES = 60_000


@pytest.fixture
def signed_in(client: Client, customer: User) -> Client:
    client.force_login(customer)
    return client


def place(customer: User, service: Service, number: int = 0, quantity: int = 100) -> Order:
    return place_order(
        customer=customer,
        service=service,
        values={"link": f"https://example.com/p/{number}", "quantity": str(quantity)},
        client_token=uuid.uuid4(),
    )


def run_at_provider(order: Order, status: Status, **facts: object) -> None:
    """What following writes, without a provider."""
    values: dict[str, object] = {
        "status": status,
        "dispatch": Dispatch.ACCEPTED,
        "upstream_id": f"u{order.pk}",
    }
    if status in {Status.COMPLETED, Status.PARTIAL, Status.CANCELED}:
        values["finished_at"] = timezone.now()
    Order.objects.filter(pk=order.pk).update(**(values | facts))


def cancel(order: Order) -> None:
    with transaction.atomic():
        refund_order(lock_order(order.pk), amount=order.charge, reference=f"o-{order.pk}")
    run_at_provider(order, Status.CANCELED)


@pytest.fixture
def order(customer: User, service: Service) -> Order:
    return place(customer, service)


def test_the_list_shows_what_was_ordered(signed_in: Client, order: Order) -> None:
    run_at_provider(order, Status.IN_PROGRESS, start_count=4321, remains=40)

    page = signed_in.get("/orders/").content.decode()

    for text in (f"#{order.pk}", order.link, "Followers, fast", "4,321", "40 left", "$0.20"):
        assert text in page


def test_tabs_count_and_filter_by_status(
    signed_in: Client, customer: User, service: Service
) -> None:
    for number, status in enumerate([Status.COMPLETED, Status.COMPLETED, Status.IN_PROGRESS]):
        run_at_provider(place(customer, service, number), status)

    answer = signed_in.get("/orders/?status=completed")

    assert len(answer.context["page"].rows) == 2
    counts = {value: str(count) for value, _, count in answer.context["tabs"]}
    assert (counts["completed"], counts["in_progress"], counts["partial"]) == ("2", "1", "0")
    assert str(answer.context["total"]) == "3"


@pytest.mark.parametrize("text", ["#{pk}", "{pk}", "p/7", "P/7", "FOLLOWERS"])
def test_orders_are_found_by_number_link_and_service(
    signed_in: Client, customer: User, service: Service, text: str
) -> None:
    wanted = place(customer, service, 7)

    rows = signed_in.get("/orders/", {"q": text.format(pk=wanted.pk)}).context["page"].rows

    assert rows == [wanted]


@pytest.mark.parametrize("text", ["nothing", "%", "\x00nothing", "9" * 50])
def test_what_is_not_there_is_not_found(signed_in: Client, order: Order, text: str) -> None:
    answer = signed_in.get("/orders/", {"q": text})

    assert answer.context["page"].rows == []
    assert "Try another word" in answer.content.decode()


def test_a_search_is_kept_on_the_next_page(
    signed_in: Client, customer: User, service: Service
) -> None:
    for number in range(51):
        place(customer, service, number, quantity=10)

    page = signed_in.get("/orders/?q=example&status=pending").context["page"]
    older = signed_in.get(f"/orders/{page.older}")

    assert len(page.rows) == 50
    assert len(older.context["page"].rows) == 1
    assert older.context["filter"].text == "example"


def test_a_customer_without_orders_is_told_what_to_do(signed_in: Client) -> None:
    assert "Place your first order" in signed_in.get("/orders/").content.decode()


def test_rows_refresh_only_what_changed(
    signed_in: Client, customer: User, service: Service
) -> None:
    moving, still = place(customer, service, 1), place(customer, service, 2)
    known = signed_in.get("/orders/").context["known"]
    assert signed_in.get("/orders/rows/", {"known": known}).status_code == 204

    run_at_provider(moving, Status.IN_PROGRESS, remains=50)
    fragment = signed_in.get("/orders/rows/", {"known": known}).content.decode()

    assert f'id="order-{moving.pk}" hx-swap-oob="true"' in fragment
    assert f'id="order-{still.pk}"' not in fragment
    assert f"Order {moving.pk}: In progress." in fragment
    assert "data-poll" in fragment


def test_refreshing_stops_when_every_order_is_final(signed_in: Client, order: Order) -> None:
    known = signed_in.get("/orders/").context["known"]
    cancel(order)

    fragment = signed_in.get("/orders/rows/", {"known": known}).content.decode()

    assert "data-poll" not in fragment
    assert "$10.00" in fragment, "the balance is refreshed with the refund"
    assert "data-poll" not in signed_in.get("/orders/").content.decode()


@pytest.mark.parametrize("known", ["", "x", "~", "1~a~b~c" * 200, "²~pending"])
def test_nonsense_refreshes_nothing(signed_in: Client, order: Order, known: str) -> None:
    assert signed_in.get("/orders/rows/", {"known": known}).status_code in {200, 204}


def test_nobody_refreshes_anothers_rows(client: Client, order: Order) -> None:
    client.force_login(User.objects.create_user("other@example.com"))

    assert client.get("/orders/rows/", {"known": f"{order.pk}~old"}).status_code == 204


@pytest.mark.parametrize("verb", ["", "live/", "refill/", "cancel/"])
def test_anothers_order_does_not_exist(client: Client, order: Order, verb: str) -> None:
    client.force_login(User.objects.create_user("other@example.com"))
    ask = client.post if verb in {"refill/", "cancel/"} else client.get

    assert ask(f"/orders/{order.pk}/{verb}").status_code == 404
    order.refresh_from_db()
    assert order.status == Status.PENDING


def test_an_order_that_was_just_placed_is_told_on_its_own_page_alone(
    signed_in: Client, order: Order
) -> None:
    said = f"Order #{order.pk} is placed and paid."

    first = signed_in.get(f"/orders/{order.pk}/?placed")
    assert said in first.content.decode()
    assert "messages" not in first.cookies
    assert said not in signed_in.get(f"/orders/{order.pk}/").content.decode()
    assert said not in signed_in.get("/orders/?placed").content.decode()

    Order.objects.update(created_at=timezone.now() - dt.timedelta(minutes=11))
    assert said not in signed_in.get(f"/orders/{order.pk}/?placed").content.decode()


def test_the_order_page_tells_the_whole_story(signed_in: Client, order: Order) -> None:
    record(order, Code.NOT_SENT, reason="secret of the provider")
    with transaction.atomic():
        refund_order(lock_order(order.pk), amount=Decimal("0.05"), reference="o", note="late")
    run_at_provider(order, Status.PARTIAL, remains=25)

    page = signed_in.get(f"/orders/{order.pk}/").content.decode()

    assert "75 of 100 delivered" in page
    assert "\u2212$0.20" in page
    assert "+$0.05" in page
    assert "$0.15" in page
    assert "Order placed and paid" in page
    assert "secret of the provider" not in page
    assert order.provider.name not in page


def test_the_order_page_refreshes_until_it_is_final(signed_in: Client, order: Order) -> None:
    version = signed_in.get(f"/orders/{order.pk}/").context["version"]
    address = f"/orders/{order.pk}/live/"
    assert signed_in.get(address, {"version": version}).status_code == 204

    cancel(order)
    fragment = signed_in.get(address, {"version": version}).content.decode()

    assert "Canceled" in fragment
    assert "data-poll" not in fragment
    assert 'id="balance"' in fragment


def test_an_order_that_was_not_sent_is_cancelled_and_paid_back(
    signed_in: Client, order: Order
) -> None:
    page = signed_in.post(f"/orders/{order.pk}/cancel/", follow=True).content.decode()

    order.refresh_from_db()
    assert order.status == Status.CANCELED
    assert "back in your wallet" in page
    assert "$10.00" in page


def test_a_cancel_of_a_sent_order_is_asked_of_the_provider(signed_in: Client, order: Order) -> None:
    run_at_provider(order, Status.IN_PROGRESS)

    page = signed_in.post(f"/orders/{order.pk}/cancel/", follow=True).content.decode()

    assert Request.objects.get().kind == Request.Kind.CANCEL
    assert "The provider may refuse it." in page
    order.refresh_from_db()
    assert order.status == Status.IN_PROGRESS


def test_a_refill_is_asked_for_once(signed_in: Client, order: Order) -> None:
    run_at_provider(order, Status.COMPLETED, finished_at=timezone.now())

    first = signed_in.post(f"/orders/{order.pk}/refill/", follow=True).content.decode()
    second = signed_in.post(f"/orders/{order.pk}/refill/", follow=True).content.decode()

    assert Request.objects.count() == 1
    assert "Refill requested" in first
    assert "A refill is under way." in second


def test_a_missing_button_says_why(signed_in: Client, order: Order) -> None:
    Service.objects.update(refill=False)

    page = signed_in.get(f"/orders/{order.pk}/").content.decode()

    assert f"/orders/{order.pk}/refill/" not in page
    assert "This service has no refill." in page


@pytest.mark.parametrize("verb", ["refill", "cancel"])
def test_asking_needs_a_press(signed_in: Client, order: Order, verb: str) -> None:
    assert signed_in.get(f"/orders/{order.pk}/{verb}/").status_code == 405


def test_pages_stay_small_and_need_few_queries(
    signed_in: Client,
    customer: User,
    service: Service,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    Service.objects.update(name="LIKES – INSTANT START – LIFETIME GUARANTEE – " * 4)
    top_up(user=customer, amount=Decimal(100))
    for number in range(60):
        order = place(customer, service, number)
        run_at_provider(order, Status.IN_PROGRESS, remains=50, start_count=123456)

    for address in ("/orders/", "/orders/?q=likes", f"/orders/{order.pk}/"):
        with django_assert_max_num_queries(MOST_QUERIES):
            page = signed_in.get(address)
        assert len(page.content) <= MOST_BYTES


def test_orders_are_filtered_by_day_where_the_customer_is(
    signed_in: Client, customer: User, order: Order
) -> None:
    User.objects.update(time_zone="Asia/Tokyo")
    late = dt.datetime(2026, 3, 1, 16, 0, tzinfo=dt.UTC)  # the second of March in Tokyo
    Order.objects.update(created_at=late)

    def found(query: str) -> int:
        return len(signed_in.get(f"/orders/?{query}").context["page"].rows)

    assert found("since=2026-03-02&until=2026-03-02") == 1
    assert found("until=2026-03-01") == 0
    assert found("since=2026-03-03") == 0


@pytest.mark.parametrize("day", ["x", "2026-13-45", "0001-01-01", "9999-12-31", "²"])
def test_a_day_that_is_none_is_ignored(signed_in: Client, order: Order, day: str) -> None:
    answer = signed_in.get("/orders/", {"since": day, "until": day})

    assert answer.context["page"].rows == [order]


def export(client: Client, query: str = "") -> list[list[str]]:
    answer: Any = client.get(f"/orders/export/{query}")
    assert answer.streaming
    return list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode())))


def test_the_csv_holds_exactly_what_is_filtered(
    signed_in: Client, customer: User, service: Service
) -> None:
    for number in range(60):
        place(customer, service, number, quantity=10)
    run_at_provider(Order.objects.latest("pk"), Status.IN_PROGRESS)

    everything, running = export(signed_in), export(signed_in, "?status=in_progress")

    assert len(everything) == 61
    assert [row[0] for row in running[1:]] == [str(Order.objects.latest("pk").pk)]
    assert running[1][-2:] == ["0.020000", "0.000000"]


def test_the_csv_is_safe_to_open_in_a_spreadsheet(
    signed_in: Client, customer: User, service: Service
) -> None:
    Service.objects.update(name='=HYPERLINK("http://evil.example")')
    place_order(
        customer=customer,
        service=service,
        values={"link": "@SUM(1)", "quantity": "100"},
        client_token=uuid.uuid4(),
    )

    row = export(signed_in)[1]

    assert row[3].startswith("'=")
    assert row[4] == "'@SUM(1)"


def test_the_csv_holds_nobody_elses_orders(client: Client, order: Order) -> None:
    client.force_login(User.objects.create_user("other@example.com"))

    assert len(export(client)) == 1
