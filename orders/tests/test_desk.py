"""What staff do, and that nobody can do it twice or beyond the charge."""

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from catalog.models import Service
from orders import desk
from orders.audit import check
from orders.errors import NotPossible
from orders.following import poll_due
from orders.models import Attempt, Order
from orders.states import Dispatch, Outcome, Status
from orders.tests.test_settle_apply import make_order
from orders.tests.upstream_world import Upstream, balance, running_upstream
from orders.timeline import Code
from wallet.models import Entry

TOKEN = uuid.UUID("00000000-0000-4000-8000-000000000001")


@pytest.fixture
def upstream(db: None) -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture
def order(customer: User, service: Service) -> Order:
    return make_order(customer, service)


@pytest.fixture
def lost(upstream: Upstream, customer: User) -> Order:
    return upstream.lose(customer)


def errors() -> list[str]:
    return [str(finding) for finding in check() if finding.is_error]


def give(order: Order, staff: User, amount: str | None, token: uuid.UUID | None = None) -> Entry:
    return desk.refund(
        order_id=order.pk,
        amount=None if amount is None else Decimal(amount),
        reason="late delivery",
        actor=staff,
        token=token or uuid.uuid4(),
    )


def test_a_refund_is_in_the_ledger_the_order_and_the_timeline(order: Order, staff: User) -> None:
    entry = give(order, staff, "0.5")
    order.refresh_from_db()
    assert (entry.kind, entry.actor, entry.note) == ("staff_refund", staff, "late delivery")
    assert (order.refunded, order.status) == (Decimal("0.5"), Status.PENDING)
    assert balance(order.customer) == Decimal("8.5")
    line = order.events.get(code=Code.REFUNDED)
    assert line.actor == staff
    assert line.values["reason"] == "late delivery"
    assert errors() == []


def test_all_that_is_left_is_given_back_and_the_order_runs_on(order: Order, staff: User) -> None:
    give(order, staff, "0.5")
    assert give(order, staff, None).amount == Decimal("1.5")
    order.refresh_from_db()
    assert (order.refunded, order.status) == (order.charge, Status.PENDING)
    with pytest.raises(NotPossible, match="Nothing is left"):
        give(order, staff, None)
    assert balance(order.customer) == 10
    assert errors() == []


def test_the_same_token_pays_once(order: Order, staff: User) -> None:
    first = give(order, staff, "0.5", TOKEN)
    assert give(order, staff, "0.5", TOKEN) == first
    assert balance(order.customer) == Decimal("8.5")


@pytest.mark.parametrize("amount", ["0", "-1", "2.00001", "0.0000001"])
def test_an_amount_out_of_bounds_is_refused(order: Order, staff: User, amount: str) -> None:
    with pytest.raises(NotPossible):
        give(order, staff, amount)
    assert balance(order.customer) == 8


def test_60_percent_twice_is_refused_the_second_time(order: Order, staff: User) -> None:
    give(order, staff, "1.2")
    with pytest.raises(NotPossible, match="at most what is left"):
        give(order, staff, "1.2")
    assert balance(order.customer) == Decimal("9.2")


@pytest.mark.parametrize("dispatch", [Dispatch.QUEUED, Dispatch.UNKNOWN])
def test_an_order_that_may_yet_be_sent_is_not_refunded_whole(
    customer: User, service: Service, staff: User, dispatch: Dispatch
) -> None:
    order = make_order(customer, service, dispatch=dispatch, upstream_id="")
    with pytest.raises(NotPossible, match="may yet be sent"):
        give(order, staff, None)
    give(order, staff, "0.5")


def verbs(order: Order, staff: User, reason: str) -> list[Callable[[], Any]]:
    common: dict[str, Any] = {"order_id": order.pk, "reason": reason, "actor": staff}
    return [
        lambda: desk.refund(**common, amount=None, token=uuid.uuid4()),
        lambda: desk.bind_unknown(**common, upstream_id="77"),
        lambda: desk.refund_unknown(**common),
        lambda: desk.resend_unknown(**common),
        lambda: desk.acknowledge(**common),
    ]


def test_every_verb_needs_a_reason(lost: Order, staff: User) -> None:
    for verb in verbs(lost, staff, "  "):
        with pytest.raises(NotPossible, match="reason"):
            verb()


def test_only_an_unconfirmed_order_is_decided(order: Order, staff: User) -> None:
    for verb in verbs(order, staff, "because")[1:4]:
        with pytest.raises(NotPossible, match="not unconfirmed"):
            verb()


