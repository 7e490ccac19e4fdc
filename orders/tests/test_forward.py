"""Forwarding orders to a provider over HTTP, and every way in which it answers."""

import logging
import uuid
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from catalog.models import ErrorRule, Provider, Service
from orders import gates
from orders.fulfilment import (
    HeldTransaction,
    forward,
    repeat_unknowns,
    run_due,
    sweep,
    work,
)
from orders.models import Attempt, Gate, Order
from orders.services import place_order
from orders.states import Dispatch, Outcome, Status
from orders.tests.upstream_world import due_at
from orders.tests.worlds import (
    FOLLOWERS,
    KEY,
    assert_sound,
    balance_of,
    buy_from,
    expire_lease,
    let_gate_time_pass,
    make_due,
    order_of,
    placed_on,
)
from orders.timeline import Code
from upstream.simulator import Simulator
from upstream.verdicts import normalise
from wallet.models import Entry
from wallet.services import top_up

pytestmark = pytest.mark.django_db(transaction=True)


def codes(order: Order) -> list[str]:
    return list(order.events.values_list("code", flat=True))


def last_attempt(order: Order) -> Attempt:
    found = order.attempts.last()
    assert found is not None
    return found


def break_add(simulator: Simulator, kind: str, *, times: int | None = 1, **options: str) -> None:
    simulator.world.break_with("add", kind, times=times, **options)


