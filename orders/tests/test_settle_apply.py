"""Answers written to real rows: money, timeline, part orders."""

import json
import uuid
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

import upstream
from accounts.models import User
from catalog.models import Service
from orders import desk, polls
from orders.attention import Attention
from orders.audit import check
from orders.decisions import FOLLOWED
from orders.models import Order, Request
from orders.money import charge_orders
from orders.poll_models import Poll
from orders.settlement import apply_status
from orders.states import Dispatch, RequestState, Status
from orders.tests.test_settle_rules import says
from orders.tests.upstream_world import balance, due_at
from orders.timeline import Code
from upstream.answers import OrderStatus, State
from upstream.parse import order_status
from upstream.values import document
from wallet.models import Entry
from wallet.services import lock_account

RECORDED = Path(upstream.__file__).parent / "tests" / "data" / "recorded-responses.json"

pytestmark = pytest.mark.django_db


def make_order(customer: User, service: Service, **fields: Any) -> Order:
    """An accepted, charged order of 1,000 units for 2.00, without a provider behind it."""
    values: dict[str, Any] = {
        "order_type": "default",
        "link": "https://example.com/p",
        "parameters": {"link": "https://example.com/p", "quantity": "1000"},
        "quantity": 1000,
        "price_rate": Decimal(2),
        "charge": Decimal(2),
        "cost": Decimal(1),
        "exchange_rate": Decimal(1),
        "expected_charge": Decimal(1),
        "dispatch": Dispatch.ACCEPTED,
        "upstream_id": uuid.uuid4().hex,
        "sent_at": timezone.now(),
    }
    with transaction.atomic():
        account = lock_account(customer.pk)
        order = Order.objects.create(
            customer=customer, service=service, provider=service.provider, **values | fields
        )
        charge_orders(account=account, orders=[order])
        if order.dispatch in FOLLOWED and order.is_open:
            polls.follow(order_id=order.pk, provider_id=order.provider_id, due_at=timezone.now())
    return order


@pytest.fixture
def order(customer: User, service: Service) -> Order:
    return make_order(customer, service)


def codes(order: Order) -> list[str]:
    return list(order.events.values_list("code", flat=True))


def errors() -> list[str]:
    return [str(finding) for finding in check() if finding.is_error]


def recorded(action: str) -> OrderStatus:
    """A body as a panel sent it."""
    items = document(RECORDED.read_bytes())["items"]
    body = next(item["body"] for item in items if item["action"] == action)
    return order_status(body, "1")


def test_a_canceled_order_gives_everything_back_and_is_followed_no_longer(order: Order) -> None:
    assert apply_status(order.pk, says(State.CANCELED, "Canceled"))
    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.CANCELED, Decimal(2))
    assert order.finished_at is not None
    assert due_at(order) is None
    assert balance(order.customer) == 10
    assert codes(order) == [Code.REFUNDED, Code.STATUS]
    assert errors() == []


@pytest.mark.parametrize(
    ("remains", "refund"), [(-5, "0"), (1001, "2"), (157, "0.31400"), (None, "0")]
)
def test_three_partial_answers_pay_once(order: Order, remains: int | None, refund: str) -> None:
    for _ in range(3):
        apply_status(order.pk, says(State.PARTIAL, "Partial", remains=remains))
    order.refresh_from_db()
    assert order.refunded == Decimal(refund)
    assert balance(order.customer) == 8 + Decimal(refund)
    assert codes(order).count(Code.STATUS) == 1
    assert errors() == []


@pytest.mark.parametrize(
    "body",
    [
        {"status": "Partial", "remains": "157"},
        {"status": "Partial", "remains": 157},
        {"status": "Partial", "remains": ""},
        {"status": "Partial", "remains": None},
        {"status": "Partial", "remains": "-5"},
        {"status": "Partial", "remains": "1001"},
    ],
)
def test_remains_as_panels_send_them(order: Order, body: dict[str, Any]) -> None:
    apply_status(order.pk, order_status(document(json.dumps(body).encode()), "1"))
    order.refresh_from_db()
    known = {"157": "0.31400", "1001": "2"}.get(str(body["remains"]), "0")
    assert order.refunded == Decimal(known)
    assert order.status == Status.PARTIAL
    assert bool(order.attention) == (str(body["remains"]) != "157")