def test_an_order_that_was_found_is_followed_from_then_on(
    upstream: Upstream, lost: Order, staff: User
) -> None:
    with upstream.provider.client() as client:
        placed = client.add("1", lost.parameters)
    desk.bind_unknown(
        order_id=lost.pk, upstream_id=f" {placed.order} ", reason="seen there", actor=staff
    )
    lost.refresh_from_db()
    assert (lost.dispatch, lost.upstream_id) == (Dispatch.ACCEPTED, placed.order)
    attempt = Attempt.objects.get(order=lost)
    assert (attempt.outcome, attempt.upstream_id) == (Outcome.ACCEPTED, placed.order)
    upstream.world.advance(11)
    assert poll_due().changed == 1
    lost.refresh_from_db()
    assert lost.status == Status.COMPLETED
    line = lost.events.get(code=Code.RESOLVED)
    assert (line.actor, line.values["action"], line.values["reason"]) == (
        staff, "bind", "seen there",
    )  # fmt: skip
    assert errors() == []


def test_an_id_belongs_to_one_order(
    upstream: Upstream, lost: Order, customer: User, staff: User
) -> None:
    other = upstream.accept(customer)
    for upstream_id in (other.upstream_id, "", "x" * 65):
        with pytest.raises(NotPossible):
            desk.bind_unknown(
                order_id=lost.pk, upstream_id=upstream_id, reason="guess", actor=staff
            )
    lost.refresh_from_db()
    assert lost.dispatch == Dispatch.UNKNOWN


def test_an_id_that_another_orders_late_answer_brought_is_taken(
    upstream: Upstream, lost: Order, customer: User, staff: User
) -> None:
    refunded = upstream.lose(customer)
    desk.refund_unknown(order_id=refunded.pk, reason="waited long", actor=staff)
    Attempt.objects.filter(order=refunded).update(upstream_id="4711", is_late=True)
    with pytest.raises(NotPossible, match="another order"):
        desk.bind_unknown(order_id=lost.pk, upstream_id="4711", reason="guess", actor=staff)


def test_a_refunded_unknown_order_is_over_and_its_attempt_stays_open_to_the_truth(
    lost: Order, staff: User, customer: User
) -> None:
    desk.refund_unknown(order_id=lost.pk, reason="waited long", actor=staff)
    lost.refresh_from_db()
    assert (lost.dispatch, lost.status) == (Dispatch.REJECTED, Status.CANCELED)
    assert balance(customer) == 10
    assert Attempt.objects.get(order=lost).outcome == Outcome.UNKNOWN
    with pytest.raises(NotPossible):
        desk.refund_unknown(order_id=lost.pk, reason="again", actor=staff)
    assert errors() == []


def test_a_resent_order_keeps_the_statement_and_lets_the_next_attempt_in(
    lost: Order, staff: User, customer: User
) -> None:
    desk.resend_unknown(order_id=lost.pk, reason="not in their list", actor=staff)
    lost.refresh_from_db()
    assert (lost.dispatch, lost.status) == (Dispatch.QUEUED, Status.PENDING)
    attempt = Attempt.objects.get(order=lost)
    assert (attempt.outcome, attempt.reason) == (Outcome.ABSENT, "not in their list")
    Attempt.objects.create(order=lost, number=2, outcome=Outcome.SENDING)
    assert balance(customer) == 8
    assert errors() == []


def test_an_order_is_not_resent_within_ten_minutes(lost: Order, staff: User) -> None:
    Attempt.objects.update(sending_at=timezone.now() - timedelta(minutes=9))
    with pytest.raises(NotPossible, match="10 minutes"):
        desk.resend_unknown(order_id=lost.pk, reason="impatient", actor=staff)


def test_a_refunded_order_is_not_resent(lost: Order, staff: User) -> None:
    Order.objects.filter(pk=lost.pk).update(refunded=lost.charge)
    with pytest.raises(NotPossible, match="Nothing is left"):
        desk.resend_unknown(order_id=lost.pk, reason="free", actor=staff)


def test_attention_is_taken_off_by_someone_who_looked(order: Order, staff: User) -> None:
    Order.objects.update(attention="stuck")
    desk.acknowledge(order_id=order.pk, reason="asked them", actor=staff)
    order.refresh_from_db()
    assert order.attention == ""
    with pytest.raises(NotPossible):
        desk.acknowledge(order_id=order.pk, reason="again", actor=staff)