def test_an_order_is_placed_once_with_its_parameters(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    order = order_of(customer, sold, quantity=1000)

    forward(order.pk)
    forward(order.pk)

    order.refresh_from_db()
    assert order.dispatch == Dispatch.ACCEPTED
    assert due_at(order) is not None
    assert order.sent_at is not None
    assert codes(order) == [Code.PLACED, Code.SENDING, Code.ACCEPTED]
    attempt = last_attempt(order)
    assert (attempt.number, attempt.outcome) == (1, Outcome.ACCEPTED)
    assert attempt.sending_at is not None
    assert attempt.upstream_id == order.upstream_id
    truth = simulator.world.truth(order.link)["orders"]
    assert [(each["service"], each["quantity"]) for each in truth] == [("1", 1000)]
    assert simulator.world.counts.received == {"add": 1}
    assert simulator.world.balance == 999
    assert_sound(simulator)


def test_an_order_that_is_not_due_waits(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    order = order_of(customer, sold)
    Order.objects.update(not_before=timezone.now() + timedelta(minutes=1))

    forward(order.pk)
    assert run_due() == 0
    assert simulator.world.counts.connections == 0


def test_a_number_that_is_no_order_is_nobodys_error(simulator: Simulator, sold: Service) -> None:
    forward(987654321)
    work(987654321)

    assert simulator.world.counts.connections == 0


def test_no_provider_is_called_inside_a_transaction(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    order = order_of(customer, sold)

    with transaction.atomic():
        with pytest.raises(HeldTransaction):
            forward(order.pk)
        with pytest.raises(HeldTransaction):
            run_due()

    order.refresh_from_db()
    assert order.dispatch == Dispatch.QUEUED
    assert simulator.world.counts.connections == 0


def test_due_orders_go_oldest_first(simulator: Simulator, customer: User, sold: Service) -> None:
    orders = [order_of(customer, sold) for _ in range(3)]

    assert run_due() == 3

    sent = [each["link"] for each in simulator.world.truth()["orders"]]
    assert sent == [order.link for order in orders]
    assert_sound(simulator)


def test_one_worker_goes_on_with_the_providers_queue(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    orders = [order_of(customer, sold) for _ in range(3)]

    work(orders[0].pk)

    assert Order.objects.filter(dispatch=Dispatch.ACCEPTED).count() == 3
    assert_sound(simulator)


def test_a_worker_whose_time_is_over_hands_the_queue_on(
    simulator: Simulator, customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [order_of(customer, sold) for _ in range(2)]
    kicked: list[int] = []
    monkeypatch.setattr("orders.fulfilment.kick", kicked.append)

    work(orders[0].pk, seconds=0)

    assert kicked == [orders[1].pk]


def test_a_disabled_provider_is_sent_nothing(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    order = order_of(customer, sold)
    Provider.objects.update(is_enabled=False)

    forward(order.pk)

    assert run_due() == 0
    assert sweep(wake=lambda _: True).woken == 0
    order.refresh_from_db()
    assert (order.dispatch, order.waiting_for) == (Dispatch.QUEUED, "disabled")
    assert simulator.world.counts.connections == 0


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("lost_after", ""),
        ("lost_after", "rst"),
        ("hang_after", ""),
        ("http_500", ""),
        ("http_502", ""),
        ("http_504", ""),
        ("http_500", "json"),
        ("html_page", ""),
        ("cut_json", ""),
        ("cut_status_line", ""),
        ("short_body", ""),
        ("bad_chunk", ""),
        ("bad_gzip", ""),
        ("garbage", ""),
        ("drip_body", ""),
        ("drip_header", ""),
        ("huge_body", ""),
        ("empty_body", ""),
        ("double_body", ""),
        ("error_after", ""),
        ("no_order_object", ""),
        ("json_string", ""),
        ("both_error_and_order", ""),
        ("zero_order_id", ""),
    ],
)
def test_an_answer_that_is_lost_or_vague_keeps_the_money_and_is_never_sent_again(
    simulator: Simulator,
    customer: User,
    sold: Service,
    settings: Settings,
    kind: str,
    text: str,
) -> None:
    """F15: it was processed, and nothing that comes back says so for certain."""
    if kind in {"hang_after", "drip_body", "drip_header"}:
        settings.UPSTREAM_TOTAL_TIMEOUT = Decimal(2)
    order = order_of(customer, sold)
    seconds = 10.0 if kind == "hang_after" else 0.0
    simulator.world.break_with("add", kind, text=text, seconds=seconds)

    forward(order.pk)
    make_due(order)
    forward(order.pk)
    sweep()
    run_due()

    order.refresh_from_db()
    assert (order.dispatch, order.status) == (Dispatch.UNKNOWN, Status.PENDING)
    assert order.attention in {"unknown", "unrecognised"}
    assert order.upstream_id == ""
    assert last_attempt(order).outcome == Outcome.UNKNOWN
    assert codes(order) == [Code.PLACED, Code.SENDING, Code.UNKNOWN]
    assert len(placed_on(simulator, order.link)) == 1
    assert simulator.world.counts.received["add"] == 1
    assert balance_of(customer) == Decimal("9.8")
    assert_sound(simulator)


@pytest.mark.parametrize("text", ["", "rst"])
def test_a_connection_closed_unread_is_unknown_too(
    simulator: Simulator, customer: User, sold: Service, text: str
) -> None:
    """F16: nobody can tell it from one that was read."""
    order = order_of(customer, sold)
    break_add(simulator, "lost_before", text=text)

    forward(order.pk)

    order.refresh_from_db()
    assert order.dispatch == Dispatch.UNKNOWN
    assert placed_on(simulator, order.link) == []
    assert_sound(simulator)


def test_an_id_that_another_order_has_is_not_believed(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    first, second = order_of(customer, sold), order_of(customer, sold)
    forward(first.pk)
    break_add(simulator, "repeat_answer")

    forward(second.pk)

    second.refresh_from_db()
    assert (second.dispatch, second.attention) == (Dispatch.UNKNOWN, "repeated_id")
    assert last_attempt(second).outcome == Outcome.UNKNOWN
    assert_sound(simulator)


def test_a_provider_that_nobody_reaches_is_sent_nothing_and_tried_again(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    """F14: refused, as one of the ways in which no byte leaves."""
    order = order_of(customer, sold)
    url = sold.provider.url
    Provider.objects.update(url="http://127.0.0.1:9/api/v2")

    forward(order.pk)

    order.refresh_from_db()
    assert (order.dispatch, order.waiting_for) == (Dispatch.QUEUED, "not_sent")
    wait = (order.not_before - timezone.now()).total_seconds()
    assert 13 < wait < 19.5
    assert (last_attempt(order).outcome, last_attempt(order).sending_at) == (Outcome.NOT_SENT, None)
    assert codes(order) == [Code.PLACED, Code.NOT_SENT]

    Provider.objects.update(url=url)
    make_due(order)
    forward(order.pk)
    order.refresh_from_db()
    assert (order.dispatch, order.waiting_for) == (Dispatch.ACCEPTED, "")
    assert_sound(simulator)


def test_a_private_address_is_not_dialled(
    simulator: Simulator, customer: User, sold: Service, settings: Settings
) -> None:
    settings.ALLOW_PRIVATE_UPSTREAM = False
    order = order_of(customer, sold)

    forward(order.pk)

    order.refresh_from_db()
    assert order.dispatch == Dispatch.QUEUED
    assert simulator.world.counts.connections == 0


def test_an_address_that_is_none_leaves_the_order_queued(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    order = order_of(customer, sold)
    Provider.objects.update(url="ftp://example.com")

    forward(order.pk)

    order.refresh_from_db()
    assert (order.dispatch, order.waiting_for) == (Dispatch.QUEUED, "not_sent")


def test_a_wait_that_goes_on_is_told_once(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    order = order_of(customer, sold)
    Provider.objects.update(url="http://127.0.0.1:9/api/v2")
    for _ in range(2):
        forward(order.pk)
        make_due(order)

    assert codes(order) == [Code.PLACED, Code.NOT_SENT]
    assert order.attempts.count() == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_pauses_the_provider(
    simulator: Simulator, customer: User, sold: Service, status: int
) -> None:
    """F18: the other host gets no request."""
    with Simulator([FOLLOWERS], key=KEY) as other:
        orders = [order_of(customer, sold) for _ in range(2)]
        target = other.url.replace("127.0.0.1", "localhost")
        simulator.world.break_with("add", "redirect", status=status, location=target)

        assert run_due() == 1

        assert other.world.counts.connections == 0
    orders[0].refresh_from_db()
    assert orders[0].dispatch == Dispatch.UNKNOWN
    gate = gates.gate_of(sold.provider_id)
    assert (gate.pause, gate.pause_note) == (Gate.Pause.REDIRECT, "localhost")
    assert Order.objects.filter(dispatch=Dispatch.QUEUED).count() == 1
    assert_sound(simulator)


def test_short_funds_hold_the_queue_until_they_are_back(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    """F19: at most one `add` a minute meanwhile, the balance is polled, then all in order."""
    simulator.world.set_balance(Decimal("0.05"))
    orders = [order_of(customer, sold) for _ in range(3)]

    assert run_due() == 1
    assert run_due() == 0
    assert gates.gate_of(sold.provider_id).pause == Gate.Pause.FUNDS
    orders[0].refresh_from_db()
    assert (orders[0].dispatch, orders[0].waiting_for) == (Dispatch.QUEUED, "funds")
    assert Order.objects.filter(status=Status.PENDING).count() == 3

    assert sweep(ask=gates.probe, wake=lambda _: True).probed == 0  # not before a minute
    let_gate_time_pass(sold.provider)
    assert sweep(ask=gates.probe, wake=lambda _: True).woken == 0  # still short
    assert simulator.world.counts.received == {"add": 1, "balance": 1}

    simulator.world.set_balance(Decimal(100))
    let_gate_time_pass(sold.provider)
    assert sweep(ask=gates.probe, wake=lambda _: True).woken == 3
    assert run_due() == 3
    sent = [each["link"] for each in simulator.world.truth()["orders"]]
    assert sent == [order.link for order in orders]
    assert codes(orders[0]) == [
        Code.PLACED, Code.SENDING, Code.WAITING, Code.SENDING, Code.ACCEPTED,
    ]  # fmt: skip
    assert_sound(simulator)


def test_an_order_that_comes_while_the_provider_is_paused_says_what_it_waits_for(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    gates.pause(sold.provider_id, reason=Gate.Pause.MANUAL)
    order = order_of(customer, sold)

    forward(order.pk)
    forward(order.pk)

    order.refresh_from_db()
    assert order.waiting_for == "manual"
    assert codes(order) == [Code.PLACED, Code.WAITING]
    gates.resume(sold.provider_id)
    assert run_due() == 1


def test_a_refused_key_pauses_the_provider_and_tells_staff(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    orders = [order_of(customer, sold) for _ in range(2)]
    Provider.objects.filter(pk=sold.provider_id).update(api_key="wrong")

    assert run_due() == 1

    gate = gates.gate_of(sold.provider_id)
    assert (gate.pause, gate.pause_note) == (Gate.Pause.ACCOUNT, "Invalid API key")
    orders[0].refresh_from_db()
    assert (orders[0].dispatch, orders[0].attention) == (Dispatch.QUEUED, "account")

    Provider.objects.filter(pk=sold.provider_id).update(api_key=KEY)
    gates.resume(sold.provider_id)
    assert run_due() == 2
    orders[0].refresh_from_db()
    assert orders[0].attention == ""
    assert_sound(simulator)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Incorrect service ID", "service"),
        ("Quantity less than minimal 10", "quantity"),
        ("Bad link", "link"),
        ("Incorrect request", "request"),
    ],
)
def test_a_definite_refusal_is_refunded_once(
    simulator: Simulator, customer: User, sold: Service, text: str, kind: str
) -> None:
    """F20; only a service the provider does not know is taken off sale."""
    order = order_of(customer, sold)
    break_add(simulator, "error", text=text, times=None)

    forward(order.pk)
    forward(order.pk)

    order.refresh_from_db()
    assert (order.dispatch, order.status) == (Dispatch.REJECTED, Status.CANCELED)
    assert order.finished_at is not None
    assert (last_attempt(order).kind, last_attempt(order).reason) == (kind, text)
    assert Entry.objects.filter(kind=Entry.Kind.REFUND).count() == 1
    assert balance_of(customer) == 10
    assert codes(order) == [Code.PLACED, Code.SENDING, Code.REFUNDED, Code.REJECTED]
    sold.refresh_from_db()
    assert sold.is_held == (kind == "service")
    assert_sound(simulator)


def test_a_duplicate_link_waits_behind_the_running_order(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    simulator.world.change(duplicate_link=True)
    first = order_of(customer, sold, link="https://example.com/same")
    second = order_of(customer, sold, link="https://example.com/same")

    assert run_due() == 2

    second.refresh_from_db()
    assert (second.dispatch, second.waiting_for) == (Dispatch.QUEUED, "duplicate_link")
    wait = (second.not_before - timezone.now()).total_seconds()
    assert 110 < wait < 155
    assert gates.view_of(gates.gate_of(sold.provider_id)).is_clean

    first.refresh_from_db()
    simulator.world.force(first.upstream_id, status="Completed", remains="0")
    make_due(second)
    assert run_due() == 1
    second.refresh_from_db()
    assert second.dispatch == Dispatch.ACCEPTED


def test_two_orders_on_one_link_are_never_under_way_at_once(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    first = order_of(customer, sold, link="https://example.com/same")
    second = order_of(customer, sold, link="https://example.com/same")
    third = order_of(customer, sold)
    Order.objects.filter(pk=first.pk).update(
        dispatch=Dispatch.CLAIMED, lease_until=timezone.now() + timedelta(seconds=20)
    )

    forward(second.pk)
    assert run_due() == 1

    third.refresh_from_db()
    second.refresh_from_db()
    assert (second.dispatch, third.dispatch) == (Dispatch.QUEUED, Dispatch.ACCEPTED)
    assert second.attempt_no == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [("Too many requests", "rate_limit"), ("Service temporarily disabled", "unavailable")],
)
def test_a_busy_provider_is_left_alone_for_a_while(
    simulator: Simulator, customer: User, sold: Service, text: str, reason: str
) -> None:
    order = order_of(customer, sold)
    break_add(simulator, "error", text=text)

    forward(order.pk)
    forward(order.pk)

    order.refresh_from_db()
    assert (order.dispatch, order.waiting_for) == (Dispatch.QUEUED, reason)
    assert simulator.world.counts.received["add"] == 1
    make_due(order)
    forward(order.pk)
    assert_sound(simulator)
    order.refresh_from_db()
    assert order.dispatch == Dispatch.ACCEPTED


def test_http_429_is_a_rate_limit(simulator: Simulator, customer: User, sold: Service) -> None:
    order = order_of(customer, sold)
    break_add(simulator, "rate_limit", text="html")

    forward(order.pk)

    order.refresh_from_db()
    assert (order.dispatch, order.waiting_for) == (Dispatch.QUEUED, "rate_limit")
    assert last_attempt(order).http_status == 429


def test_an_unrecognised_text_is_unknown_until_a_rule_says_what_it_means(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    """F21, and the rule an admin makes of it for the next order."""
    text = "Kwota zamówienia nieprawidłowa"
    first, second = order_of(customer, sold), order_of(customer, sold)
    break_add(simulator, "error", text=text, times=2)

    forward(first.pk)
    first.refresh_from_db()
    assert (first.dispatch, first.attention) == (Dispatch.UNKNOWN, "unrecognised")
    assert text in last_attempt(first).reason

    ErrorRule.objects.create(provider=sold.provider, text=normalise(text), kind="request")
    forward(second.pk)
    second.refresh_from_db()
    assert second.dispatch == Dispatch.REJECTED
    assert_sound(simulator)


def test_an_error_beside_an_id_is_a_refusal_where_the_provider_is_known_for_it(
    simulator: Simulator, customer: User
) -> None:
    """F21: "low balance" beside order 32."""
    service = buy_from(simulator, error_wins=True)
    order = order_of(customer, service)
    break_add(simulator, "both_error_and_order", text="low balance", when="before")

    forward(order.pk)

    order.refresh_from_db()
    assert (order.dispatch, order.waiting_for) == (Dispatch.QUEUED, "funds")


def test_an_outage_costs_two_unknowns_and_not_the_whole_queue(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    """F22: one worker; the bound with several is 2 and those in flight."""
    top_up(user=customer, amount=Decimal(100))
    for _ in range(30):
        order_of(customer, sold)
    simulator.world.break_with("*", "http_502", times=None, when="before")

    run_due()
    assert Order.objects.filter(dispatch=Dispatch.UNKNOWN).count() == 2
    assert Order.objects.filter(dispatch=Dispatch.QUEUED).count() == 28
    assert run_due() == 0
    let_gate_time_pass(sold.provider)
    sweep(ask=gates.probe, wake=lambda _: True)  # half-open: asks for the balance, in vain
    assert run_due() == 0
    assert simulator.world.counts.received == {"add": 2, "balance": 1}

    simulator.world.heal()
    let_gate_time_pass(sold.provider)
    sweep(ask=gates.probe, wake=lambda _: True)
    assert run_due() == 28
    assert Order.objects.filter(dispatch=Dispatch.ACCEPTED).count() == 28
    assert gates.view_of(gates.gate_of(sold.provider_id)).is_clean
    assert_sound(simulator)


def test_a_provider_that_answers_probes_and_loses_orders_costs_one_at_a_time(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    for _ in range(10):
        order_of(customer, sold)
    break_add(simulator, "lost_after", times=None)
    run_due()

    for unknowns in (3, 4):
        let_gate_time_pass(sold.provider)
        sweep(ask=gates.probe, wake=lambda _: True)
        run_due()
        assert Order.objects.filter(dispatch=Dispatch.UNKNOWN).count() == unknowns


def test_no_more_orders_are_under_way_than_the_gate_lets_in(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    gate = gates.gate_of(sold.provider_id)
    gate.max_in_flight = 2
    gate.save()
    orders = [order_of(customer, sold) for _ in range(4)]
    Order.objects.filter(pk__in=[orders[0].pk, orders[1].pk]).update(
        dispatch=Dispatch.CLAIMED, lease_until=timezone.now() + timedelta(seconds=20)
    )

    forward(orders[2].pk)
    assert run_due() == 0
    assert sweep(wake=lambda _: True).woken == 0

    expire_lease(orders[0])
    assert sweep(wake=lambda _: True).woken == 1  # one slot came free
    orders[2].refresh_from_db()
    assert orders[2].attempt_no == 0


def test_a_sweep_wakes_what_is_due_and_nothing_else(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    due, later, sent = (order_of(customer, sold) for _ in range(3))
    forward(sent.pk)
    Order.objects.filter(pk=later.pk).update(not_before=timezone.now() + timedelta(hours=1))
    woken: list[int] = []

    def wake(order_id: int) -> bool:
        woken.append(order_id)
        return True

    found = sweep(wake=wake)

    assert woken == [due.pk]
    assert (found.woken, found.queued, found.unknown) == (1, 0, 0)
    assert str(found).startswith("1 woken")


def test_comments_go_with_their_number_where_the_provider_wants_it(
    simulator: Simulator, customer: User
) -> None:
    service = buy_from(simulator, comments_need_quantity=True)
    simulator.world.sell([FOLLOWERS | {"type": "Custom Comments", "min": "1"}])
    Service.objects.update(order_type="customcomments", min_quantity=1)
    service.refresh_from_db()
    order = place_order(
        customer=customer,
        service=service,
        values={"link": "https://example.com/c", "comments": "one\ntwo\n"},
        client_token=uuid.uuid4(),
    )

    forward(order.pk)

    assert simulator.world.truth(order.link)["orders"][0]["fields"]["quantity"] == "2"
    assert "quantity" not in order.parameters


def test_a_provider_with_request_ids_is_asked_again_with_the_same_one(
    simulator: Simulator, customer: User
) -> None:
    service = buy_from(simulator, idempotency_param="request_id")
    order = order_of(customer, service)
    break_add(simulator, "lost_before")
    forward(order.pk)
    assert sweep(wake=lambda _: True).repeated == 0  # not at once

    Attempt.objects.update(finished_at=timezone.now() - timedelta(minutes=3))
    assert sweep(wake=lambda _: True).repeated == 1
    assert run_due() == 1

    order.refresh_from_db()
    assert order.dispatch == Dispatch.ACCEPTED
    outcomes = list(order.attempts.values_list("outcome", flat=True))
    assert outcomes == [Outcome.REPEATED, Outcome.ACCEPTED]
    sent = simulator.world.truth(order.link)["orders"][0]["fields"]
    assert sent["request_id"] == str(order.client_token)
    assert_sound(simulator)


@pytest.mark.parametrize("name", ["", "other_id"])
def test_an_attempt_without_the_request_id_of_today_is_never_repeated(
    simulator: Simulator, customer: User, name: str
) -> None:
    service = buy_from(simulator, idempotency_param=name)
    order = order_of(customer, service)
    break_add(simulator, "lost_after")
    forward(order.pk)
    Provider.objects.update(idempotency_param="request_id")
    Attempt.objects.update(finished_at=timezone.now() - timedelta(minutes=3))

    assert sweep(wake=lambda _: True).repeated == 0
    order.refresh_from_db()
    assert order.dispatch == Dispatch.UNKNOWN


def test_the_key_is_in_no_log_line_row_or_event(
    simulator: Simulator, customer: User, sold: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for kind, text in [("error", f"bad {KEY} key"), ("html_page", KEY), ("lost_after", "")]:
        order = order_of(customer, sold)
        break_add(simulator, kind, text=text)
        forward(order.pk)
        gates.resume(sold.provider_id)
        for row in [*order.attempts.values(), *order.events.values()]:
            assert KEY not in str(row)

    assert KEY not in caplog.text
    assert "[key]" in Attempt.objects.order_by("pk")[0].answer


def test_a_message_delivered_a_hundred_times_is_one_attempt(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    order = order_of(customer, sold)

    for _ in range(100):
        forward(order.pk)

    assert order.attempts.count() == 1
    assert_sound(simulator)


def test_unknown_orders_that_are_too_old_keep_no_other_from_being_repeated(
    simulator: Simulator, customer: User
) -> None:
    service = buy_from(simulator, idempotency_param="request_id")
    for _ in range(2):
        order = order_of(customer, service)
        break_add(simulator, "lost_after")
        forward(order.pk)
        Gate.objects.all().delete()
    then = timezone.now() - timedelta(minutes=3)
    Attempt.objects.update(claimed_at=then, finished_at=then)
    Attempt.objects.exclude(order=order).update(claimed_at=then - timedelta(days=2))

    assert repeat_unknowns(limit=1) == 1

    order.refresh_from_db()
    assert order.dispatch == Dispatch.QUEUED
