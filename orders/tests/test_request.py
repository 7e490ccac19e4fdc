"""Refill and cancel requests, asked of a simulated provider over HTTP."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import LazySettings
from django.utils import timezone

from accounts.models import User
from catalog.models import Provider
from orders import desk, requests
from orders.audit import check
from orders.errors import NotPossible
from orders.following import check_now, poll_due
from orders.models import Order, Request
from orders.poll_models import Poll
from orders.refills import refill_refusal
from orders.requests import (
    cancel_order,
    cancel_refusal,
    request_refill,
    send_due,
)
from orders.states import Dispatch, RequestState, Status
from orders.tests.upstream_world import Upstream, balance, due, end, running_upstream
from orders.timeline import Code
from upstream.client import Client
from upstream.errors import Abort

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def upstream(db: None) -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture
def done(upstream: Upstream, customer: User) -> Order:
    """A completed order, here and there."""
    order = upstream.accept(customer)
    upstream.world.advance(11)
    return check_now(order.pk)


@pytest.fixture
def running(upstream: Upstream, customer: User) -> Order:
    """An order in progress, here and there."""
    order = upstream.accept(customer)
    upstream.world.advance(5)
    return check_now(order.pk)


def refills_there(upstream: Upstream) -> int:
    return len(upstream.world.book.refills)


def poll_refills() -> int:
    Request.objects.filter(next_poll_at__isnull=False).update(next_poll_at=timezone.now())
    return requests.poll_due()


def state(request: Request | None) -> str:
    assert request is not None
    request.refresh_from_db()
    return request.state


def test_a_refill_goes_out_once_and_is_followed_to_its_end(
    upstream: Upstream, done: Order, customer: User
) -> None:
    upstream.world.book.next_refill = 501
    request = request_refill(order_id=done.pk, actor=customer)
    assert request.state == RequestState.QUEUED
    assert [send_due(), send_due()] == [1, 0]
    assert state(request) == RequestState.ACCEPTED
    assert refills_there(upstream) == 1
    assert poll_refills() == 0
    assert state(request) == RequestState.ACCEPTED
    upstream.world.advance(11)
    assert poll_refills() == 1
    assert state(request) == RequestState.COMPLETED
    done.refresh_from_db()
    assert (done.status, balance(customer)) == (Status.COMPLETED, Decimal(8))
    lines = list(done.events.values_list("code", flat=True))
    assert lines.count(Code.REFILL_REQUESTED) == 1
    assert lines.count(Code.REFILL_STATE) == 2


def test_the_providers_first_answer_one_names_no_refill(
    upstream: Upstream, done: Order, customer: User
) -> None:
    request = request_refill(order_id=done.pk, actor=customer)
    send_due()
    request.refresh_from_db()
    # The simulator's first refill really is number 1, which some panels answer always.
    assert request.upstream_id == "1"
    assert request.next_poll_at is not None
    assert request.next_poll_at > timezone.now() + 23 * HOUR
    before = upstream.world.counts.received["refill_status"]
    assert poll_refills() == 1
    assert state(request) == RequestState.COMPLETED
    assert upstream.world.counts.received["refill_status"] == before


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"status": Status.IN_PROGRESS, "finished_at": None}, "Only a completed or partial"),
        ({"status": Status.PARTIAL}, ""),
        ({"finished_at": timezone.now() - 29 * DAY}, ""),
        ({"finished_at": timezone.now() - 31 * DAY}, "time for a refill ended on"),
        ({"parameters": {"runs": "2"}}, "part orders"),
    ],
)
def test_a_refill_has_conditions(done: Order, fields: dict[str, Any], says: str) -> None:
    Order.objects.filter(pk=done.pk).update(**fields)
    done.refresh_from_db()
    refusal = refill_refusal(done, timezone.now())
    assert (says in refusal) if says else refusal == ""


def test_a_service_without_refill_has_none(done: Order) -> None:
    done.service.refill = False
    assert "no refill" in refill_refusal(done, timezone.now())


def test_the_refill_window_is_a_setting(done: Order, settings: LazySettings) -> None:
    later = timezone.now() + 400 * DAY
    assert refill_refusal(done, later)
    settings.REFILL_DAYS = 0
    assert refill_refusal(done, later) == ""
    settings.REFILL_WAIT_HOURS = 24
    assert refill_refusal(done, timezone.now()) == "A refill opens in 24 h."


def test_one_refill_at_a_time_and_one_in_24_hours(done: Order, customer: User) -> None:
    first = request_refill(order_id=done.pk, actor=customer)
    with pytest.raises(NotPossible, match="under way"):
        request_refill(order_id=done.pk, actor=customer)
    Request.objects.filter(pk=first.pk).update(
        state=RequestState.COMPLETED, finished_at=timezone.now()
    )
    with pytest.raises(NotPossible, match="opens in 24 h"):
        request_refill(order_id=done.pk, actor=customer)
    Request.objects.filter(pk=first.pk).update(created_at=timezone.now() - 25 * HOUR)
    request_refill(order_id=done.pk, actor=customer)


def test_a_refused_refill_changes_nothing_and_may_be_asked_again(
    upstream: Upstream, done: Order, customer: User
) -> None:
    upstream.world.break_with("refill", "error", text="Order not eligible for refill.")
    request = request_refill(order_id=done.pk, actor=customer)
    send_due()
    request.refresh_from_db()
    assert (request.state, request.answer) == (
        RequestState.REJECTED,
        "Order not eligible for refill.",
    )
    done.refresh_from_db()
    assert done.status == Status.COMPLETED
    request_refill(order_id=done.pk, actor=customer)
    assert send_due() == 1
    assert refills_there(upstream) == 1


@pytest.mark.parametrize("kind", ["lost_after", "http_502", "html_page", "cut_json"])
def test_a_refill_whose_answer_was_lost_is_shown_and_never_sent_again(
    upstream: Upstream, done: Order, customer: User, kind: str
) -> None:
    upstream.world.break_with("refill", kind, when="after")
    request = request_refill(order_id=done.pk, actor=customer)
    for _ in range(3):
        send_due()
    assert state(request) == RequestState.UNKNOWN
    assert refills_there(upstream) == 1
    with pytest.raises(NotPossible, match="under way"):
        request_refill(order_id=done.pk, actor=customer)


@pytest.mark.parametrize(("is_done", "ends"), [(True, "completed"), (False, "rejected")])
def test_staff_close_a_request_whose_answer_was_lost(
    upstream: Upstream, done: Order, customer: User, staff: User, is_done: bool, ends: str
) -> None:
    upstream.world.break_with("refill", "lost_after")
    request = request_refill(order_id=done.pk, actor=customer)
    send_due()
    desk.close_request(request_id=request.pk, is_done=is_done, reason="seen there", actor=staff)
    assert state(request) == ends
    with pytest.raises(NotPossible, match="not waiting"):
        desk.close_request(request_id=request.pk, is_done=True, reason="again", actor=staff)


def test_a_refill_that_could_not_be_sent_waits_and_goes_out_later(
    upstream: Upstream, done: Order, customer: User
) -> None:
    url = upstream.provider.url
    type(upstream.provider).objects.update(url="http://127.0.0.1:9/api/v2")
    request = request_refill(order_id=done.pk, actor=customer)
    assert [send_due(), send_due()] == [0, 0]
    request.refresh_from_db()
    assert (request.state, request.attempt_no) == (RequestState.QUEUED, 1)
    assert request.not_before > timezone.now()
    type(upstream.provider).objects.update(url=url)
    Request.objects.update(not_before=timezone.now())
    assert send_due() == 1
    assert refills_there(upstream) == 1


def test_a_busy_provider_is_asked_again_later(
    upstream: Upstream, done: Order, customer: User
) -> None:
    upstream.world.break_with("refill", "rate_limit")
    request = request_refill(order_id=done.pk, actor=customer)
    assert send_due() == 0
    assert state(request) == RequestState.QUEUED
    assert requests.wait(1) < requests.wait(2) < requests.wait(30) == requests.LONGEST_WAIT


def test_a_sender_that_lost_its_claim_sends_nothing(
    upstream: Upstream, done: Order, customer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_refill(order_id=done.pk, actor=customer)
    honest: Callable[..., str] = Client.refill

    def overtaken(self: Client, order: str, *, before_send: Callable[[], None]) -> str:
        Request.objects.filter(pk=request.pk).update(attempt_no=7)
        return honest(self, order, before_send=before_send)

    monkeypatch.setattr(Client, "refill", overtaken)
    assert send_due() == 0
    assert state(request) == RequestState.QUEUED
    assert refills_there(upstream) == 0


def test_without_the_mark_a_lost_claim_would_send_twice(
    upstream: Upstream, done: Order, customer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: with the guard off, the harm that it prevents happens."""
    request = request_refill(order_id=done.pk, actor=customer)
    upstream.world.change(refill_wait=0.0)
    monkeypatch.setattr(requests, "_mark", lambda _request: None)
    honest: Callable[..., str] = Client.refill

    def beside_another(self: Client, order: str, *, before_send: Callable[[], None]) -> str:
        honest(self, order, before_send=before_send)
        return honest(self, order, before_send=before_send)

    monkeypatch.setattr(Client, "refill", beside_another)
    send_due()
    assert refills_there(upstream) == 2
    assert state(request) == RequestState.ACCEPTED


