"""Mass orders: the list, what is wrong with it, and placing it once."""

import uuid
from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from catalog.models import Service
from orders import services
from orders.bulk import Wanted
from orders.errors import InvalidLines, PriceChanged, TokenReused
from orders.mass import read_lines, reckon
from orders.models import Event, Order
from orders.services import place_many, place_order
from orders.tests.worlds import assert_ledger_adds_up, balance_of
from wallet.errors import AccountFrozen, InsufficientFunds
from wallet.models import Account, Entry
from wallet.services import top_up


@pytest.fixture
def signed_in(client: Client, customer: User) -> Client:
    client.force_login(customer)
    return client


def wanted(service: Service, count: int, quantity: str = "100") -> list[Wanted]:
    return [
        Wanted(service.pk, {"link": f"https://example.com/{number}", "quantity": quantity})
        for number in range(count)
    ]


def text(service: Service, count: int, quantity: str = "100") -> str:
    return "\n".join(
        f"{service.pk} | https://example.com/{number} | {quantity}" for number in range(count)
    )


def post(client: Client, lines: str, **fields: str) -> str:
    return client.post("/orders/mass/", {"lines": lines, **fields}, follow=True).content.decode()


def place(client: Client, lines: str, seen: str, token: uuid.UUID, **fields: str) -> str:
    fields = {"all_or_nothing": "yes", **fields}
    return post(client, lines, seen_charge=seen, token=str(token), action="place", **fields)


def test_lines_are_read_whatever_blanks_surround_them() -> None:
    lines = read_lines(" 7|https://a.example/|100 \n\n#8 |b| 5\r\n9 | https://c.example/?x=1|2 | 6")

    assert [(line.number, line.wanted) for line in lines] == [
        (1, Wanted(7, {"link": "https://a.example/", "quantity": "100"})),
        (3, Wanted(8, {"link": "b", "quantity": "5"})),
        (4, Wanted(9, {"link": "https://c.example/?x=1|2", "quantity": "6"})),
    ]


@pytest.mark.parametrize("line", ["hello", "x | y | 5", "| y | 5", "9" * 40 + " | y | 5"])
def test_a_line_that_names_no_service_says_how_to_write_it(line: str) -> None:
    assert read_lines(line)[0].wanted is None
    assert read_lines(line)[0].error


def test_each_bad_line_says_what_is_wrong(customer: User, service: Service) -> None:
    number = service.pk
    draft = reckon(
        customer.pk,
        f"{number} | https://a.example/ | 1\n{number} | javascript:x | 100\n999 | x | 100\n"
        f"{number} | https://a.example/ok | 100\n{number} | https://a.example/ok | 200",
    )

    assert [line.number for line in draft.bad] == [1, 2, 3, 5]
    assert "from 10 to 10,000" in draft.bad[0].error
    assert "web address" in draft.bad[1].error
    assert "no such service" in draft.bad[2].error
    assert "earlier line" in draft.bad[3].error
    assert draft.charge == Decimal("0.2")


def test_an_active_order_on_the_link_is_named(customer: User, service: Service) -> None:
    order = place_order(
        customer=customer,
        service=service,
        values={"link": "https://example.com/0", "quantity": "100"},
        client_token=uuid.uuid4(),
    )

    assert f"#{order.pk}" in reckon(customer.pk, text(service, 1)).bad[0].error


def test_a_type_with_more_fields_sends_to_its_own_form(customer: User, service: Service) -> None:
    Service.objects.update(order_type="customcomments")

    assert "by itself" in reckon(customer.pk, text(service, 1)).bad[0].error


def test_a_package_needs_no_quantity(customer: User, service: Service) -> None:
    Service.objects.update(order_type="package")

    assert reckon(customer.pk, f"{service.pk} | https://example.com/x").charge == 2