def test_completed_after_canceled_is_shown_and_takes_nothing_back(order: Order) -> None:
    apply_status(order.pk, says(State.CANCELED, "Canceled"))
    assert apply_status(order.pk, says(State.COMPLETED, "Completed"))
    assert not apply_status(order.pk, says(State.COMPLETED, "Completed"))
    order.refresh_from_db()
    assert (order.status, order.attention) == (Status.CANCELED, Attention.CONTRARY)
    assert balance(order.customer) == 10
    assert codes(order).count(Code.CONTRARY) == 1
    assert errors() == []


def test_partial_then_canceled_pays_the_difference_once(order: Order) -> None:
    apply_status(order.pk, says(State.PARTIAL, remains=250))
    assert balance(order.customer) == Decimal("8.5")
    for _ in range(2):
        apply_status(order.pk, says(State.CANCELED))
    order.refresh_from_db()
    assert order.status == Status.CANCELED
    assert balance(order.customer) == 10
    references = Entry.objects.filter(kind=Entry.Kind.REFUND).values_list("reference", flat=True)
    assert set(references) == {f"order-{order.pk}-partial", f"order-{order.pk}-canceled"}
    assert errors() == []


def test_a_status_that_goes_back_is_what_the_customer_sees_until_the_end(order: Order) -> None:
    for state in (State.IN_PROGRESS, State.PENDING, State.COMPLETED, State.PENDING):
        apply_status(order.pk, says(state))
    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.COMPLETED, 0)
    assert errors() == []


def test_staff_refund_and_the_providers_cancel_never_exceed_the_charge(
    order: Order, staff: User
) -> None:
    desk.refund(
        order_id=order.pk, amount=Decimal("1.2"), reason="kind", actor=staff, token=uuid.uuid4()
    )
    apply_status(order.pk, says(State.PARTIAL, remains=500))
    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.PARTIAL, Decimal(2))
    assert errors() == []


def test_an_order_that_staff_refunded_whole_is_canceled_without_more_money(
    order: Order, staff: User
) -> None:
    desk.refund(order_id=order.pk, amount=None, reason="kind", actor=staff, token=uuid.uuid4())
    order.refresh_from_db()
    assert order.status == Status.PENDING
    apply_status(order.pk, says(State.CANCELED))
    assert balance(order.customer) == 10
    assert errors() == []


def test_a_charge_of_many_digits_is_kept_to_six_places(order: Order) -> None:
    apply_status(order.pk, says(State.COMPLETED, charge=Decimal("0.04434830916")))
    order.refresh_from_db()
    assert order.upstream_charge == Decimal("0.044348")


def test_an_unchanged_answer_writes_nothing(order: Order) -> None:
    answer = says(State.IN_PROGRESS, remains=10)
    assert apply_status(order.pk, answer)
    assert not apply_status(order.pk, answer)


@pytest.mark.parametrize(
    ("state", "request_state"),
    [
        (State.CANCELED, RequestState.COMPLETED),
        (State.PARTIAL, RequestState.COMPLETED),
        (State.COMPLETED, RequestState.REJECTED),
    ],
)
def test_the_end_of_an_order_answers_its_cancel_request(
    order: Order, state: State, request_state: RequestState
) -> None:
    request = Request.objects.create(
        order=order, provider=order.provider, kind="cancel", state=RequestState.ACCEPTED
    )
    apply_status(order.pk, says(state, remains=1))
    request.refresh_from_db()
    assert request.state == request_state
    assert request.finished_at is not None
    assert Code.CANCEL_STATE in codes(order)


def drip_feed(customer: User, service: Service) -> Order:
    """Two runs of 500."""
    return make_order(
        customer,
        service,
        parameters={"link": "x", "quantity": "500", "runs": "2", "interval": "10"},
    )


def test_a_recorded_drip_feed_makes_its_parts_and_waits_for_them(
    customer: User, service: Service
) -> None:
    parent = drip_feed(customer, service)
    answer = recorded("status (drip-feed parent)")
    assert apply_status(parent.pk, answer)
    parent.refresh_from_db()
    parts = list(parent.children.order_by("pk"))
    assert [part.upstream_id for part in parts] == ["37595771", "37596003"]
    assert {(part.dispatch, part.charge, part.quantity) for part in parts} == {("child", 0, 500)}
    assert all(due_at(part) is not None for part in parts)
    assert parent.status == Status.IN_PROGRESS
    assert not apply_status(parent.pk, answer)
    assert parent.children.count() == 2
    apply_status(parts[0].pk, says(State.COMPLETED, remains=0))
    apply_status(parts[1].pk, says(State.PARTIAL, remains=100))
    assert apply_status(parent.pk, answer)
    parent.refresh_from_db()
    assert (parent.status, parent.refunded) == (Status.PARTIAL, Decimal("0.20000"))
    assert balance(customer) == Decimal("8.20000")
    assert errors() == []


