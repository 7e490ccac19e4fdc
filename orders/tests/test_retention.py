"""What goes after its days, and what stays whatever its age: money, proofs, and all that is open."""

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts import keeping
from accounts.models import User
from catalog.models import BalanceSample, Provider, Service
from orders import retention
from orders.audit import check
from orders.closing import close_account
from orders.models import Attempt, Event, Order, Request, RetentionMark, ScannedSpan
from orders.run_models import BulkRow, BulkRun
from orders.services import place_order, withdraw
from orders.states import Dispatch, Outcome, RequestState
from orders.tests.worlds import order_of
from wallet.models import Account, Entry

NOW = timezone.now()
DAY = timedelta(days=1)


def aged(order: Order, days: int, *, finished: int | None = None, **changes: Any) -> Order:
    """The order as if it had been placed so many days ago, and finished `finished` days ago."""
    values = {"created_at": NOW - days * DAY, **changes}
    if finished is not None:
        values["finished_at"] = NOW - finished * DAY
    Order.objects.filter(pk=order.pk).update(**values)
    Attempt.objects.create(order=order, number=1, outcome=Outcome.NOT_SENT, answer="an answer")
    return order


@pytest.fixture
def order(customer: User, service: Service) -> Callable[[], Order]:
    """An order that is cancelled and refunded in full."""

    def make() -> Order:
        made = order_of(customer, service)
        withdraw(made.pk, actor=customer)
        return made

    return make


def with_timeline() -> set[int]:
    return set(Event.objects.values_list("order_id", flat=True))


def with_answer() -> set[int]:
    return set(Attempt.objects.exclude(answer="").values_list("order_id", flat=True))


def test_what_is_old_and_settled_goes_and_everything_else_stays(
    order: Callable[[], Order], customer: User, service: Service, settings: Settings
) -> None:
    settings.KEEP_TIMELINES_DAYS, settings.KEEP_ANSWERS_DAYS = 200, 100
    gone = aged(order(), 300, finished=250)
    only_answer_gone = aged(order(), 300, finished=150)
    runs = aged(order_of(customer, service), 400)
    lost = aged(order_of(customer, service), 400, dispatch=Dispatch.UNKNOWN, attempt_no=1)
    asked = aged(order(), 300, finished=250)
    Request.objects.create(
        order=asked, provider=asked.provider, kind="refill", state=RequestState.QUEUED, answer="x"
    )
    young = aged(order(), 20, finished=10)
    entries = Entry.objects.count()

    retention.forget_timelines(NOW)
    retention.forget_answers(NOW)

    kept = {runs.pk, lost.pk, asked.pk, young.pk}
    assert with_answer() == kept
    assert with_timeline() == kept | {only_answer_gone.pk}
    # The attempt itself proves that the order was sent once.
    assert Attempt.objects.filter(order=gone).count() == 1
    assert Entry.objects.count() == entries
    assert [finding for finding in check() if finding.is_error] == []


def test_an_order_that_was_passed_over_is_met_again(
    order: Callable[[], Order], customer: User, service: Service
) -> None:
    aged(order(), 900, finished=900)
    slow = aged(order_of(customer, service), 900)
    aged(order(), 900, finished=900)

    assert retention.forget_timelines(NOW) > 0
    assert RetentionMark.objects.get(name="timelines").order_id == slow.pk - 1
    withdraw(slow.pk, actor=None)
    Order.objects.filter(pk=slow.pk).update(finished_at=NOW - 899 * DAY)
    retention.forget_timelines(NOW)

    assert with_timeline() == set()
    assert RetentionMark.objects.get(name="timelines").order_id > slow.pk


def test_a_second_run_looks_at_nothing_that_was_done(order: Callable[[], Order]) -> None:
    for _ in range(3):
        aged(order(), 900, finished=900)
    retention.forget_answers(NOW)

    with CaptureQueriesContext(connection) as asked:
        assert retention.forget_answers(NOW) == 0
    # The marks, and one look at what comes after them.
    assert len(asked.captured_queries) == 2