def test_a_claim_holds_others_off_for_a_moment_only(
    upstream: Upstream, done: Order, customer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_refill(order_id=done.pk, actor=customer)

    def dies(*_args: object, **_kw: object) -> str:
        raise Abort("the worker died here")

    with monkeypatch.context() as patch:
        patch.setattr(Client, "refill", dies)
        send_due()
    assert send_due() == 0
    Request.objects.filter(pk=request.pk).update(not_before=timezone.now())
    assert send_due() == 1
    assert refills_there(upstream) == 1


def test_a_sender_that_died_after_the_mark_leaves_the_request_unconfirmed(
    upstream: Upstream, done: Order, customer: User
) -> None:
    request = request_refill(order_id=done.pk, actor=customer)
    long_ago = timezone.now() - HOUR
    Request.objects.filter(pk=request.pk).update(
        state=RequestState.SENDING, attempt_no=1, lease_until=long_ago
    )
    send_due()
    assert state(request) == RequestState.UNKNOWN
    assert refills_there(upstream) == 0


@pytest.mark.parametrize(
    ("word", "ends"),
    [("Completed", "completed"), ("Rejected", "rejected"), ("Cancelled", "rejected"),
     ("Error", "rejected"), ("In progess", "accepted"), ("Frobbed", "accepted")],
)  # fmt: skip
def test_what_a_refills_status_means(
    upstream: Upstream, done: Order, customer: User, word: str, ends: str
) -> None:
    upstream.world.book.next_refill = 501
    request = request_refill(order_id=done.pk, actor=customer)
    send_due()
    upstream.world.book.refills["501"].outcome = word
    upstream.world.advance(11)
    poll_refills()
    assert state(request) == ends
    assert request.raw_status == word


def test_a_refill_nobody_hears_of_is_closed_after_a_month(
    upstream: Upstream, done: Order, customer: User
) -> None:
    upstream.world.book.next_refill = 501
    request = request_refill(order_id=done.pk, actor=customer)
    send_due()
    del upstream.world.book.refills["501"]
    assert poll_refills() == 0
    Request.objects.update(not_before=timezone.now() - 31 * DAY)
    assert poll_refills() == 1
    assert state(request) == RequestState.REJECTED


def test_refills_are_asked_about_together(upstream: Upstream, customer: User) -> None:
    upstream.world.book.next_refill = 501
    orders = [upstream.accept(customer, quantity="10") for _ in range(5)]
    upstream.world.advance(11)
    poll_due()
    for order in orders:
        request_refill(order_id=order.pk, actor=customer)
    assert send_due() == 5
    before = upstream.world.counts.received["refill_status"]
    upstream.world.advance(11)
    assert poll_refills() == 5
    assert upstream.world.counts.received["refill_status"] == before + 1


def test_a_failed_refill_status_call_changes_nothing(
    upstream: Upstream, done: Order, customer: User
) -> None:
    upstream.world.book.next_refill = 501
    request = request_refill(order_id=done.pk, actor=customer)
    send_due()
    upstream.world.break_with("refill_status", "http_502")
    assert poll_refills() == 0
    assert state(request) == RequestState.ACCEPTED
    assert request.next_poll_at is not None


def test_an_order_that_was_not_sent_is_taken_back_at_once(
    upstream: Upstream, customer: User
) -> None:
    order = upstream.place(customer)
    assert cancel_refusal(order, timezone.now()) == ""
    assert cancel_order(order_id=order.pk, actor=customer) is None
    order.refresh_from_db()
    assert (order.dispatch, balance(customer)) == (Dispatch.WITHDRAWN, Decimal(10))
    assert [finding for finding in check() if finding.is_error] == []


def test_an_accepted_cancel_brings_money_only_with_the_status(
    upstream: Upstream, customer: User
) -> None:
    order = upstream.accept(customer)
    check_now(order.pk)
    Poll.objects.update(due_at=timezone.now() + HOUR)
    request = cancel_order(order_id=order.pk, actor=customer)
    assert send_due() == 1
    assert state(request) == RequestState.ACCEPTED
    order.refresh_from_db()
    assert (order.status, balance(customer)) == (Status.PENDING, Decimal(8))
    assert Poll.objects.get(order=order).due_at <= timezone.now(), "asked about soon"
    upstream.world.advance(1.1)
    assert poll_due().changed == 1
    order.refresh_from_db()
    assert (order.status, balance(customer)) == (Status.CANCELED, Decimal(10))
    assert state(request) == RequestState.COMPLETED


def test_a_cancel_in_the_middle_gives_back_what_remains(
    upstream: Upstream, running: Order, customer: User
) -> None:
    request = cancel_order(order_id=running.pk, actor=customer)
    send_due()
    upstream.world.advance(1.1)
    due(running)
    poll_due()
    running.refresh_from_db()
    assert running.status == Status.PARTIAL
    assert running.remains is not None
    assert running.refunded == Decimal(2) * running.remains / 1000
    assert state(request) == RequestState.COMPLETED
    assert [finding for finding in check() if finding.is_error] == []


def test_a_refusal_inside_the_list_is_no_success(
    upstream: Upstream, running: Order, customer: User
) -> None:
    upstream.world.force(running.upstream_id, status="Completed")
    request = cancel_order(order_id=running.pk, actor=customer)
    send_due()
    assert state(request) == RequestState.REJECTED
    assert request is not None
    assert request.answer == "Order already completed"
    running.refresh_from_db()
    assert running.status == Status.IN_PROGRESS
    assert cancel_refusal(running, timezone.now()) == "", "the customer may ask again"


def test_a_cancel_whose_answer_was_lost_is_answered_by_the_orders_end(
    upstream: Upstream, running: Order, customer: User
) -> None:
    upstream.world.break_with("cancel", "lost_after")
    request = cancel_order(order_id=running.pk, actor=customer)
    send_due()
    assert state(request) == RequestState.UNKNOWN
    upstream.world.advance(11)
    due(running)
    poll_due()
    assert state(request) == RequestState.COMPLETED
    assert upstream.world.counts.received["cancel"] == 1


def test_a_cancel_queued_for_an_order_that_ended_is_not_sent(
    upstream: Upstream, running: Order, customer: User
) -> None:
    request = cancel_order(order_id=running.pk, actor=customer)
    end(running)
    assert send_due() == 0
    assert state(request) == RequestState.REJECTED
    assert upstream.world.counts.received["cancel"] == 0


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"dispatch": Dispatch.UNKNOWN}, "just being sent"),
        ({"status": Status.COMPLETED, "finished_at": timezone.now()}, "finished"),
        ({}, ""),
    ],
)
def test_a_cancel_has_conditions(running: Order, fields: dict[str, Any], says: str) -> None:
    Order.objects.filter(pk=running.pk).update(**fields)
    running.refresh_from_db()
    refusal = cancel_refusal(running, timezone.now())
    assert (says in refusal) if says else refusal == ""


