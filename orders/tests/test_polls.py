"""Who has a row that says when it is asked about next, and what pollers and settlement do to it at once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from catalog.models import Provider, Service
from orders import desk, following, fulfilment, polls, requests, settlement
from orders.attention import Attention
from orders.audit import check
from orders.claims import claim_many, mark
from orders.following import poll_due
from orders.fulfilment import forward
from orders.models import Order, Request
from orders.poll_models import Poll
from orders.requests import cancel_order
from orders.settlement import apply_status
from orders.states import FINAL, Dispatch, RequestState, Status
from orders.tests.races import at_once
from orders.tests.test_settle_apply import make_order
from orders.tests.test_settle_rules import says
from orders.tests.upstream_world import Upstream, due, due_at, running_upstream
from orders.tests.worlds import order_of
from orders.verdicts import judge
from upstream.answers import Placed, State
from upstream.simulator import Simulator

pytestmark = pytest.mark.django_db

LATER = timedelta(hours=1)


def errors() -> list[str]:
    return [str(finding) for finding in check() if finding.is_error]


@pytest.fixture
def upstream(db: None) -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture
def orders(customer: User, service: Service) -> list[Order]:
    """Eight orders that are due at one provider."""
    return [make_order(customer, service, charge=Decimal(1)) for _ in range(8)]


def claimed(order: Order) -> list[int]:
    """The orders that a poller claims at this order's provider now, up to 100."""
    batches = following._claim(order.provider, 1, timezone.now())
    return [each.pk for batch in batches for each in batch.orders]


# Who has one


@pytest.mark.django_db(transaction=True)
def test_an_order_has_a_row_from_its_acceptance_to_its_end(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    order = order_of(customer, sold)
    assert due_at(order) is None

    forward(order.pk)
    poll = Poll.objects.get()
    assert (poll.order_id, poll.provider_id, poll.asked_at) == (order.pk, sold.provider_id, None)
    order.refresh_from_db()
    assert order.sent_at is not None
    assert timedelta(0) < poll.due_at - order.sent_at < timedelta(minutes=1)

    assert apply_status(order.pk, says(State.IN_PROGRESS, "In progress"))
    assert Poll.objects.get().due_at == poll.due_at
    assert apply_status(order.pk, says(State.COMPLETED, "Completed"))
    assert not Poll.objects.exists()
    assert apply_status(order.pk, says(State.PARTIAL, "Partial", remains=10))  # a late reversal
    assert not Poll.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("text", ["Incorrect link", ""])
def test_an_order_that_is_not_at_its_provider_never_has_one(
    simulator: Simulator, customer: User, sold: Service, text: str
) -> None:
    """Refused, or lost: at both the provider gave no ID."""
    order = order_of(customer, sold)
    simulator.world.break_with("add", *(["error"] if text else ["lost_after"]), text=text)

    forward(order.pk)

    order.refresh_from_db()
    assert order.dispatch == (Dispatch.REJECTED if text else Dispatch.UNKNOWN)
    assert not Poll.objects.exists()


def test_an_order_that_was_taken_back_never_has_one(customer: User, service: Service) -> None:
    order = order_of(customer, service)

    cancel_order(order_id=order.pk, actor=customer)

    order.refresh_from_db()
    assert order.dispatch == Dispatch.WITHDRAWN
    assert not Poll.objects.exists()


def test_an_unconfirmed_order_has_one_once_staff_have_found_it(
    upstream: Upstream, customer: User, staff: User
) -> None:
    order = upstream.lose(customer)
    assert due_at(order) is None

    desk.bind_unknown(order_id=order.pk, upstream_id="4711", reason="seen", actor=staff)

    assert (due_at(order) or timezone.now() + LATER) <= timezone.now()


Accept = Callable[[Any, Any], bool]
BY_ROWS: Accept = fulfilment.accept_by_rows
AS_USUAL: Accept = fulfilment._accept


@pytest.mark.parametrize("accept", [BY_ROWS, AS_USUAL])
def test_a_row_that_should_not_be_there_keeps_no_answer_from_being_written(
    customer: User, sold: Service, provider: Provider, accept: Accept
) -> None:
    order = order_of(customer, sold)
    [claim] = claim_many(sold.provider_id, 1)
    mark(claim)
    long_ago = timezone.now() - timedelta(days=3)
    wrong = {"provider": provider, "due_at": long_ago, "asked_at": long_ago}
    Poll.objects.create(order=order, **wrong)

    assert accept(claim, judge(Placed("1", "{}"), tries=1, jitter=0))

    poll = Poll.objects.get()
    assert (poll.order_id, poll.provider_id) == (order.pk, sold.provider_id)
    assert poll.due_at > timezone.now() - timedelta(minutes=1)


def test_the_row_of_another_providers_order_is_moved_on_and_not_asked_about(
    upstream: Upstream, customer: User, service: Service
) -> None:
    """At the wrong provider the same ID is somebody else's order, with an end of its own."""
    order = upstream.accept(customer)
    Order.objects.filter(pk=order.pk).update(provider=service.provider)
    upstream.world.force(order.upstream_id, status="Canceled")

    assert poll_due().asked == 0
    assert due_at(order) != order.created_at
    assert poll_due(now=timezone.now() + LATER).asked == 0
    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.PENDING, 0)
    assert len(errors()) == 2