def test_an_order_that_never_ends_costs_a_run_no_more_than_its_bound(
    order: Callable[[], Order],
    customer: User,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    monkeypatch.setattr(retention, "MOST_PER_RUN", 4)
    endless = aged(order_of(customer, service), 900)
    for _ in range(40):
        aged(order(), 900, finished=900)
    while retention.forget_answers(NOW):
        pass

    costs = []
    for _ in range(12):
        with CaptureQueriesContext(connection) as asked:
            assert retention.forget_answers(NOW) == 0
        costs.append(len(asked.captured_queries))

    assert RetentionMark.objects.get(name="answers").order_id == endless.pk - 1
    # Two chunks of a few statements each, and not twenty.
    assert max(costs) < 30


def test_whoever_ends_far_behind_the_front_is_met_on_the_next_round(
    order: Callable[[], Order],
    customer: User,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    monkeypatch.setattr(retention, "MOST_PER_RUN", 2)
    aged(order_of(customer, service), 900)
    for _ in range(3):
        aged(order(), 900, finished=900)
    late = aged(order_of(customer, service), 900)
    for _ in range(4):
        aged(order(), 900, finished=900)
    for _ in range(12):
        retention.forget_timelines(NOW)
    assert len(with_timeline()) == 2

    withdraw(late.pk, actor=None)
    Order.objects.filter(pk=late.pk).update(finished_at=NOW - 899 * DAY)
    runs = 0
    while late.pk in with_timeline():
        retention.forget_timelines(NOW)
        runs += 1

    # A round over nine orders, two at a time.
    assert 1 <= runs <= 6
    assert len(with_timeline()) == 1


def test_a_run_is_bounded_by_orders_however_long_their_timelines_are(
    order: Callable[[], Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    monkeypatch.setattr(retention, "MOST_PER_RUN", 4)
    for _ in range(6):
        made = aged(order(), 900, finished=900)
        Event.objects.bulk_create(Event(order=made, code="note") for _ in range(10))

    retention.forget_timelines(NOW)
    assert len(with_timeline()) == 2
    retention.forget_timelines(NOW)
    assert with_timeline() == set()


def test_a_run_stops_at_its_bound_and_the_next_goes_on(
    order: Callable[[], Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 2)
    monkeypatch.setattr(retention, "MOST_PER_RUN", 2)
    for _ in range(5):
        aged(order(), 900, finished=900)

    assert [retention.forget_answers(NOW) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.parametrize(
    ("setting", "forget"),
    [
        ("KEEP_TIMELINES_DAYS", retention.forget_timelines),
        ("KEEP_ANSWERS_DAYS", retention.forget_answers),
        ("KEEP_READINGS_DAYS", retention.forget_readings),
        ("KEEP_DELETED_LINKS_DAYS", retention.forget_links),
        ("KEEP_BULK_RUNS_DAYS", retention.forget_bulk_runs),
    ],
)
def test_zero_keeps_for_ever(
    order: Callable[[], Order],
    provider: Provider,
    settings: Settings,
    setting: str,
    forget: Callable[[datetime], int],
) -> None:
    setattr(settings, setting, 0)
    ended = aged(order(), 9000, finished=9000)
    readings(provider, 9000, 8000)
    bulk_run(ended, ended=9000)
    User.objects.filter(pk=ended.customer_id).update(deleted_at=NOW - 9000 * DAY)

    assert forget(NOW) == 0


def readings(provider: Provider, *ages: int) -> None:
    for age in ages:
        at = NOW - age * DAY
        BalanceSample.objects.create(provider=provider, asked_at=at, answered_at=at, amount=1)
        ScannedSpan.objects.create(provider=provider, low=age, high=age, at=at)


def ages_left(provider: Provider) -> list[int]:
    return [(NOW - each.asked_at).days for each in BalanceSample.objects.filter(provider=provider)]


def test_readings_go_but_for_the_last_one(provider: Provider, settings: Settings) -> None:
    settings.KEEP_READINGS_DAYS = 60
    quiet = Provider.objects.create(name="Quiet", url="https://q.example", api_key="x")
    readings(provider, 300, 61, 59, 1)
    readings(quiet, 300, 200)

    assert retention.forget_readings(NOW) == 2 + 2 + 1 + 2

    assert ages_left(provider) == [1, 59]
    assert ages_left(quiet) == [200]


def test_readings_that_may_explain_a_lost_order_stay(
    provider: Provider, customer: User, service: Service, settings: Settings
) -> None:
    settings.KEEP_READINGS_DAYS = 60
    lost = order_of(customer, service)
    Order.objects.filter(pk=lost.pk).update(dispatch=Dispatch.UNKNOWN, attempt_no=1)
    Attempt.objects.create(
        order=lost, number=1, outcome=Outcome.UNKNOWN, sending_at=NOW - 100 * DAY
    )
    readings(provider, 300, 129, 70, 1)

    retention.forget_readings(NOW)

    # Thirty days before it was lost is what the search may look back.
    assert ages_left(provider) == [1, 70, 129]


def test_a_deleted_customers_links_go_after_their_days_and_the_money_still_adds_up(
    customer: User, staff: User, service: Service, settings: Settings
) -> None:
    settings.KEEP_DELETED_LINKS_DAYS = 90
    order = place_order(
        customer=customer,
        service=service,
        values={"link": "https://example.com/me", "quantity": "100"},
        client_token=uuid.uuid4(),
    )
    withdraw(order.pk, actor=customer)
    Order.objects.update(order_type="custom_comments", parameters={
        "link": "https://example.com/me", "comments": "I am Zelda", "runs": "2", "odd": "555",
        "odder": "me",
    })  # fmt: skip
    Attempt.objects.create(order=order, number=1, outcome=Outcome.REJECTED, answer="me?")
    close_account(customer, actor=staff, gives_up=Account.objects.get().balance)

    assert retention.forget_links(NOW + 89 * DAY) == 0
    assert Order.objects.get().link
    assert retention.forget_links(NOW + 91 * DAY) == 1

    left = Order.objects.get()
    assert (left.link, left.parameters) == ("", {"runs": "2", "odd": "555"})
    assert (left.charge, left.quantity) == (Decimal("0.2"), 100)
    assert Attempt.objects.get().answer == ""
    assert [finding for finding in check() if finding.is_error] == []
    with CaptureQueriesContext(connection) as asked:
        assert retention.forget_links(NOW + 92 * DAY) == 0
    assert len(asked.captured_queries) == 1


def test_nobody_elses_links_go(customer: User, service: Service) -> None:
    order_of(customer, service)
    retention.forget_links(NOW + 9999 * DAY)
    assert Order.objects.get().link


def bulk_run(*orders: Order, ended: int | None) -> BulkRun:
    """A run that ended so many days ago, or that is still open after years, with a row per order."""
    at = None if ended is None else NOW - ended * DAY
    run = BulkRun.objects.create(
        action="refund", started_by=orders[0].customer, total=len(orders),
        created_at=NOW - 9999 * DAY, finished_at=at,
    )  # fmt: skip
    state = BulkRow.State.DONE if at else BulkRow.State.WAITING
    BulkRow.objects.bulk_create(
        BulkRow(run=run, order=order, state=state, done_at=at) for order in orders
    )
    return run


def test_bulk_runs_go_after_their_days_and_never_one_that_is_open(
    order: Callable[[], Order], settings: Settings
) -> None:
    settings.KEEP_BULK_RUNS_DAYS = 700
    orders = [order() for _ in range(3)]
    young, unfinished = bulk_run(*orders, ended=699), bulk_run(*orders, ended=None)
    bulk_run(*orders, ended=701)

    assert retention.forget_bulk_runs(NOW) == 3

    assert set(BulkRun.objects.values_list("pk", flat=True)) == {young.pk, unfinished.pk}
    assert BulkRow.objects.count() == 6
    assert Order.objects.count() == 3


def test_a_large_bulk_run_goes_in_parts_and_itself_last(
    order: Callable[[], Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "CHUNK", 2)
    monkeypatch.setattr(retention, "MOST_PER_RUN", 5)
    run = bulk_run(*(order() for _ in range(7)), ended=9000)

    with CaptureQueriesContext(connection) as asked:
        assert retention.forget_bulk_runs(NOW) == 5
    sizes = [each["sql"].count(",") + 1 for each in asked.captured_queries if is_deletion(each)]
    assert sizes == [2, 2, 1]
    assert BulkRun.objects.filter(pk=run.pk).exists()

    assert retention.forget_bulk_runs(NOW) == 2
    assert not BulkRun.objects.exists()


def is_deletion(statement: dict[str, str]) -> bool:
    return statement["sql"].startswith("DELETE")


def test_an_order_that_is_younger_than_the_next_one_is_not_passed_over(
    order: Callable[[], Order],
) -> None:
    """Two machines' clocks differ, and orders that are placed at once get their numbers in any order."""
    for days in (900, 729, 900):
        aged(order(), days, finished=days)

    for later in range(3):
        retention.forget_timelines(NOW + later * DAY)

    assert with_timeline() == set()