def test_a_part_that_ends_has_its_parent_looked_at(customer: User, service: Service) -> None:
    parent = drip_feed(customer, service)
    apply_status(parent.pk, recorded("status (drip-feed parent)"))
    later = timezone.now() + timedelta(hours=1)
    Poll.objects.filter(order=parent).update(due_at=later)
    part = parent.children.first()
    assert part is not None
    apply_status(part.pk, says(State.COMPLETED))
    assert (due_at(parent) or later) < later


def test_parts_move_no_money_of_their_own(customer: User, service: Service) -> None:
    parent = drip_feed(customer, service)
    apply_status(parent.pk, recorded("status (drip-feed parent)"))
    for part in parent.children.all():
        apply_status(part.pk, says(State.CANCELED))
    assert balance(customer) == 8
    assert errors() == []
    apply_status(parent.pk, recorded("status (drip-feed parent)"))
    parent.refresh_from_db()
    assert (parent.status, balance(customer)) == (Status.CANCELED, Decimal(10))
    assert errors() == []


def test_a_part_whose_id_is_another_orders_is_not_taken(customer: User, service: Service) -> None:
    other = make_order(customer, service, upstream_id="37596003")
    parent = drip_feed(customer, service)
    apply_status(parent.pk, recorded("status (drip-feed parent)"))
    parent.refresh_from_db()
    other.refresh_from_db()
    assert parent.children.count() == 1
    assert parent.attention == Attention.PART_TAKEN
    assert parent.status == Status.IN_PROGRESS
    assert other.parent_id is None


def subscription(customer: User, service: Service) -> Order:
    """At most 100 for each of 4 posts, in the recorded panel's prices."""
    return make_order(
        customer,
        service,
        order_type="subscriptions",
        parameters={"username": "u", "min": "10", "max": "100", "posts": "4", "delay": "0"},
        quantity=400,
        price_rate=Decimal(5),
        charge=Decimal(2),
        # 333.018 per 1,000 there: the recorded part's 16.6509 are 50 units.
        expected_charge=Decimal("133.2072"),
    )


def test_a_recorded_subscription_pays_for_its_post_and_returns_the_rest(
    customer: User, service: Service
) -> None:
    parent = subscription(customer, service)
    answer = recorded("status (subscription parent)")
    apply_status(parent.pk, answer)
    part = parent.children.get()
    assert (part.upstream_id, part.quantity) == ("38407727", 100)
    child_answer = recorded("status (child order of that subscription)")
    apply_status(part.pk, child_answer)
    part.refresh_from_db()
    assert (part.quantity, part.upstream_charge) == (50, Decimal("16.6509"))
    assert part.status == Status.IN_PROGRESS
    apply_status(part.pk, replace(child_answer, state=State.COMPLETED, raw_status="Completed"))
    apply_status(parent.pk, answer)
    parent.refresh_from_db()
    assert (parent.status, parent.refunded) == (Status.COMPLETED, Decimal("1.75000"))
    assert balance(customer) == Decimal("9.75000")
    assert errors() == []
    for _ in range(2):
        apply_status(parent.pk, replace(answer, raw_status="Expired", state=State.EXPIRED))
    assert balance(customer) == Decimal("9.75000")


def test_an_order_waiting_to_be_confirmed_is_not_settled(customer: User, service: Service) -> None:
    order = make_order(customer, service, dispatch=Dispatch.UNKNOWN, upstream_id="")
    assert not apply_status(order.pk, says(State.CANCELED))
    assert balance(customer) == 8


def test_an_absurd_charge_of_a_part_teaches_nothing_and_breaks_nothing(
    customer: User, service: Service
) -> None:
    """What is raised here would keep all answers that came with it from being written."""
    parameters = {"username": "x", "min": "10", "max": "100", "posts": "3", "delay": "0"}
    kind = {"order_type": "subscriptions", "quantity": 300, "parameters": parameters}
    parent = make_order(customer, service, expected_charge=Decimal("0.003"), **kind)
    apply_status(parent.pk, says(State.ACTIVE, "Active", orders=("p1",)))
    part = parent.children.get()

    for charge in ("1e24", "-5"):
        apply_status(part.pk, says(State.IN_PROGRESS, "In progress", charge=Decimal(charge)))

    part.refresh_from_db()
    assert (part.status, part.quantity, part.upstream_charge) == (Status.IN_PROGRESS, 100, None)
