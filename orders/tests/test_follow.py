"""Polling a simulated provider over HTTP."""

import threading
import time
from collections.abc import Iterator
from concurrent import futures
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from catalog.models import Provider
from orders import following
from orders.attention import Attention
from orders.audit import check
from orders.errors import NotPossible
from orders.following import PollReport, check_now, poll_due
from orders.models import Order
from orders.pacing import after_call, may_call, next_poll, note_call, pause, share
from orders.poll_models import Poll
from orders.states import Dispatch, Status
from orders.tests.upstream_world import (
    Upstream,
    balance,
    due,
    due_at,
    end,
    move_to,
    running_upstream,
)
from orders.timeline import Code
from upstream.client import Client


@pytest.fixture
def upstream(db: None) -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


def errors() -> list[str]:
    return [str(finding) for finding in check() if finding.is_error]


def queries(captured: CaptureQueriesContext) -> list[str]:
    """The statements, without those that only frame transactions."""
    frames = ("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT", "ROLLBACK")
    return [q["sql"] for q in captured.captured_queries if not q["sql"].startswith(frames)]


NOW = datetime(2026, 5, 1, tzinfo=timezone.get_default_timezone())


@pytest.mark.parametrize(
    ("age", "wait"),
    [
        (timedelta(0), timedelta(minutes=2)),
        (timedelta(minutes=59), timedelta(minutes=2)),
        (timedelta(hours=1), timedelta(minutes=10)),
        (timedelta(hours=23), timedelta(minutes=10)),
        (timedelta(days=1), timedelta(hours=1)),
        (timedelta(days=89), timedelta(hours=1)),
    ],
)
def test_young_orders_are_asked_about_often_and_old_ones_rarely(
    age: timedelta, wait: timedelta
) -> None:
    assert next_poll(NOW, NOW - age) == NOW + wait


def test_after_90_days_nobody_asks_any_more() -> None:
    assert next_poll(NOW, NOW - timedelta(days=90)) is None


def test_the_interval_of_young_orders_is_a_setting(settings: LazySettings) -> None:
    settings.POLL_YOUNG_SECONDS = 3
    assert next_poll(NOW, NOW) == NOW + timedelta(seconds=3)
    settings.POLL_YOUNG_SECONDS = 1800
    assert next_poll(NOW, NOW - timedelta(hours=2)) == NOW + timedelta(minutes=30)


def test_a_failing_provider_is_left_alone_longer_and_longer() -> None:
    waits = [pause(failures).total_seconds() for failures in (1, 2, 3, 7, 50)]
    assert waits == [15, 30, 60, 600, 600]


def test_an_order_is_followed_to_its_end(upstream: Upstream, customer: User) -> None:
    order = upstream.accept(customer)
    seen = []
    for _ in range(6):
        due(order)
        poll_due()
        order.refresh_from_db()
        seen.append(order.status)
        upstream.world.advance(2.5)
    assert seen[0] == Status.PENDING
    assert Status.IN_PROGRESS in seen
    assert seen[-1] == Status.COMPLETED
    assert order.start_count is not None
    assert order.upstream_charge == order.expected_charge
    assert balance(customer) == 8
    assert poll_due() == PollReport()
    assert errors() == []


@pytest.mark.parametrize(
    ("word", "status", "refund"),
    [
        ("partial", Status.PARTIAL, "0.8"),
        ("cancel", Status.CANCELED, "2"),
        ("fail", "canceled", "2"),
    ],
)
def test_what_was_not_delivered_is_paid_back(
    upstream: Upstream, customer: User, word: str, status: str, refund: str
) -> None:
    order = upstream.accept(customer, link=f"https://example.com/{word}")
    upstream.world.advance(11)
    for _ in range(3):
        due(order)
        poll_due()
    order.refresh_from_db()
    assert (order.status, order.refunded) == (status, Decimal(refund))
    assert balance(customer) == 8 + Decimal(refund)
    assert errors() == []


