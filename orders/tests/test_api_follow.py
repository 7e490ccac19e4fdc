"""status, refill, refill_status, cancel and balance: shapes, words, money, and whose rows they are."""

import re
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from catalog.models import Service
from orders.models import Order, Request
from orders.states import Dispatch, RequestState, Status
from orders.tests.api_world import URL, Program, at_provider, give_back
from upstream.errors import Kind
from upstream.simulator.document import EXAMPLES
from upstream.verdicts import kind_of
from wallet.services import top_up

UNKNOWN = {"error": "Incorrect order ID"}


@pytest.fixture
def program(customer: User) -> Program:
    return Program(customer)


@pytest.fixture
def stranger(staff: User) -> Program:
    top_up(user=staff, amount=Decimal(100), reference="stranger")
    return Program(staff)


@pytest.fixture
def order(program: Program, service: Service) -> Order:
    return program.order(service.pk)


def told_as(refill: Request) -> int:
    """The number that clients know this refill by."""
    return refill.pk + 1000


def child_of(parent: Order, quantity: int, status: Status, **facts: object) -> Order:
    """A part order as following makes it."""
    child = Order.objects.create(
        customer_id=parent.customer_id, service_id=parent.service_id,
        provider_id=parent.provider_id, parent=parent, source=Order.Source.PROVIDER,
        client_token=uuid.uuid4(), order_type=parent.order_type, link=parent.link,
        quantity=quantity, price_rate=parent.price_rate, charge=0, cost=0,
        exchange_rate=1, expected_charge=0, dispatch=Dispatch.CHILD, upstream_id=f"c{uuid.uuid4()}",
    )  # fmt: skip
    return at_provider(child, status, dispatch=Dispatch.CHILD, **facts)


def test_a_new_order_is_pending_and_all_of_it_remains(program: Program, order: Order) -> None:
    assert program("status", order=order.pk) == {
        "charge": "0.2",
        "start_count": "0",
        "status": "Pending",
        "remains": "100",
        "currency": "USD",
    }


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (Status.PENDING, "Pending"),
        (Status.PROCESSING, "Processing"),
        (Status.IN_PROGRESS, "In progress"),
        (Status.COMPLETED, "Completed"),
        (Status.PARTIAL, "Partial"),
    ],
)
def test_the_words_are_those_that_panels_use(
    program: Program, order: Order, status: Status, word: str
) -> None:
    at_provider(order, status, start_count=44, remains=7)

    told = program("status", order=order.pk)

    assert (told["status"], told["start_count"], told["remains"]) == (word, "44", "7")


def test_the_charge_falls_with_a_refund_and_ends_at_nothing(program: Program, order: Order) -> None:
    give_back(order, "0.05")
    at_provider(order, Status.PARTIAL, remains=25)
    assert program("status", order=order.pk)["charge"] == "0.15"


def test_a_canceled_order_has_cost_nothing_and_all_of_it_remains(
    program: Program, order: Order
) -> None:
    program("cancel", orders=order.pk)

    told = program("status", order=order.pk)

    assert (told["status"], told["charge"], told["remains"]) == ("Canceled", "0", "100")
    assert program("balance") == {"balance": "10", "currency": "USD"}


def test_balance_and_charges_add_up_to_what_was_paid_in(program: Program, service: Service) -> None:
    orders = [program.order(service.pk, quantity=str(100 + n)) for n in range(3)]
    give_back(orders[0], "0.1")

    told = program("status", orders=",".join(str(order.pk) for order in orders))

    charges = sum(Decimal(each["charge"]) for each in told.values())
    assert Decimal(program("balance")["balance"]) + charges == 10


