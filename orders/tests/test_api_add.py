"""`add`: all order types, every refusal by its customary text, and never an order twice."""

import uuid
from datetime import timedelta
from decimal import Decimal

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import keeping
from accounts.models import User
from catalog.models import Service
from orders import api_add
from orders.models import ApiAdd, Order
from orders.states import Dispatch, Status
from orders.tests.api_world import Program, at_provider, give_back
from orders.tests.worlds import assert_ledger_adds_up, balance_of
from upstream.errors import Kind
from upstream.order_types import ORDER_TYPES, FieldKind, OrderType
from upstream.verdicts import kind_of
from wallet.models import Account
from wallet.services import top_up

DUPLICATE = "You have active order with this link. Please wait until order being completed."


@pytest.fixture
def program(customer: User) -> Program:
    return Program(customer)


def filled(order_type: OrderType) -> dict[str, str]:
    """Something valid for every required field."""
    samples = {
        FieldKind.TEXT: "someone",
        FieldKind.LINK: "https://example.com/p",
        FieldKind.INTEGER: "20",
        FieldKind.LINES: "\r\n".join(f"line {number}" for number in range(12)),
    }
    return {
        field.name: field.choices[-1][0] if field.choices else samples[field.kind]
        for field in order_type.fields
        if field.required
    }


@pytest.mark.parametrize("order_type", ORDER_TYPES, ids=lambda order_type: order_type.key)
def test_every_type_is_ordered_with_its_own_fields(
    program: Program, service: Service, order_type: OrderType
) -> None:
    Service.objects.update(order_type=order_type.key, type=order_type.name)
    values = filled(order_type)

    answer = program("add", service=service.pk, **values)

    order = Order.objects.get(pk=answer["order"])
    assert answer == {"order": order.pk}
    assert order.order_type == order_type.key
    assert order.source == Order.Source.API
    assert set(order.parameters) == set(values)
    assert order.quantity == order_type.units(values)
    assert balance_of(program.user) == 10 - order.charge
    assert_ledger_adds_up()


def test_drip_feed_is_ordered_and_charged_for_all_runs(program: Program, service: Service) -> None:
    Service.objects.update(dripfeed=True)

    order = program.order(service.pk, quantity="100", runs="3", interval="60")

    assert order.quantity == 300
    assert order.charge == Decimal("0.6")


def test_what_a_client_says_about_price_owner_or_status_is_not_heard(
    program: Program, service: Service, staff: User
) -> None:
    order = program.order(
        service.pk, charge="0", rate="0", customer=str(staff.pk), status="completed", source="web"
    )

    assert order.charge == Decimal("0.2")
    assert order.customer == program.user
    assert order.status == Status.PENDING
    assert set(order.parameters) == {"link", "quantity"}


@pytest.mark.parametrize(
    ("fields", "text", "kind"),
    [
        ({"quantity": "9"}, "Quantity less than minimal 10", Kind.QUANTITY),
        ({"quantity": "10001"}, "Quantity more than maximum 10000", Kind.QUANTITY),
        ({"quantity": "9" * 12}, "Quantity more than maximum 10000", Kind.QUANTITY),
        ({"quantity": ""}, "Incorrect quantity", Kind.QUANTITY),
        ({"quantity": "1.5"}, "Incorrect quantity", Kind.QUANTITY),
        ({"quantity": "-5"}, "Incorrect quantity", Kind.QUANTITY),
        ({"quantity": "٥٥"}, "Incorrect quantity", Kind.QUANTITY),
        ({"link": ""}, "Incorrect link", Kind.LINK),
        ({"link": "javascript:alert(1)"}, "Incorrect link", Kind.LINK),
        ({"link": "https://example.com/" + "a" * 3000}, "Incorrect link", Kind.LINK),
        ({"service": "999999"}, "Incorrect service ID", Kind.SERVICE),
        ({"service": ""}, "Incorrect service ID", Kind.SERVICE),
        ({"service": "1; DROP"}, "Incorrect service ID", Kind.SERVICE),
        ({"service": "9" * 30}, "Incorrect service ID", Kind.SERVICE),
        ({"runs": "2", "interval": "5"}, "Dripfeed is not supported by this service", Kind.REQUEST),
        ({"runs": "2"}, "Incorrect interval", Kind.REQUEST),
        ({"quantity": "9999"}, "Not enough funds on balance", Kind.FUNDS),
        ({"request_id": "x" * 129}, "Incorrect request: request_id has at most 128 characters",
         Kind.REQUEST),
    ],
)  # fmt: skip
def test_a_refusal_has_the_text_that_clients_know_and_writes_nothing(
    program: Program, service: Service, fields: dict[str, str], text: str, kind: Kind
) -> None:
    answer = program.add(**({"service": service.pk} | fields))

    assert answer == {"error": text}
    assert kind_of(text) == kind
    assert not Order.objects.exists()
    assert not ApiAdd.objects.exists()
    assert balance_of(program.user) == 10


