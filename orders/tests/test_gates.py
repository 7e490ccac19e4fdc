"""When a provider is sent orders: the breaker, pauses and probes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts.models import User
from catalog.models import Provider, Service
from orders import gates
from orders.gates import View
from orders.models import Gate, Order
from orders.states import Dispatch
from orders.tests.worlds import let_gate_time_pass, order_of
from orders.verdicts import Signal, Verdict, unknown
from upstream.simulator import Simulator

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("view", "in_flight", "expected"),
    [
        (View(), 0, ""),
        (View(max_in_flight=2), 1, ""),
        (View(max_in_flight=2), 2, "busy"),
        (View(max_in_flight=2), 3, "busy"),
        (View(max_in_flight=0), 0, "busy"),
        (View(pause="funds"), 0, "funds"),
        (View(pause="manual", open_until=NOW), 0, "manual"),
        (View(open_until=NOW, open_seconds=60), 0, "breaker"),
        (View(open_seconds=60), 0, ""),
        (View(open_seconds=60), 1, "busy"),
    ],
)
def test_a_gate_says_why_it_is_shut(view: View, in_flight: int, expected: str) -> None:
    assert gates.refusal(view, in_flight=in_flight) == expected


def test_the_second_unknown_in_a_row_opens_the_breaker_for_a_minute() -> None:
    once = gates.after_unknown(View(), NOW)
    twice = gates.after_unknown(once, NOW)

    assert once.open_until is None
    assert twice.open_until == NOW + MINUTE


def test_the_third_not_sent_in_a_row_opens_the_breaker() -> None:
    view = gates.after_not_sent(gates.after_not_sent(View(), NOW), NOW)

    assert view.open_until is None
    assert gates.after_not_sent(view, NOW).open_until == NOW + MINUTE


def test_an_answer_between_two_failures_keeps_the_breaker_closed() -> None:
    view = gates.after_answer(gates.after_unknown(View(), NOW))

    assert view == View()
    assert gates.after_unknown(view, NOW).open_until is None


def test_an_answer_that_was_on_its_way_does_not_close_an_open_breaker() -> None:
    view = View(open_until=NOW, open_seconds=60, unknowns_in_row=2)

    assert gates.after_answer(view) == view


def test_failures_that_were_on_their_way_do_not_lengthen_an_open_breaker() -> None:
    view = View(open_until=NOW + MINUTE, open_seconds=60, unknowns_in_row=2)

    assert gates.after_unknown(view, NOW).open_until == NOW + MINUTE


def test_the_breaker_doubles_to_ten_minutes_while_probes_fail() -> None:
    view, now, lengths = gates.opened(View(), NOW), NOW, []
    for _ in range(6):
        assert view.open_until is not None
        lengths.append((view.open_until - now).total_seconds())
        now = view.open_until
        view = gates.after_probe(view, now, answered=False)

    assert lengths == [60, 120, 240, 480, 600, 600]


def test_after_a_good_probe_one_order_is_on_trial_and_one_failure_opens_again() -> None:
    trial = gates.after_probe(gates.opened(View(), NOW), NOW + MINUTE, answered=True)

    assert gates.refusal(trial, in_flight=0) == ""
    assert gates.refusal(trial, in_flight=1) == "busy"
    assert gates.after_unknown(trial, NOW).open_until == NOW + 2 * MINUTE
    assert gates.after_not_sent(trial, NOW).open_until == NOW + 2 * MINUTE
    assert gates.after_answer(trial) == View()


@pytest.mark.parametrize(
    ("balance", "seen", "needs", "expected"),
    [
        ("5", None, "6", False),
        ("6", None, "6", True),
        ("5", "5", "6", False),
        ("5.01", "5", "6", True),
        ("4", "5", "6", False),
        ("0", None, None, True),
    ],
)
def test_funds_are_back_when_they_cover_the_first_order_or_rose(
    balance: str, seen: str | None, needs: str | None, expected: bool
) -> None:
    found = gates.funds_are_back(
        balance=Decimal(balance),
        seen=None if seen is None else Decimal(seen),
        first_needs=None if needs is None else Decimal(needs),
    )

    assert found is expected


def test_a_gate_is_made_open(provider: Provider) -> None:
    gate = gates.gate_of(provider.pk)

    assert gates.refusal(gates.view_of(gate), in_flight=0) == ""
    assert gates.gate_of(provider.pk) == gate


def signal(name: Signal, **fields: str) -> Verdict:
    return replace(unknown("x"), signal=name, **fields)  # type: ignore[arg-type]


def test_a_pause_is_noted_with_its_reason(provider: Provider) -> None:
    gates.note(provider.pk, signal(Signal.REDIRECT, target="evil.example"))

    gate = Gate.objects.get(provider=provider)
    assert (gate.pause, gate.pause_note) == (Gate.Pause.REDIRECT, "evil.example")
    assert gate.paused_at is not None


def test_funds_never_replace_a_pause_that_staff_must_lift(provider: Provider) -> None:
    gates.note(provider.pk, signal(Signal.FUNDS))
    gates.note(provider.pk, signal(Signal.ACCOUNT, reason="Invalid API key"))
    gates.note(provider.pk, signal(Signal.FUNDS))

    assert Gate.objects.get(provider=provider).pause == Gate.Pause.ACCOUNT
    assert gates.due_probes() == []


def test_resume_opens_the_gate_and_lets_the_waiting_go_at_once(
    customer: User, service: Service
) -> None:
    order = order_of(customer, service)
    later = timezone.now() + timedelta(minutes=5)
    Order.objects.update(waiting_for="account", not_before=later)
    gates.pause(service.provider_id, reason=Gate.Pause.ACCOUNT)

    gates.resume(service.provider_id)

    order.refresh_from_db()
    assert order.not_before <= timezone.now()
    assert gates.gate_of(service.provider_id).pause == ""


@pytest.mark.django_db(transaction=True)
def test_a_probe_closes_the_breaker_of_a_provider_that_answers(
    simulator: Simulator, sold: Service
) -> None:
    for _ in range(2):
        gates.note(sold.provider_id, unknown("lost"))
    assert gates.due_probes() == []
    let_gate_time_pass(sold.provider)

    assert gates.due_probes() == [sold.provider_id]
    assert gates.probe(sold.provider_id)
    assert gates.due_probes() == []
    assert simulator.world.counts.received == {"balance": 1}
    sold.provider.refresh_from_db()
    assert sold.provider.balance == 1000


@pytest.mark.django_db(transaction=True)
def test_a_probe_that_is_not_answered_keeps_the_breaker_open_longer(
    simulator: Simulator, sold: Service
) -> None:
    for _ in range(2):
        gates.note(sold.provider_id, unknown("lost"))
    let_gate_time_pass(sold.provider)
    simulator.world.break_with("balance", "http_502")

    assert not gates.probe(sold.provider_id)
    gate = gates.gate_of(sold.provider_id)
    assert gate.open_seconds == 120
    assert gate.open_until is not None
    assert gate.open_until > timezone.now() + MINUTE


@pytest.mark.django_db(transaction=True)
def test_a_provider_is_probed_by_one_worker_at_a_time(simulator: Simulator, sold: Service) -> None:
    gates.pause(sold.provider_id, reason=Gate.Pause.FUNDS)

    assert not gates.probe(sold.provider_id)  # the minute is not over
    assert simulator.world.counts.received["balance"] == 0


def test_a_settled_order_leaves_no_wait(customer: User, service: Service) -> None:
    """Only queued orders are let go; the rest of the provider's orders stay as they are."""
    order = order_of(customer, service)
    Order.objects.update(dispatch=Dispatch.ACCEPTED, upstream_id="7", waiting_for="breaker")
    before = Order.objects.get(pk=order.pk).not_before

    gates.resume(service.provider_id)

    assert Order.objects.get(pk=order.pk).not_before == before