def test_many_orders_are_answered_by_their_ids_as_they_were_asked(
    program: Program, order: Order
) -> None:
    told = program("status", orders=f" {order.pk} ,x,,{order.pk + 1},{order.pk},{'9' * 40},-1")

    assert list(told) == [str(order.pk), "x", str(order.pk + 1), "9" * 40, "-1"]
    assert told[str(order.pk)]["status"] == "Pending"
    assert [told[each] for each in list(told)[1:]] == [UNKNOWN] * 4


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"action": "status", "orders": ",".join(map(str, range(101)))}, "Maximum 100 orders"),
        ({"action": "refill", "orders": ",".join(map(str, range(101)))}, "Maximum 100 orders"),
        ({"action": "cancel", "orders": ",".join(map(str, range(101)))}, "Maximum 100 orders"),
        ({"action": "refill_status", "refills": ",".join(map(str, range(101)))},
         "Maximum 100 refills"),
        ({"action": "status", "orders": " , "}, "Incorrect request"),
        ({"action": "cancel"}, "Incorrect request"),
        ({"action": "status"}, "Incorrect order ID"),
        ({"action": "refill"}, "Incorrect order ID"),
        ({"action": "refill_status"}, "Refill not found"),
    ],
)  # fmt: skip
def test_too_many_ids_or_none_is_a_clear_error(
    program: Program, fields: dict[str, str], text: str
) -> None:
    assert program(**fields) == {"error": text}


def test_a_hundred_ids_are_answered_with_two_queries_besides_the_key(
    program: Program, service: Service, order: Order
) -> None:
    program("balance")
    with CaptureQueriesContext(connection) as captured:
        told = program("status", orders=",".join(map(str, range(order.pk, order.pk + 100))))

    assert len(told) == 100
    assert len(captured) <= 3


def test_a_drip_feed_order_is_answered_with_its_runs(program: Program, service: Service) -> None:
    Service.objects.update(dripfeed=True)
    parent = program.order(service.pk, quantity="100", runs="3", interval="60")
    assert program("status", order=parent.pk)["remains"] == "300"

    at_provider(parent, Status.IN_PROGRESS)
    first = child_of(parent, 100, Status.COMPLETED)
    second = child_of(parent, 100, Status.IN_PROGRESS, remains=60)

    assert program("status", order=parent.pk) == {
        "status": "In progress",
        "runs": "2",
        "orders": [str(first.pk), str(second.pk)],
    }
    part = program("status", order=second.pk)
    assert (part["charge"], part["remains"]) == ("0.2", "60")


@pytest.mark.parametrize(
    ("remains", "runs"),
    [
        (100, "2"),  # the third run was never made, and given back
        (0, "3"),  # it is not listed, and was not given back
    ],
)
def test_runs_that_were_not_given_back_count_as_made(
    program: Program, service: Service, remains: int, runs: str
) -> None:
    Service.objects.update(dripfeed=True)
    parent = program.order(service.pk, quantity="100", runs="3", interval="60")
    for _ in range(2):
        child_of(parent, 100, Status.COMPLETED)
    at_provider(parent, Status.PARTIAL, remains=remains)

    assert program("status", order=parent.pk)["runs"] == runs


def test_a_subscription_is_answered_with_its_posts(program: Program, service: Service) -> None:
    Service.objects.update(order_type="subscriptions")
    parent = program.order(
        service.pk, username="someone", min="10", max="20", posts="2", delay="0",
        expiry="31/12/2030",
    )  # fmt: skip
    at_provider(parent, Status.IN_PROGRESS)
    child = child_of(parent, 20, Status.COMPLETED)

    assert program("status", order=parent.pk) == {
        "status": "Active",
        "expiry": "2030-12-31",
        "posts": "1",
        "orders": [str(child.pk)],
        "old_orders": [],
    }
    assert program("status", order=child.pk)["charge"] == "0.04"