# What pulls it forward and puts it off


def test_only_what_is_due_later_is_pulled_forward(orders: list[Order]) -> None:
    first, second, ended = orders[:3]
    now = timezone.now()
    Poll.objects.filter(order=first).update(due_at=now - LATER)
    Poll.objects.filter(order=second).update(due_at=now + LATER)
    polls.forget([ended.pk])

    for order in (first, second, ended):
        polls.look_soon(order.pk, now)

    assert [due_at(each) for each in (first, second, ended)] == [now - LATER, now, None]


def test_a_failed_call_puts_its_orders_off_and_brings_none_back(orders: list[Order]) -> None:
    ended, until = orders[0], timezone.now() + LATER
    polls.forget([ended.pk])

    polls.put_off([order.pk for order in orders[:4]], until)

    assert [due_at(each) for each in orders[:4]] == [None, until, until, until]
    assert Poll.objects.filter(due_at__lt=until).count() == 4


def test_a_last_call_that_fails_or_that_a_poller_dies_in_is_made_again(
    upstream: Upstream, customer: User
) -> None:
    order = upstream.accept(customer, link="https://example.com/slow")
    Order.objects.filter(pk=order.pk).update(sent_at=timezone.now() - timedelta(days=91))
    claimed(order)  # and nothing more: as if the process had died
    assert due_at(order) is not None

    due(order)
    upstream.world.break_with("status", "http_502")
    assert poll_due().failed == 1
    order.refresh_from_db()
    assert (order.attention, due_at(order) is None) == ("", False)

    later = timezone.now() + timedelta(minutes=1)
    assert poll_due(now=later).asked == 1
    order.refresh_from_db()
    assert (order.attention, due_at(order)) == (Attention.STUCK, None)


def test_claiming_moves_polls_and_writes_no_order(orders: list[Order]) -> None:
    before = list(Order.objects.order_by("pk").values())
    written: list[str] = []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        written.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        assert len(claimed(orders[0])) == 8
    assert claimed(orders[0]) == []
    changes = [sql for sql in written if sql.startswith(("UPDATE", "INSERT", "DELETE"))]
    assert [sql.split('"')[1] for sql in changes] == ["orders_poll"]
    assert list(Order.objects.order_by("pk").values()) == before
    assert Poll.objects.filter(asked_at__lt=F("due_at")).count() == 8


