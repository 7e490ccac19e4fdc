"""Threads that claim together, and how many statements an order costs on its way."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models import Count
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from catalog.models import ErrorRule, Service, connections
from orders import claims, fulfilment, gates, statements, turns
from orders.claims import claim_many, mark, mark_by_rows
from orders.fulfilment import forward_next, run_due, work
from orders.models import Attempt, Event, Gate, Order
from orders.poll_models import Poll
from orders.states import Dispatch, Outcome
from orders.tests.races import at_once
from orders.tests.worlds import assert_sound, order_of
from orders.verdicts import judge
from upstream.answers import Placed
from upstream.simulator import Simulator

pytestmark = pytest.mark.django_db(transaction=True)

# BEGIN, gate, in flight, due orders, claim, attempts, COMMIT.
OF_A_CLAIM = 7


def counted(action: Callable[[], object]) -> list[str]:
    """The statements of an action, transactions' own among them."""
    with CaptureQueriesContext(connection) as captured:
        action()
    return [query["sql"] for query in captured]


def test_many_are_claimed_with_the_statements_of_one(customer: User, sold: Service) -> None:
    Gate.objects.filter(pk=gates.gate_of(sold.provider_id).pk).update(max_in_flight=9)
    for _ in range(10):
        order_of(customer, sold)
    claimed: list[claims.Claim] = []

    one = counted(lambda: claimed.extend(claim_many(sold.provider_id, 1)))
    many = counted(lambda: claimed.extend(claim_many(sold.provider_id, 50)))

    assert (len(one), len(many)) == (OF_A_CLAIM, OF_A_CLAIM)
    assert len(claimed) == 9  # no more than the gate lets in
    assert [each.order_id for each in claimed] == sorted(each.order_id for each in claimed)
    attempts = Attempt.objects.order_by("order_id").values_list("pk", "order_id", "number")
    assert list(attempts) == [(each.attempt_id, each.order_id, 1) for each in claimed]
    assert Order.objects.filter(dispatch=Dispatch.CLAIMED, attempt_no=1).count() == 9


def test_an_order_costs_few_statements_on_its_way(
    customer: User, sold: Service, simulator: Simulator, is_postgresql: bool
) -> None:
    gates.gate_of(sold.provider_id)
    for _ in range(2):
        order_of(customer, sold)
    sent = counted(lambda: forward_next(sold.provider_id))

    # Mark and acceptance: each one statement, or three and four in a transaction.
    assert len(sent) == OF_A_CLAIM + (2 if is_postgresql else 5 + 6)
    assert not [each for each in sent if "catalog_errorrule" in each and "orders_gate" not in each]

    ErrorRule.objects.create(provider=sold.provider, text="x", kind="request")
    assert len(counted(lambda: forward_next(sold.provider_id))) == len(sent) + 1
    assert_sound(simulator)


def test_orders_to_send_share_a_connection(
    customer: User, sold: Service, simulator: Simulator
) -> None:
    for _ in range(5):
        order_of(customer, sold)

    assert run_due() == 5
    assert simulator.world.counts.connections == 1
    assert_sound(simulator)


def test_a_message_of_an_order_that_is_gone_costs_one_statement(
    customer: User, sold: Service
) -> None:
    order = order_of(customer, sold)
    work(order.pk)

    assert len(counted(lambda: work(order.pk))) == 1


def test_an_empty_queue_is_not_written_to(customer: User, sold: Service) -> None:
    gates.gate_of(sold.provider_id)
    order = order_of(customer, sold)
    Order.objects.filter(pk=order.pk).update(dispatch=Dispatch.UNKNOWN)

    found = counted(lambda: forward_next(sold.provider_id))

    assert [each.split()[0] for each in found] == ["BEGIN", "SELECT", "SELECT", "SELECT", "COMMIT"]


def test_those_that_stand_aside_make_room_for_the_next(
    customer: User, sold: Service, simulator: Simulator
) -> None:
    """Five on one link, then two others: one of the five and the two go at once."""
    for _ in range(5):
        order_of(customer, sold, link="https://example.com/same")
    others = [order_of(customer, sold).pk for _ in range(2)]

    claimed = claim_many(sold.provider_id, 3)

    assert [each.order_id for each in claimed][1:] == others
    assert claim_many(sold.provider_id, 3) == []


@pytest.mark.postgres
def test_a_queue_that_another_transaction_holds_is_not_waited_for(
    customer: User, sold: Service
) -> None:
    first, second = order_of(customer, sold), order_of(customer, sold)
    other = connection.copy()
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute("SELECT 1 FROM orders_order WHERE id = %s FOR UPDATE", [first.pk])
        claimed = claim_many(sold.provider_id, 2)
    other.rollback()
    other.close()

    assert [each.order_id for each in claimed] == [second.pk]