@pytest.mark.parametrize(
    ("status", "raw", "word"),
    [
        (Status.IN_PROGRESS, "Paused", "Paused"),
        (Status.COMPLETED, "Expired", "Expired"),
        (Status.COMPLETED, "Completed", "Completed"),
        (Status.PENDING, "", "Pending"),
    ],
)
def test_a_subscription_has_words_of_its_own(
    program: Program, service: Service, status: Status, raw: str, word: str
) -> None:
    Service.objects.update(order_type="subscriptions")
    parent = program.order(service.pk, username="someone", min="10", max="20", posts="2", delay="0")
    at_provider(parent, status, raw_status=raw)

    told = program("status", order=parent.pk)

    assert told["status"] == word
    # Without posts, what it came to can only be told by its charge.
    assert told.get("charge") == ("0.08" if status == Status.COMPLETED else None)


def test_a_refill_is_asked_for_and_followed(program: Program, order: Order) -> None:
    at_provider(order, Status.COMPLETED)

    answer = program("refill", order=order.pk)

    refill = told_as(Request.objects.get())
    assert answer == {"refill": str(refill)}
    assert program("refill_status", refill=refill) == {"status": "Pending"}
    Request.objects.update(state=RequestState.ACCEPTED)
    assert program("refill_status", refill=refill) == {"status": "In progress"}
    Request.objects.update(state=RequestState.COMPLETED, finished_at=timezone.now())
    assert program("refill_status", refills=f"{refill},x") == [
        {"refill": refill, "status": "Completed"},
        {"refill": "x", "status": {"error": "Refill not found"}},
    ]


def test_a_refill_that_is_not_possible_says_why(
    program: Program, service: Service, order: Order
) -> None:
    told = program("refill", order=order.pk)
    assert told["error"].startswith("Order not eligible for refill. Only a completed")

    at_provider(order, Status.COMPLETED)
    program("refill", order=order.pk)
    again = program("refill", orders=f"{order.pk},{order.pk}")
    assert again == [
        {
            "order": order.pk,
            "refill": {"error": "Order not eligible for refill. A refill is under way."},
        }
    ]
    Service.objects.update(refill=False)
    assert program("refill", order=order.pk) == {
        "error": "Refill is not available for this service"
    }
    assert Request.objects.count() == 1


def test_a_cancel_request_is_no_refill(program: Program, order: Order) -> None:
    at_provider(order, Status.IN_PROGRESS)
    program("cancel", orders=order.pk)

    assert program("refill_status", refill=told_as(Request.objects.get())) == {
        "error": "Refill not found"
    }


def test_a_cancel_at_the_provider_is_a_request_and_moves_no_money(
    program: Program, order: Order
) -> None:
    at_provider(order, Status.IN_PROGRESS)

    assert program("cancel", orders=f"{order.pk},9999") == [
        {"order": order.pk, "cancel": 1},
        {"order": 9999, "cancel": UNKNOWN},
    ]
    assert Request.objects.get().kind == Request.Kind.CANCEL
    assert program("balance")["balance"] == "9.8"


@pytest.mark.parametrize(
    ("status", "facts", "sold", "text", "kind"),
    [
        (Status.COMPLETED, {}, {}, "Order already completed", Kind.REQUEST),
        (Status.IN_PROGRESS, {}, {"cancel": False},
         "This order has already started and cannot be cancelled.", Kind.REQUEST),
        (Status.PENDING, {"dispatch": Dispatch.UNKNOWN}, {},
         "Cancelation is temporarily unavailable for this order.", Kind.UNAVAILABLE),
    ],
)  # fmt: skip
def test_a_cancel_that_is_not_possible_says_why(
    program: Program, order: Order, status: Status, facts: Any, sold: Any, text: str, kind: Kind
) -> None:
    at_provider(order, status, **facts)
    Service.objects.update(**sold)

    assert program("cancel", order=order.pk) == [{"order": order.pk, "cancel": {"error": text}}]
    assert kind_of(text) == kind
    assert not Request.objects.exists()


def theirs(stranger: Program, service: Service) -> tuple[int, int]:
    """Another customer's order and refill."""
    order = stranger.order(service.pk, link="https://example.com/theirs")
    at_provider(order, Status.COMPLETED)
    stranger("refill", order=order.pk)
    return order.pk, told_as(Request.objects.get(order=order))