def test_a_batch_in_which_nothing_changed_costs_two_queries(
    upstream: Upstream, customer: User, settings: LazySettings
) -> None:
    first = upstream.accept(customer, quantity="10")
    orders = [first, *copies(upstream, first, 98)]
    due(*orders)
    poll_due()
    due(*orders)
    with CaptureQueriesContext(connection) as captured:
        report = poll_due()
    assert (report.calls, report.asked, report.changed) == (1, 99, 0)
    ours = [sql for sql in queries(captured) if "catalog_" not in sql]
    assert len(ours) == 2, ours
    assert len(queries(captured)) == 4  # besides: the providers and their rules, once a run


def test_a_batch_writes_what_changed_in_a_statement_per_kind(
    upstream: Upstream, customer: User
) -> None:
    first = upstream.accept(customer, quantity="10")
    orders = [first, *copies(upstream, first, 98)]
    upstream.world.advance(5)
    for order in orders[49:]:
        upstream.world.force(order.upstream_id, status="Completed", remains="0")
    due(*orders)
    with CaptureQueriesContext(connection) as captured:
        report = poll_due()
    assert report.changed == 99
    # Claim 2, what differs 1, running 1, ended 1, followed no longer 1, timeline 1, cancel requests 1,
    # mails 2; providers and rules 2.
    assert len(queries(captured)) == 12
    assert Order.objects.filter(status=Status.COMPLETED).count() == 50
    assert Order.objects.filter(status=Status.COMPLETED, poll=None).count() == 50
    assert Order.objects.filter(status=Status.IN_PROGRESS, finished_at=None).count() == 49
    assert errors() == []


def copies(upstream: Upstream, order: Order, count: int) -> list[Order]:
    """More accepted orders like this one, cheaply: each is at the provider and charged."""
    return [upstream.accept(order.customer, quantity="10") for _ in range(count)]


def test_many_orders_are_asked_about_100_at_a_time(upstream: Upstream, customer: User) -> None:
    first = upstream.accept(customer, quantity="10")
    copies(upstream, first, 104)
    before = upstream.world.counts.received["status"]
    report = poll_due()
    assert (report.calls, report.asked) == (2, 105)
    assert upstream.world.counts.received["status"] - before == 2
    due(*Order.objects.all())
    with CaptureQueriesContext(connection) as captured:
        assert poll_due().calls == 2
    # Claimed together: two statements for both calls, besides the providers and their rules.
    assert len(queries(captured)) == 4