def test_more_lines_than_allowed_are_not_even_looked_up(
    customer: User, service: Service, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        draft = reckon(customer.pk, text(service, 1001))

    assert "1,000" in draft.problem


def test_a_list_is_placed_paid_and_told_in_each_orders_timeline(
    customer: User, service: Service
) -> None:
    orders = place_many(customer=customer, wanted=wanted(service, 3), client_token=uuid.uuid4())

    assert [order.charge for order in orders] == [Decimal("0.2")] * 3
    assert balance_of(customer) == Decimal("9.4")
    after = (
        Entry.objects.filter(kind="charge").order_by("pk").values_list("balance_after", flat=True)
    )
    assert list(after) == [Decimal("9.8"), Decimal("9.6"), Decimal("9.4")]
    assert Event.objects.filter(code="placed", order__in=orders, actor=customer).count() == 3
    assert_ledger_adds_up()


def test_a_token_places_its_list_once(customer: User, service: Service) -> None:
    token = uuid.uuid4()
    first = place_many(customer=customer, wanted=wanted(service, 3), client_token=token)

    again = place_many(customer=customer, wanted=wanted(service, 3), client_token=token)

    assert again == first
    assert Order.objects.count() == 3
    for other in (wanted(service, 2), wanted(service, 4), wanted(service, 3, "200")):
        with pytest.raises(TokenReused):
            place_many(customer=customer, wanted=other, client_token=token)


def test_nothing_is_placed_when_one_line_is_bad(customer: User, service: Service) -> None:
    asked = [*wanted(service, 2), Wanted(999, {"link": "x", "quantity": "100"})]

    with pytest.raises(InvalidLines) as refusal:
        place_many(customer=customer, wanted=asked, client_token=uuid.uuid4())

    assert list(refusal.value.errors) == [2]
    assert not Order.objects.exists()


@pytest.mark.parametrize("count", [0, 1001])
def test_a_list_has_its_limits(customer: User, service: Service, count: int) -> None:
    with pytest.raises(InvalidLines):
        place_many(customer=customer, wanted=wanted(service, count), client_token=uuid.uuid4())


def test_a_price_that_moved_is_not_charged(customer: User, service: Service) -> None:
    with pytest.raises(PriceChanged) as refusal:
        place_many(
            customer=customer,
            wanted=wanted(service, 2),
            client_token=uuid.uuid4(),
            seen_charge=Decimal("0.3"),
        )

    assert refusal.value.now == Decimal("0.4")
    assert not Order.objects.exists()


def test_too_little_balance_places_none(customer: User, service: Service) -> None:
    with pytest.raises(InsufficientFunds) as refusal:
        place_many(customer=customer, wanted=wanted(service, 51), client_token=uuid.uuid4())

    assert refusal.value.missing == Decimal("0.2")
    assert not Order.objects.exists()
    assert balance_of(customer) == 10


def test_a_frozen_wallet_pays_for_no_list(customer: User, service: Service) -> None:
    Account.objects.update(frozen_reason="audit")

    with pytest.raises(AccountFrozen):
        place_many(customer=customer, wanted=wanted(service, 1), client_token=uuid.uuid4())


def test_a_few_workers_are_woken_not_a_thousand(
    customer: User,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: object,
) -> None:
    woken: list[int] = []
    monkeypatch.setattr(services, "kick", woken.append)

    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        orders = place_many(
            customer=customer, wanted=wanted(service, 40), client_token=uuid.uuid4()
        )

    assert woken == [order.pk for order in orders[:16]]


def test_the_queries_do_not_grow_with_the_list(
    customer: User, service: Service, is_postgresql: bool
) -> None:
    top_up(user=customer, amount=Decimal(2100))
    counts = []
    for count in (10, 1000):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            place_many(
                customer=customer,
                wanted=wanted(service, count, str(count)),
                client_token=uuid.uuid4(),
            )
        counts.append(len(queries))
        Order.objects.update(
            status="completed", finished_at="2026-01-01T00:00:00Z", dispatch="queued"
        )

    assert counts[0] <= 15
    assert counts[1] <= (15 if is_postgresql else 20)


def test_the_page_reckons_first_and_then_places(
    signed_in: Client, customer: User, service: Service
) -> None:
    lines = text(service, 2)
    assert "Check the list" in signed_in.get("/orders/mass/").content.decode()

    drawn = post(signed_in, lines, action="check", all_or_nothing="yes")
    assert "Place 2 orders · $0.40" in drawn
    assert not Order.objects.exists()
    page = place(signed_in, lines, "0.4", uuid.uuid4())

    assert "2 orders are placed and paid." in page
    assert balance_of(customer) == Decimal("9.6")


def test_a_list_that_is_placed_as_it_was_typed_is_reckoned_once(
    signed_in: Client, service: Service
) -> None:
    with CaptureQueriesContext(connection) as queries:
        place(signed_in, text(service, 2), "0.4", uuid.uuid4())
    reckoned = [each for each in queries if 'FROM "catalog_service"' in each["sql"]]

    assert len(reckoned) == 1
    assert Order.objects.count() == 2


def test_the_same_page_sent_twice_places_once(signed_in: Client, service: Service) -> None:
    lines, token = text(service, 2) + "\nnonsense", uuid.uuid4()

    for _ in range(2):
        page = place(signed_in, lines, "0.4", token, all_or_nothing="")
        assert "2 orders are placed and paid." in page

    assert Order.objects.count() == 2


def test_a_changed_list_under_an_old_token_is_not_placed_at_once(
    signed_in: Client, service: Service
) -> None:
    token = uuid.uuid4()
    place(signed_in, text(service, 2), "0.4", token)

    page = place(signed_in, text(service, 3), "0.2", token, all_or_nothing="")

    assert "already placed orders" in page
    assert str(token) not in page
    assert Order.objects.count() == 2


def test_all_or_nothing_keeps_good_lines_from_going_alone(
    signed_in: Client, service: Service
) -> None:
    lines = text(service, 2) + "\n999 | x | 5"

    page = place(signed_in, lines, "0.4", uuid.uuid4())
    assert "Nothing was placed" in page
    assert not Order.objects.exists()

    place(signed_in, lines, "0.4", uuid.uuid4(), all_or_nothing="")
    assert Order.objects.count() == 2


def test_a_changed_price_is_shown_and_the_text_is_kept(signed_in: Client, service: Service) -> None:
    page = place(signed_in, text(service, 2), "0.3", uuid.uuid4())

    assert "It was $0.30 and is now $0.40" in page
    assert "https://example.com/1" in page
    assert not Order.objects.exists()


def test_what_is_missing_is_named_with_the_way_to_add_it(
    signed_in: Client, service: Service
) -> None:
    page = post(signed_in, text(service, 60), action="check")

    assert "$2.00 is missing" in page
    assert "Place 60" not in page


def test_the_preview_is_small_however_long_the_list(
    signed_in: Client, service: Service, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    Service.objects.update(name="🔥 LIKES–NON-DROP–LIFETIME_GUARANTEE " * 10)

    with django_assert_max_num_queries(12):
        answer = signed_in.post("/orders/mass/lines/", {"lines": text(service, 1000)})

    assert len(answer.content) <= 60_000
    assert "950 more lines" in answer.content.decode()
    assert "1,000 lines, 0 with errors" in answer.content.decode()


def test_what_was_typed_is_escaped(signed_in: Client, service: Service) -> None:
    page = post(signed_in, "</textarea><script>alert(1)</script> | x | 1", action="check")

    assert "<script>alert" not in page


def test_a_list_with_what_no_database_keeps_says_so(signed_in: Client, service: Service) -> None:
    lines = f"{service.pk} | https://a.example/\x00x | 100\n{service.pk} | https://a.example/ | 100"

    for address in ("/orders/mass/", "/orders/mass/lines/"):
        page = signed_in.post(address, {"lines": lines})
        assert page.status_code == 200
        assert "control characters" in page.content.decode()


@pytest.mark.parametrize("again", [1, 2])
def test_a_list_with_a_package_that_is_sent_again_is_the_same_list(
    signed_in: Client, service: Service, customer: User, again: int
) -> None:
    """A quantity in the line of a package says nothing; also for whoever comes while it is placed."""
    Service.objects.update(order_type="package")
    lines, token = f"{service.pk} | https://example.com/1 | 1", uuid.uuid4()

    first = place(signed_in, lines, "2", token)
    assert "1 order is placed and paid." in first
    if again == 1:
        assert "1 order is placed and paid." in place(signed_in, lines, "2", token)
    else:
        values = {"link": "https://example.com/1", "quantity": "1"}
        placed = place_many(
            customer=customer, wanted=[Wanted(service.pk, values)], client_token=token
        )
        assert placed == [Order.objects.get()]
    assert balance_of(customer) == 8


@pytest.mark.parametrize(
    "charge", ["1e30", "-1e30", "1e999999", "1e1000000", "1e-999999", "9" * 400]
)
def test_a_list_whose_charge_nobody_can_have_seen_is_not_placed(
    signed_in: Client, service: Service, charge: str
) -> None:
    page = place(signed_in, text(service, 1), charge, uuid.uuid4())

    assert "Place 1 order" in page
    assert not Order.objects.exists()