@pytest.mark.parametrize("action", ["status", "refill", "refill_status", "cancel"])
@pytest.mark.parametrize("many", [False, True])
def test_another_customers_ids_answer_exactly_like_ids_that_do_not_exist(
    program: Program, stranger: Program, service: Service, action: str, *, many: bool
) -> None:
    foreign_order, foreign_refill = theirs(stranger, service)
    name, foreign = (
        ("refill", foreign_refill) if action == "refill_status" else ("order", foreign_order)
    )
    unknown = foreign + 7_000_000
    field = f"{name}s" if many or action == "cancel" else name
    program("balance")

    def answer(number: int) -> tuple[bytes, list[str]]:
        with CaptureQueriesContext(connection) as captured:
            response = program.client.post(
                URL, {"key": program.secret, "action": action, field: str(number)}
            )
        body = response.content.replace(str(number).encode(), b"ID")
        return body, [re.sub(r"\d+", "N", q["sql"]) for q in captured.captured_queries]

    assert answer(foreign) == answer(unknown)
    assert Request.objects.count() == 1
    assert Order.objects.get(pk=foreign_order).status == Status.COMPLETED


def shape(value: Any) -> Any:
    """Keys, types and nesting."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value).__name__


def printed(action: str, field: str = "") -> Any:
    """The document's example of this call."""
    [answer] = [
        answer
        for fields, answer in EXAMPLES
        if fields["action"] == action and set(fields) == {"action", *filter(None, [field])}
    ]
    return answer


def test_every_example_of_the_document_is_answered_with_the_same_keys_types_and_nesting(
    program: Program, service: Service, order: Order
) -> None:
    other = program.order(service.pk, quantity="500")
    at_provider(order, Status.COMPLETED, start_count=3572, remains=0)
    at_provider(other, Status.COMPLETED, start_count=234, remains=10)
    both = f"{order.pk},999,{other.pk}"

    status = program("status", orders=both)
    assert [shape(status[each]) for each in both.split(",")] == [
        shape(each) for each in printed("status", "orders").values()
    ]
    assert shape(program("status", order=order.pk)) == shape(printed("status", "order"))
    assert shape(program("balance")) == shape(printed("balance"))
    assert shape(program("services")[0]) == shape(printed("services")[0])
    assert shape(program("refill", orders=f"{order.pk},{other.pk},999")) == shape(
        printed("refill", "orders")
    )
    Request.objects.update(state=RequestState.REJECTED, finished_at=timezone.now())
    third = program("refill", order=order.pk)
    assert shape(third) == shape(printed("refill", "order"))
    assert shape(program("refill_status", refill=third["refill"])) == shape(
        printed("refill_status", "refill")
    )
    first = told_as(Request.objects.order_by("pk")[0])
    assert shape(program("refill_status", refills=f"{third['refill']},{first},0")) == shape(
        printed("refill_status", "refills")
    )
    waiting = program.order(service.pk, quantity="200")
    assert shape(program("cancel", orders=f"999,{waiting.pk}")) == shape(
        printed("cancel", "orders")
    )
    assert shape({"order": waiting.pk}) == {"order": "int"}


def test_no_refill_has_the_number_that_clients_take_for_none(
    program: Program, service: Service
) -> None:
    Service.objects.update(refill=True)
    order = at_provider(program.order(service.pk), Status.COMPLETED)

    refill = program("refill", order=order.pk)["refill"]

    # Seen at one real panel: every refill is answered with 1; ours must be told from that.
    assert int(refill) > 1000
    assert program("refill_status", refill=refill) == {"status": "Pending"}
    row = Request.objects.get().pk
    told = program("refill_status", refills=f"{refill},{row}")
    assert [type(each["status"]) for each in told] == [str, dict]