def rows_of(order: Order) -> list[Any]:
    """What an order, its attempt, timeline and poll hold, without numbers and moments."""
    moments = {"id", "order_id", "client_token", "link", "parameters", "created_at", "not_before"}
    moments |= {"claimed_at", "at", "upstream_id", "answer"}
    found: list[Any] = []
    for rows in (
        Order.objects.filter(pk=order.pk),
        Attempt.objects.filter(order=order),
        Event.objects.filter(order=order).order_by("pk"),
        Poll.objects.filter(order=order),
    ):
        for row in rows.values():
            kept = {name: value for name, value in row.items() if name not in moments}
            found.append(
                {name: str(type(value)) if name.endswith(("_at", "_until")) else value
                 for name, value in kept.items()}
            )  # fmt: skip
    return found


@pytest.mark.postgres
def test_one_statement_writes_what_several_would(customer: User, sold: Service) -> None:
    by_rows, at_once_ = order_of(customer, sold), order_of(customer, sold)
    first, second = claim_many(sold.provider_id, 2)
    assert mark_by_rows(first)
    mark(second)
    assert rows_of(by_rows) == rows_of(at_once_)
    assert Order.objects.get(pk=at_once_.pk).dispatch == Dispatch.SENDING

    verdicts = [
        judge(Placed(number, '{"order": "it\'s %s"}'), tries=1, jitter=0) for number in "12"
    ]
    assert fulfilment.accept_by_rows(first, verdicts[0])
    assert fulfilment._accept(second, verdicts[1])
    assert rows_of(by_rows) == rows_of(at_once_)
    accepted = Attempt.objects.get(order=at_once_)
    assert (accepted.upstream_id, accepted.answer) == ("2", '{"order": "it\'s %s"}')
    assert accepted.finished_at is not None
    assert Poll.objects.get(order=at_once_).due_at - accepted.finished_at == fulfilment.FIRST_POLL


@pytest.mark.postgres
def test_a_statement_whose_fence_fails_writes_nothing(customer: User, sold: Service) -> None:
    order = order_of(customer, sold)
    [claimed] = claim_many(sold.provider_id, 1)
    before = rows_of(order)
    values = {"order_id": order.pk, "attempt_id": claimed.attempt_id}

    assert not statements.mark(**values, attempt_no=2, lease=claims.send_lease())
    assert not statements.accept(
        **values, attempt_no=1, upstream_id="1", answer="", first_poll=fulfilment.FIRST_POLL
    )
    assert rows_of(order) == before


def test_when_a_claim_fails_those_who_wait_find_nothing_and_the_next_goes_on(
    customer: User, sold: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_of(customer, sold)
    leading, may_fail = threading.Event(), threading.Event()

    def failing(_provider_id: int, _most: int) -> list[claims.Claim]:
        leading.set()
        assert may_fail.wait(60)
        raise OperationalError("server closed the connection")

    results: list[object] = []

    def ask() -> None:
        try:
            results.append(turns.claim_next(sold.provider_id))
        except OperationalError as error:
            results.append(str(error))

    with monkeypatch.context() as patch:
        patch.setattr(claims, "claim_many", failing)
        threads = [threading.Thread(target=ask) for _ in range(4)]
        threads[0].start()
        assert leading.wait(60)
        for thread in threads[1:]:
            thread.start()
        may_fail.set()
        for thread in threads:
            thread.join(30)

    # The first led, and one of the three that came meanwhile led for all of those.
    assert len(results) == 4
    assert {str(each) for each in results} <= {"None", "server closed the connection"}
    assert "server closed the connection" in results
    assert turns.claim_next(sold.provider_id) is not None


@pytest.mark.postgres
def test_a_crowd_claims_together_and_never_more_than_the_gate_allows(
    customer: User, sold: Service, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    Gate.objects.filter(pk=gates.gate_of(sold.provider_id).pk).update(max_in_flight=5)
    simulator.world.change(latency_ms=20.0)
    for _ in range(40):
        order_of(customer, sold)
    flying: list[int] = []
    real = claims.mark

    def counting(claimed: claims.Claim) -> None:
        flying.append(len(gates.in_flight(claimed.provider.pk)))
        real(claimed)

    monkeypatch.setattr(claims, "mark", counting)
    for _ in range(10):
        at_once([run_due] * 12)
        if not Order.objects.filter(dispatch=Dispatch.QUEUED).exists():
            break

    assert max(flying) <= 5
    batches = Attempt.objects.values("claimed_at").annotate(orders=Count("pk"))
    together = [batch["orders"] for batch in batches]
    assert sum(together) == 40
    assert 1 < max(together) <= turns.AT_ONCE
    assert Attempt.objects.filter(outcome=Outcome.ACCEPTED).count() == 40
    assert_sound(simulator)
    connections.close()