def test_calls_go_on_while_the_database_is_busy_and_claims_stay_a_few_ahead(
    upstream: Upstream, customer: User, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.POLL_IN_FLIGHT = 2
    monkeypatch.setattr(following, "MAX_IDS", 4)
    first = upstream.accept(customer, quantity="10")
    copies(upstream, first, 39)
    received, honest = upstream.world.counts.received, following._apply
    at_first: list[int] = []
    claimed: list[int] = []

    def slow(answered: Any, now: datetime) -> PollReport:
        # Two calls were under way and two more claimed: none of them waits for what is written.
        deadline = time.monotonic() + 30
        while not at_first and received["status"] < 4 and time.monotonic() < deadline:
            time.sleep(0.005)
        at_first.append(received["status"])
        claimed.append(Poll.objects.filter(asked_at__isnull=False).count())
        return honest(answered, now)

    monkeypatch.setattr(following, "_apply", slow)
    assert poll_due().asked == 40
    assert at_first[0] >= 4
    # What is in memory doesn't grow with what is due: a claim or two for each time of writing.
    assert claimed[0] <= 24
    assert received["status"] == 10


def test_calls_are_limited_and_the_rest_waits(upstream: Upstream, customer: User) -> None:
    first = upstream.accept(customer, quantity="10")
    copies(upstream, first, 100)
    assert poll_due(limit_calls=1).asked == 100
    assert poll_due(limit_calls=1).asked == 1


def test_providers_take_turns(upstream: Upstream, customer: User) -> None:
    upstream.accept(customer)
    other = Provider.objects.create(
        name="Second", url=upstream.simulator.url, api_key=upstream.provider.api_key
    )
    move_to(upstream.accept(customer), other)
    report = poll_due(limit_calls=2)
    assert (report.calls, report.asked) == (2, 2)


def test_a_provider_with_much_to_ask_about_leaves_places_to_others(
    upstream: Upstream, customer: User, settings: LazySettings
) -> None:
    settings.POLL_IN_FLIGHT = 2
    busy = Provider.objects.create(
        name="Busy", url=upstream.simulator.url, api_key=upstream.provider.api_key
    )
    first = upstream.accept(customer, quantity="10")
    orders = [first, *copies(upstream, first, 101)]
    for order in orders[:101]:
        move_to(order, busy)
    assert (poll_due(limit_calls=2).asked, share(2, 2), share(16, 3), share(4, 9)) == (101, 1, 6, 1)
    assert not Poll.objects.filter(provider=upstream.provider, asked_at=None).exists()


def test_a_provider_is_called_within_its_budget(upstream: Upstream, customer: User) -> None:
    Provider.objects.update(status_calls_per_minute=7)
    order = upstream.accept(customer)
    calls = []
    for _ in range(4):
        due(order)
        calls.append(poll_due().calls)
    # Ten seconds' worth at once, and then no more before a tenth of a minute is over.
    assert calls == [1, 1, 0, 0]
    when = due_at(order)
    assert when is not None
    assert when <= timezone.now(), "what has to wait stays due"
    cache.clear()  # the minute is over
    assert poll_due().asked == 1


@pytest.mark.parametrize(("per_minute", "at_once"), [(1, 1), (120, 18), (1000, 143)])
def test_the_budget_is_kept_in_the_cache_of_all_processes(per_minute: int, at_once: int) -> None:
    now, made = 1_800_000_000.0, 0
    while may_call(1, per_minute, now) and made < 1000:
        note_call(1, per_minute, now)
        made += 1
    assert made == at_once


@pytest.mark.parametrize("per_minute", [1, 7, 60, 120, 1000])
@pytest.mark.parametrize("every", [0.01, 0.7, 5.0, 13.0])
def test_no_minute_has_more_calls_than_the_budget(per_minute: int, every: float) -> None:
    due, made = 0.0, []
    now = 1000.0
    while now < 1400.0:
        while (taken := after_call(due, now, per_minute)) is not None:
            due = taken
            made.append(now)
        now += every
    most = max(sum(1 for at in made if begin <= at < begin + 60) for begin in made)
    assert most <= per_minute
    assert len(made) >= 0.8 * per_minute * (400 - 70) / 60 - 1, "most of the budget is used"


def test_an_order_that_was_asked_about_is_not_due_again(upstream: Upstream, customer: User) -> None:
    order = upstream.accept(customer)
    assert poll_due().asked == 1
    assert poll_due().asked == 0
    poll = Poll.objects.get(order=order)
    assert timedelta(seconds=100) < poll.due_at - timezone.now() < timedelta(seconds=121)
    assert poll.asked_at is not None


@pytest.mark.parametrize("kind", ["lost_before", "http_502", "html_page", "cut_json", "rate_limit"])
def test_a_failed_call_changes_nothing_and_is_tried_again(
    upstream: Upstream, customer: User, kind: str
) -> None:
    order = upstream.accept(customer)
    upstream.world.advance(11)
    upstream.world.break_with("status", kind)
    report = poll_due()
    assert (report.calls, report.failed, report.asked) == (1, 1, 0)
    order.refresh_from_db()
    assert (order.status, order.attention, order.refunded) == (Status.PENDING, "", 0)
    assert poll_due().calls == 0, "the provider is left alone for a while"
    later = timezone.now() + timedelta(seconds=16)
    assert poll_due(now=later).changed == 1
    order.refresh_from_db()
    assert order.status == Status.COMPLETED


def test_a_provider_that_is_away_does_not_keep_others_from_being_asked(
    upstream: Upstream, customer: User, provider: Provider
) -> None:
    away, here = upstream.accept(customer), upstream.accept(customer)
    move_to(away, provider)
    upstream.world.advance(11)
    report = poll_due()
    assert (report.failed, report.asked) == (1, 1)
    here.refresh_from_db()
    assert here.status == Status.COMPLETED


def test_an_address_that_can_not_be_used_keeps_nobody_from_being_asked(
    upstream: Upstream, customer: User, provider: Provider
) -> None:
    """A port above 65535 is one: the form takes it, and no client can be made of it."""
    Provider.objects.filter(pk=provider.pk).update(url="https://panel.example:80443/api/v2")
    away, here = upstream.accept(customer), upstream.accept(customer)
    move_to(away, provider)
    upstream.world.advance(11)
    report = poll_due()
    assert (report.failed, report.asked) == (1, 1)
    here.refresh_from_db()
    assert here.status == Status.COMPLETED
    with pytest.raises(NotPossible, match="did not answer"):
        check_now(away.pk)


@pytest.mark.parametrize("kind", ["http_500", "html_page"])
@pytest.mark.parametrize("spoiling", [1, 2])
def test_an_order_about_which_a_provider_fails_spoils_no_other_ones_answer(
    upstream: Upstream, customer: User, kind: str, spoiling: int
) -> None:
    orders = [upstream.accept(customer) for _ in range(5)]
    bad, good = orders[:spoiling], orders[spoiling:]
    for order in bad:
        Order.objects.filter(pk=order.pk).update(sent_at=timezone.now() - timedelta(hours=2))
        upstream.world.break_with("status", kind, times=None, order=order.upstream_id)
    upstream.world.advance(11)

    report = poll_due()

    assert (report.failed, report.missing, report.changed) == (0, spoiling, len(good))
    assert report.calls == upstream.world.counts.received["status"]
    assert set(Order.objects.filter(status=Status.COMPLETED)) == set(good)
    asked = Order.objects.filter(attention=Attention.STATUS_MISSING, status=Status.PENDING)
    assert set(asked) == set(bad)
    # The provider isn't left alone for it, and the orders are not either.
    due(*bad)
    upstream.world.heal()
    assert poll_due().changed == spoiling
    assert not Order.objects.exclude(attention="").exists()


def test_orders_that_spoil_both_halves_of_a_hundred_spoil_no_other_ones_answer(
    upstream: Upstream, customer: User
) -> None:
    first, *good, last = [upstream.accept(customer, quantity="10") for _ in range(10)]
    for order in (first, last):
        upstream.world.break_with("status", "http_500", times=None, order=order.upstream_id)
    upstream.world.advance(11)

    report = poll_due()

    assert (report.failed, report.missing, report.changed) == (0, 2, len(good))


def test_looking_for_orders_that_spoil_answers_ends_with_the_run(
    upstream: Upstream, customer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All providers wait for it, and each of forty calls may take half a minute."""
    monkeypatch.setattr(following, "_LONGEST_RUN", 0.5)
    orders = [upstream.accept(customer, quantity="10") for _ in range(16)]
    upstream.world.break_with("status", "http_500", times=None, order=orders[0].upstream_id)
    honest = Client.statuses

    def slow(self: Client, asked: Any) -> Any:
        time.sleep(0.3)
        return honest(self, asked)

    monkeypatch.setattr(Client, "statuses", slow)
    assert poll_due().calls <= 3


def test_a_provider_that_fails_about_all_orders_is_not_asked_about_each(
    upstream: Upstream, customer: User
) -> None:
    for _ in range(5):
        upstream.accept(customer)
    upstream.world.break_with("status", "http_500", times=None)
    report = poll_due()
    assert (report.calls, report.failed, report.missing, report.changed) == (7, 1, 0, 0)
    assert upstream.world.counts.received["status"] == 7
    assert poll_due().calls == 0, "the provider is left alone for a while"


def test_an_order_that_spoils_answers_is_looked_for_within_the_budget(
    upstream: Upstream, customer: User
) -> None:
    orders = [upstream.accept(customer) for _ in range(5)]
    Provider.objects.update(status_calls_per_minute=6)  # the next call has to wait
    upstream.world.break_with("status", "http_500", times=None, order=orders[0].upstream_id)
    report = poll_due()
    assert (report.calls, report.failed, report.changed) == (1, 1, 0)
    assert upstream.world.counts.received["status"] == 1


@pytest.mark.parametrize("kind", ["missing_ids", "string_errors", "listed_status"])
def test_an_id_the_provider_does_not_know_changes_no_money(
    upstream: Upstream, customer: User, kind: str
) -> None:
    lost, known = upstream.accept(customer), upstream.accept(customer)
    Order.objects.filter(pk=lost.pk).update(
        upstream_id="999999", sent_at=timezone.now() - timedelta(hours=2)
    )
    upstream.world.advance(11)
    upstream.world.break_with("status", kind, times=None)
    for _ in range(2):
        due(lost)
        report = poll_due()
        assert report.missing == 1
    lost.refresh_from_db()
    known.refresh_from_db()
    assert known.status == Status.COMPLETED
    assert (lost.status, lost.attention) == (Status.PENDING, Attention.STATUS_MISSING)
    assert due_at(lost) is not None
    assert lost.events.filter(code=Code.ODD_ANSWER).count() == 1
    assert balance(customer) == 6


def test_a_fresh_order_may_be_missing_for_a_moment(upstream: Upstream, customer: User) -> None:
    order = upstream.accept(customer)
    Order.objects.filter(pk=order.pk).update(upstream_id="999999")
    assert poll_due().missing == 1
    order.refresh_from_db()
    assert order.attention == ""


def test_a_missing_order_that_comes_back_needs_no_attention(
    upstream: Upstream, customer: User
) -> None:
    order = upstream.accept(customer)
    Order.objects.filter(pk=order.pk).update(attention=Attention.STATUS_MISSING)
    poll_due()
    order.refresh_from_db()
    assert order.attention == ""


def test_a_refusal_of_the_whole_call_that_names_the_orders_is_no_failure(
    upstream: Upstream, customer: User
) -> None:
    order = upstream.accept(customer)
    upstream.world.break_with("status", "error", text="Incorrect order ID")
    report = poll_due()
    assert (report.failed, report.missing) == (0, 1)
    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.PENDING, 0)


def test_an_order_that_never_ends_is_given_to_staff_after_90_days(
    upstream: Upstream, customer: User
) -> None:
    order = upstream.accept(customer, link="https://example.com/slow")
    long_ago = timezone.now() - timedelta(days=91)
    Order.objects.filter(pk=order.pk).update(sent_at=long_ago)
    poll_due()
    order.refresh_from_db()
    assert (order.attention, due_at(order)) == (Attention.STUCK, None)
    assert errors() == []
    assert poll_due().calls == 0


def test_an_order_whose_last_answer_takes_its_attention_away_is_given_to_staff_too(
    upstream: Upstream, customer: User
) -> None:
    order = upstream.accept(customer, link="https://example.com/slow")
    long_ago = timezone.now() - timedelta(days=91)
    odd = Attention.UNKNOWN_STATUS
    Order.objects.filter(pk=order.pk).update(sent_at=long_ago, attention=odd)
    poll_due()
    order.refresh_from_db()
    assert (order.attention, due_at(order)) == (Attention.STUCK, None)


def test_orders_that_end_are_asked_about_one_last_time_after_90_days(
    upstream: Upstream, customer: User
) -> None:
    order = upstream.accept(customer)
    Order.objects.filter(pk=order.pk).update(sent_at=timezone.now() - timedelta(days=91))
    upstream.world.advance(11)
    poll_due()
    order.refresh_from_db()
    assert (order.status, order.attention) == (Status.COMPLETED, "")


@pytest.mark.parametrize("shape", [{}, {"quantity": "100", "runs": "3", "interval": "9"}])
def test_an_order_that_moved_while_it_was_asked_about_is_left_alone(
    upstream: Upstream, customer: User, monkeypatch: pytest.MonkeyPatch, shape: dict[str, str]
) -> None:
    order = upstream.accept(customer, **shape)
    upstream.world.advance(5)
    honest = Client.statuses

    def overtaken(self: Client, orders: Any) -> Any:
        answers = honest(self, orders)
        moved.set()
        assert settled.wait(30)
        return answers

    moved, settled = threading.Event(), threading.Event()
    monkeypatch.setattr(Client, "statuses", overtaken)
    # The test's connection is the main thread's, so the overtaker acts in the wait for the call.
    real_wait = futures.wait

    def act_while_waiting(*args: Any, **kwargs: Any) -> Any:
        assert moved.wait(30)
        end(order)
        settled.set()
        return real_wait(*args, **kwargs)

    monkeypatch.setattr(following, "wait", act_while_waiting)
    assert poll_due().changed == 0
    order.refresh_from_db()
    assert (order.status, order.attention, due_at(order)) == (Status.COMPLETED, "", None)


def test_a_drip_feed_is_followed_with_its_parts(upstream: Upstream, customer: User) -> None:
    parent = upstream.accept(customer, quantity="100", runs="3", interval="1")
    for _ in range(12):
        due(*Order.objects.filter(status__in=["pending", "processing", "in_progress"]))
        poll_due()
        upstream.world.advance(30)
    parent.refresh_from_db()
    assert parent.children.filter(status=Status.COMPLETED).count() == 3
    assert (parent.status, parent.refunded) == (Status.COMPLETED, 0)
    assert errors() == []


def test_a_canceled_drip_feed_gives_back_the_runs_that_were_not_made(
    upstream: Upstream, customer: User
) -> None:
    parent = upstream.accept(customer, quantity="100", runs="4", interval="1")
    upstream.world.advance(61)  # two runs were made
    with upstream.provider.client() as client:
        client.cancel([parent.upstream_id])
    for _ in range(4):
        upstream.world.advance(11)
        due(*Order.objects.filter(status__in=["pending", "processing", "in_progress"]))
        poll_due()
    parent.refresh_from_db()
    assert parent.children.count() == 2
    assert (parent.status, parent.refunded) == (Status.PARTIAL, parent.charge / 2)
    assert errors() == []


def test_a_subscription_pays_for_its_posts_only(upstream: Upstream, customer: User) -> None:
    parent = upstream.accept(
        customer, service="3", username="someone", min="10", max="100", posts="3", delay="0"
    )
    assert parent.charge == Decimal("0.6")
    for _ in range(12):
        due(*Order.objects.filter(status__in=["pending", "processing", "in_progress"]))
        poll_due()
        upstream.world.advance(30)
    parent.refresh_from_db()
    truth = [order for order in upstream.world.orders if order.parent == parent.upstream_id]
    assert len(truth) == parent.children.count() == 3
    used = Decimal(sum(order.quantity for order in truth)) * 2 / 1000
    assert parent.status == Status.COMPLETED
    assert parent.charge - parent.refunded == used
    assert errors() == []


def test_checking_now_asks_about_one_order(upstream: Upstream, customer: User) -> None:
    order = upstream.accept(customer)
    upstream.world.advance(11)
    assert check_now(order.pk).status == Status.COMPLETED


def test_checking_a_final_order_pays_what_is_owed_since(upstream: Upstream, customer: User) -> None:
    order = upstream.accept(customer)
    upstream.world.advance(11)
    check_now(order.pk)
    upstream.world.force(order.upstream_id, status="Partial", remains="250")
    late = check_now(order.pk)
    assert (late.status, late.refunded) == (Status.PARTIAL, Decimal("0.5"))
    assert late.attention == Attention.LATE_REVERSAL
    assert errors() == []


@pytest.mark.parametrize("kind", ["lost_before", "error"])
def test_checking_says_when_there_is_no_answer(
    upstream: Upstream, customer: User, kind: str
) -> None:
    order = upstream.accept(customer)
    upstream.world.break_with("status", kind)
    with pytest.raises(NotPossible):
        check_now(order.pk)


def test_an_order_that_is_not_at_the_provider_cannot_be_checked(
    upstream: Upstream, customer: User
) -> None:
    order = upstream.place(customer)
    assert order.dispatch == Dispatch.QUEUED
    with pytest.raises(NotPossible, match="not at the provider"):
        check_now(order.pk)
    assert upstream.world.counts.received["status"] == 0


@pytest.mark.django_db(transaction=True)
def test_no_call_is_made_inside_a_transaction(
    customer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []
    for name in ("statuses", "status"):
        honest = getattr(Client, name)

        def watched(self: Client, asked: Any, honest: Any = honest) -> Any:
            held.append(connection.in_atomic_block)
            return honest(self, asked)

        monkeypatch.setattr(Client, name, watched)
    with running_upstream() as upstream:
        order = upstream.accept(customer)
        poll_due()
        check_now(order.pk)
    assert held == [False, False]
    connection.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.postgres
def test_two_pollers_never_ask_about_the_same_order(customer: User) -> None:
    with running_upstream() as upstream:
        first = upstream.accept(customer, quantity="10")
        copies(upstream, first, 149)
        reports: list[PollReport] = []
        start = threading.Barrier(4)

        def poll() -> None:
            start.wait()
            reports.append(poll_due())
            connection.close()

        threads = [threading.Thread(target=poll) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(report.asked for report in reports) == 150