@pytest.mark.parametrize(
    ("type_key", "fields", "text"),
    [
        ("customcomments", {"comments": "a\nb"}, "Quantity less than minimal 10"),
        ("customcomments", {"comments": "a\n" * 10_001}, "Quantity more than maximum 10000"),
        ("customcomments", {"comments": " \n "}, "Incorrect comments"),
        ("mentionscustomlist", {"usernames": "a\n\nb"}, "Quantity less than minimal 10"),
        ("poll", {"answer_number": "x"}, "Incorrect answer_number"),
        ("webtraffic", {"country": "US", "device": "9", "type_of_traffic": "3"},
         "Incorrect device"),
        ("subscriptions", {"username": "u", "min": "20", "max": "10", "posts": "1", "delay": "0"},
         "Min cannot be higher than Max"),
        ("subscriptions", {"username": "u", "min": "5", "max": "10", "posts": "1", "delay": "0"},
         "Quantity less than minimal 10"),
        ("subscriptions",
         {"username": "u", "min": "10", "max": "10001", "posts": "1", "delay": "0"},
         "Quantity more than maximum 10000"),
        ("subscriptions", {"username": "u", "min": "10", "max": "10", "delay": "0"},
         "Incorrect posts"),
    ],
)  # fmt: skip
def test_every_type_names_its_wrong_field(
    program: Program, service: Service, type_key: str, fields: dict[str, str], text: str
) -> None:
    Service.objects.update(order_type=type_key)

    assert program.add(service.pk, **fields) == {"error": text}


@pytest.mark.parametrize(
    "change",
    [{"is_sold": False}, {"is_held": True}, {"is_present": False}, {"order_type": "special"}],
)
def test_what_is_not_sold_is_no_service(
    program: Program, service: Service, change: dict[str, object]
) -> None:
    Service.objects.update(**change)

    assert program.add(service.pk) == {"error": "Incorrect service ID"}


def test_a_frozen_account_orders_nothing(program: Program, service: Service) -> None:
    Account.objects.update(frozen_reason="audit")

    assert program.add(service.pk) == {"error": "Account suspended"}
    assert kind_of("Account suspended") == Kind.ACCOUNT


def test_a_call_that_is_repeated_is_a_duplicate_for_a_while(
    program: Program, service: Service, settings: LazySettings
) -> None:
    first = program.order(service.pk)

    assert program.add(service.pk) == {"error": DUPLICATE}
    assert kind_of(DUPLICATE) == Kind.DUPLICATE_LINK
    assert [order.pk for order in Order.objects.all()] == [first.pk]
    ApiAdd.objects.update(created_at=timezone.now() - timedelta(seconds=61))
    program.order(service.pk)
    assert_ledger_adds_up()


def test_another_quantity_link_or_key_is_no_duplicate(program: Program, service: Service) -> None:
    program.order(service.pk)

    program.order(service.pk, quantity="101")
    program.order(service.pk, link="https://example.com/q")
    Program(program.user).order(service.pk)
    assert Order.objects.count() == 4


def test_an_order_that_was_canceled_may_come_again_at_once(
    program: Program, service: Service
) -> None:
    first = program.order(service.pk)
    assert program("cancel", orders=first.pk) == [{"order": first.pk, "cancel": 1}]

    program.order(service.pk)