def test_the_oldest_are_claimed_first(orders: list[Order], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MAX_IDS", 3)
    for number, order in enumerate(reversed(orders)):
        due_then = timezone.now() - LATER + timedelta(seconds=number)
        Poll.objects.filter(order=order).update(due_at=due_then)

    assert claimed(orders[0]) == [order.pk for order in orders[5:]]


def test_the_page_of_an_order_says_when_it_was_asked_about(
    client: Browser, orders: list[Order]
) -> None:
    client.force_login(User.objects.create_superuser("owner@example.com"))
    page = reverse("admin:orders_order_change", args=[orders[0].pk])
    Poll.objects.update(asked_at="2031-02-03T12:00Z")
    assert "2031" in client.get(page).content.decode()

    polls.forget([orders[0].pk])
    answer = client.get(page)
    assert answer.status_code == 200
    assert "2031" not in answer.content.decode()


# At the same moment


@contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    """Do something in a transaction of another thread, and keep it open for as long as this lasts."""
    done, may_end, raised = threading.Event(), threading.Event(), []

    def hold() -> None:
        try:
            with transaction.atomic():
                act()
                done.set()
                assert may_end.wait(60)
        except Exception as error:  # noqa: BLE001 - told to the test
            raised.append(error)
        finally:
            done.set()
            connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert done.wait(60)
    try:
        yield
    finally:
        may_end.set()
        thread.join(60)
    assert raised == []


@pytest.fixture
def impatient(transactional_db: None) -> Iterator[None]:
    """Whoever waits for a lock in the test's own thread fails at once."""
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    yield
    with connection.cursor() as cursor:
        cursor.execute("RESET lock_timeout")


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("impatient")
def test_a_poller_takes_what_another_leaves(orders: list[Order]) -> None:
    Poll.objects.filter(order__in=orders[:5]).update(due_at=timezone.now() - LATER)
    wanted = [order.pk for order in orders[5:]]
    with meanwhile(lambda: Poll.objects.filter(order__in=orders[:5]).update(asked_at=None)):
        assert claimed(orders[0]) == wanted


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("impatient")
def test_a_poller_passes_over_an_order_that_is_being_settled(orders: list[Order]) -> None:
    with meanwhile(lambda: apply_status(orders[0].pk, says(State.CANCELED))):
        assert claimed(orders[0]) == [order.pk for order in orders[1:]]
    assert due_at(orders[0]) is None
    assert errors() == []


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("impatient")
def test_a_poller_holds_no_order(orders: list[Order]) -> None:
    with meanwhile(lambda: claimed(orders[0])), transaction.atomic():
        assert len(Order.objects.select_for_update(nowait=True)) == 8


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("impatient")
def test_a_failed_call_and_a_last_one_leave_what_somebody_is_at(orders: list[Order]) -> None:
    everyone, until = [order.pk for order in orders], timezone.now() + LATER
    with meanwhile(lambda: polls.look_soon(orders[0].pk, timezone.now() - LATER)):
        polls.put_off(everyone, until)
        assert Poll.objects.filter(due_at=until).count() == 7
        polls.let_go(everyone)
    assert list(Poll.objects.values_list("order", flat=True)) == everyone[:1]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("impatient")
def test_settling_waits_for_the_claim_alone(orders: list[Order]) -> None:
    """The trap is real: the row that a poller holds is the row that settling removes."""
    timed_out = pytest.raises(OperationalError, match="lock timeout")
    with meanwhile(lambda: claimed(orders[0])), timed_out:
        apply_status(orders[0].pk, says(State.CANCELED))
    assert apply_status(orders[0].pk, says(State.CANCELED))
    assert due_at(orders[0]) is None


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_pollers_never_claim_the_same_order(orders: list[Order]) -> None:
    found = at_once([lambda: claimed(orders[0])] * 6)

    batches = [each for each in found if isinstance(each, list)]
    assert len(batches) == 6
    assert sorted(pk for batch in batches for pk in batch) == [order.pk for order in orders]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_polling_and_settling_at_once_end_every_order_and_wait_for_nobody_in_turn(
    customer: User, service: Service
) -> None:
    """Pollers claim, put off and write in hundreds, settlement holds one order: none in a circle."""
    parents = [
        make_order(
            customer, service, charge=Decimal(1),
            parameters={"link": "x", "quantity": "500", "runs": "2", "interval": "10"},
        )
        for _ in range(2)
    ]  # fmt: skip
    single = [make_order(customer, service, charge=Decimal(1)) for _ in range(6)]
    running = says(State.IN_PROGRESS, orders=("a1", "a2")), says(State.IN_PROGRESS, orders=("b1",))
    for parent, answer in zip(parents, running, strict=True):
        apply_status(parent.pk, answer)
    parts = list(Order.objects.filter(parent__in=parents))
    everyone = [order.pk for order in (*parts, *parents, *single)]
    assert Poll.objects.count() == 11
    is_over = threading.Event()

    def poll() -> int:
        turns = 0
        while not is_over.is_set():
            claimed(single[0])
            polls.put_off(everyone, timezone.now())
            for pk in everyone:
                polls.look_soon(pk, timezone.now())
            turns += 1
        return turns

    def settle() -> int:
        try:
            for order in (*parts, *single, *parents):
                apply_status(order.pk, says(State.COMPLETED, "Completed", remains=0))
            return Poll.objects.count()
        finally:
            is_over.set()

    ended = at_once([poll, poll, settle])

    assert [each for each in ended if isinstance(each, Exception)] == []
    assert 0 not in ended[:2]
    assert not Poll.objects.exists()
    assert set(Order.objects.values_list("status", flat=True)) <= set(FINAL)
    assert errors() == []


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("late", [False, True])
def test_a_cancel_that_is_concluded_while_its_order_ends_is_answered(
    orders: list[Order], monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """One that was being sent would else be left to its sender, who saw the order running; and the
    late answer to an unconfirmed one would wait for the order's poll and hold the request."""
    order = orders[0]
    state, wait = RequestState.SENDING, -LATER
    if late:
        state, wait = RequestState.UNKNOWN, LATER
    Poll.objects.filter(order=order).update(due_at=timezone.now() + wait)
    request = Request.objects.create(
        order=order, provider=order.provider, kind="cancel", state=state, attempt_no=1,
        lease_until=timezone.now() + LATER,
    )  # fmt: skip
    honest, has_ended = settlement.close_cancels, threading.Event()

    def slow(*args: Any, **kwargs: Any) -> None:
        if not late:
            honest(*args, **kwargs)
        has_ended.set()
        never.wait(0.5)
        if late:
            honest(*args, **kwargs)

    def conclude() -> bool:
        assert has_ended.wait(30)
        return requests._conclude(request, requests._Verdict(RequestState.ACCEPTED))

    never = threading.Event()
    monkeypatch.setattr(settlement, "close_cancels", slow)

    done = at_once([lambda: apply_status(order.pk, says(State.CANCELED)), conclude])

    assert done == [True, not late]
    request.refresh_from_db()
    assert request.state == RequestState.COMPLETED