def test_a_service_without_cancel_can_not_be_cancelled(
    upstream: Upstream, running: Order, customer: User
) -> None:
    type(running.service).objects.update(cancel=False)
    with pytest.raises(NotPossible, match="can't be cancelled"):
        cancel_order(order_id=running.pk, actor=customer)


def test_a_cancel_is_asked_for_once(running: Order, customer: User) -> None:
    cancel_order(order_id=running.pk, actor=customer)
    with pytest.raises(NotPossible, match="was requested"):
        cancel_order(order_id=running.pk, actor=customer)


def test_an_address_that_can_not_be_used_keeps_no_other_request_waiting(
    upstream: Upstream, customer: User, provider: Provider
) -> None:
    Provider.objects.filter(pk=provider.pk).update(url="https://panel.example:80443/api/v2")
    away, here = (upstream.accept(customer) for _ in range(2))
    upstream.world.advance(11)
    for order in (away, here):
        check_now(order.pk)
    asked = [request_refill(order_id=order.pk, actor=None) for order in (away, here)]
    Order.objects.filter(pk=away.pk).update(provider=provider)
    Request.objects.filter(pk=asked[0].pk).update(provider=provider)

    assert send_due() == 1
    assert (state(asked[0]), state(asked[1])) == (RequestState.QUEUED, RequestState.ACCEPTED)

    named = {"state": RequestState.ACCEPTED, "upstream_id": "77"}
    Request.objects.filter(pk=asked[0].pk).update(next_poll_at=timezone.now(), **named)
    upstream.world.advance(100)
    poll_refills()
    assert (state(asked[0]), state(asked[1])) == (RequestState.ACCEPTED, RequestState.COMPLETED)


def test_a_refill_that_waited_for_staff_has_its_month_from_when_it_was_sent(
    upstream: Upstream, done: Order, customer: User
) -> None:
    upstream.world.book.next_refill = 501
    request = request_refill(order_id=done.pk, actor=customer)
    Request.objects.update(created_at=timezone.now() - 31 * DAY)
    send_due()
    poll_refills()
    assert state(request) == RequestState.ACCEPTED