def test_the_owner_decides_how_long_a_duplicate_is_one(
    program: Program, service: Service, settings: LazySettings
) -> None:
    settings.API_DUPLICATE_SECONDS = 0

    program.order(service.pk)
    program.order(service.pk)


def test_a_request_id_gets_the_first_answer_however_often_it_is_sent(
    program: Program, service: Service
) -> None:
    answers = [program.add(service.pk, request_id="r-1") for _ in range(3)]

    assert answers == [answers[0]] * 3
    assert Order.objects.count() == 1
    assert balance_of(program.user) == Decimal("9.8")


def test_the_first_answer_outlives_the_service_its_price_and_the_money(
    program: Program, service: Service
) -> None:
    first = program.add(service.pk, request_id="r-1")
    Service.objects.update(is_sold=False, price_rate=9)
    Account.objects.update(frozen_reason="audit")

    assert program.add(service.pk, request_id="r-1") == first


def test_a_request_id_makes_orders_alike_possible(program: Program, service: Service) -> None:
    program.order(service.pk, request_id="r-1")
    program.order(service.pk, request_id="r-2")

    assert Order.objects.count() == 2


def test_a_request_id_with_other_content_is_refused(program: Program, service: Service) -> None:
    program.order(service.pk, request_id="r-1")

    answer = program.add(service.pk, request_id="r-1", quantity="200")

    assert answer["error"].startswith("Incorrect request")
    assert Order.objects.count() == 1


def test_a_refused_call_may_come_again_under_its_request_id(
    program: Program, service: Service
) -> None:
    """Another panel holds an order while its balance here is short, and sends it again."""
    assert "error" in program.add(service.pk, request_id="r-1", quantity="9000")
    top_up(user=program.user, amount=Decimal(20), reference="more")

    order = program.order(service.pk, request_id="r-1", quantity="9000")

    assert order.charge == 18


def test_request_ids_of_two_customers_have_nothing_to_do_with_each_other(
    program: Program, service: Service, staff: User
) -> None:
    top_up(user=staff, amount=Decimal(10), reference="staff")

    mine = program.order(service.pk, request_id="r-1")
    theirs = Program(staff).order(service.pk, request_id="r-1")

    assert mine.customer_id != theirs.customer_id


def test_keys_of_one_customer_share_request_ids(program: Program, service: Service) -> None:
    first = program.add(service.pk, request_id="r-1")

    assert Program(program.user).add(service.pk, request_id="r-1") == first


def test_after_48_hours_a_request_id_is_forgotten(program: Program, service: Service) -> None:
    first = program.order(service.pk, request_id="r-1")
    just_inside = timezone.now() - api_add.REPLAYED_FOR + timedelta(minutes=1)
    ApiAdd.objects.update(created_at=just_inside)
    assert api_add.forget_old() == 0
    assert program.add(service.pk, request_id="r-1") == {"order": first.pk}

    ApiAdd.objects.update(created_at=just_inside - timedelta(minutes=2))
    second = program.order(service.pk, request_id="r-1")

    assert second.pk != first.pk
    ApiAdd.objects.update(created_at=just_inside - timedelta(minutes=2))
    assert api_add.forget_old() == 1
    assert Order.objects.count() == 2


def test_old_calls_are_forgotten_in_parts(
    program: Program, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "CHUNK", 2)
    for number in range(5):
        program.order(service.pk, link=f"https://example.com/{number}")
    ApiAdd.objects.update(created_at=timezone.now() - 2 * api_add.REPLAYED_FOR)

    with CaptureQueriesContext(connection) as asked:
        assert api_add.forget_old() == 5

    assert sum(each["sql"].startswith("DELETE") for each in asked.captured_queries) == 3


def test_the_page_and_the_api_do_not_answer_for_each_other(
    program: Program, service: Service
) -> None:
    token = str(uuid.uuid4())
    program.client.force_login(program.user)
    first = program.order(service.pk, request_id=token)

    assert first.client_token != uuid.UUID(token)


def test_an_order_of_the_api_waits_for_a_worker_like_any_other(
    program: Program, service: Service
) -> None:
    order = program.order(service.pk)

    assert order.dispatch == Dispatch.QUEUED
    give_back(order, "0.1")
    at_provider(order, Status.PARTIAL)
    assert_ledger_adds_up()
