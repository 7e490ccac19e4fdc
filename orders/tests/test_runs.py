"""Bulk actions: asked for on the list of orders, worked off in the background, each order once."""

import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEntry, User
from catalog.models import Service
from orders import runs
from orders.models import Order, Request
from orders.run_actions import WORK
from orders.run_models import BulkRow, BulkRun
from orders.states import Dispatch, Status
from orders.tests.processes import file_database, workers
from orders.tests.races import at_once
from orders.tests.upstream_world import Upstream, due_at, running_upstream
from orders.tests.worker import CRASHED
from orders.tests.worlds import assert_ledger_adds_up, balance_of, order_of
from orders.timeline import Code
from panel.periodic import run_periodic_job
from wallet.models import Approval, Ceiling, Entry

D = Decimal
LIST = "/admin/orders/order/"
Action = BulkRun.Action


@pytest.fixture
def owner(client: Client, staff: User) -> Client:
    client.force_login(staff)
    return client


@pytest.fixture
def sent(customer: User, service: Service) -> list[Order]:
    """Five orders at the provider, each with a charge of 0.2 for 100."""
    made = [order_of(customer, service) for _ in range(5)]
    for order in made:
        fields = {"dispatch": Dispatch.ACCEPTED, "upstream_id": f"u{order.pk}"}
        Order.objects.filter(pk=order.pk).update(**fields)
    return list(Order.objects.order_by("pk"))


def clerk(*permissions: str) -> User:
    """A member of staff who may see orders and do what is named, refunds up to 0.15 of an order."""
    user = User.objects.create_user("clerk@example.com", "a-Long-passw0rd", is_staff=True)
    names = ["view_order", "view_bulkrun", "view_bulkrow", *permissions]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    group = user.groups.create(name="clerks")
    Ceiling.objects.create(group=group, refund=D("0.15"))
    return user


def begun(
    actor: User, action: Action, reason: str = "goodwill: all of them", **parameters: Any
) -> BulkRun:
    return runs.begin(
        action=action, orders=Order.objects.all(), actor=actor, token=uuid.uuid4(),
        parameters=parameters, reason=reason,
    )  # fmt: skip


def answer(client: Client, name: str, orders: list[Order], query: str = "", **fields: Any) -> Any:
    """Choose rows and an action, and answer what is asked."""
    chosen = {"action": name, "_selected_action": [str(each.pk) for each in orders]}
    asked = client.post(LIST + query, {**chosen, "index": "0", "select_across": "0"})
    assert asked.status_code == 200
    form = {"answered": "yes", "select_across": "0", "token": uuid.uuid4(), **fields}
    return client.post(LIST + query, {**chosen, **form})


def results(run: BulkRun) -> list[tuple[str, str]]:
    return list(run.rows.order_by("pk").values_list("state", "result"))


def test_chosen_orders_are_refunded_in_the_background_and_each_result_is_shown(
    owner: Client, staff: User, sent: list[Order]
) -> None:
    Order.objects.filter(pk=sent[1].pk).update(remains=50)
    token = uuid.uuid4()
    fields: dict[str, Any] = {
        "what": "undelivered",
        "code": "dropped",
        "note": "they wrote",
        "token": token,
    }
    first = answer(owner, "bulk_refund", sent[:2], **fields)
    second = answer(owner, "bulk_refund", sent[:2], **fields)

    run = BulkRun.objects.get()
    assert first.url == second.url == f"/admin/orders/bulkrun/{run.pk}/change/"
    assert (run.total, run.ended, run.reason) == (2, 0, "dropped: they wrote")
    page = owner.get(first.url).content.decode()
    assert 'http-equiv="refresh"' in page
    assert "0 of 2 orders" in page
    assert not Entry.objects.filter(kind="staff_refund").exists()

    assert run_periodic_job("bulk_runs", now=True)

    run.refresh_from_db()
    assert (run.done, run.failed, run.finished_at is not None) == (1, 1, True)
    assert results(run) == [
        ("failed", "It is not known what was not delivered."), ("done", "0.1 refunded."),
    ]  # fmt: skip
    entry = Entry.objects.get(kind="staff_refund")
    assert (entry.amount, entry.actor, entry.order_number) == (D("0.1"), staff, sent[1].pk)
    page = owner.get(first.url).content.decode()
    assert "http-equiv" not in page
    assert "It is not known what was not delivered." in page
    part = owner.get(f"/admin/orders/bulkrun/{run.pk}/progress/").content.decode()
    assert "2 of 2 orders" in part
    assert "hx-get" not in part
    file = owner.get(f"/admin/orders/bulkrun/{run.pk}/results.csv")
    lines = b"".join(file).decode().splitlines()
    assert lines[0] == "order,state,result,at"
    assert lines[2].startswith(f"{sent[1].pk},done,0.1 refunded.,2")
    rows = owner.get(f"/admin/orders/bulkrow/?run__id__exact={run.pk}&state__exact=failed")
    assert len(rows.context["cl"].result_list) == 1
    told = [entry.action for entry in AuditEntry.objects.order_by("number")]
    assert told == ["Refund: begun", "Refund: 0.1 refunded.", "Refund: ended"]
    assert_ledger_adds_up()


def test_all_that_the_filters_show_is_collected_in_one_statement(
    owner: Client, sent: list[Order]
) -> None:
    Order.objects.filter(pk__in=[sent[0].pk, sent[3].pk]).update(
        status=Status.COMPLETED, finished_at=timezone.now()
    )
    chosen = {"action": "bulk_check", "_selected_action": [str(sent[1].pk)], "index": "0"}
    asked = owner.post(f"{LIST}?status__exact=pending", chosen).content.decode()
    assert "all that the list and its filters show: 3" in asked

    with CaptureQueriesContext(connection) as queries:
        answer(owner, "bulk_check", sent[1:2], "?status__exact=pending", select_across="1")

    run = BulkRun.objects.get()
    assert {row.order_id for row in run.rows.all()} == {sent[1].pk, sent[2].pk, sent[4].pk}
    assert run.total == 3
    assert sum("INSERT INTO orders_bulkrow" in each["sql"] for each in queries) == 1
    searched = answer(owner, "bulk_check", sent[1:2], f"?q={sent[1].link}", select_across="1")
    assert searched.status_code == 302
    assert BulkRun.objects.first().total == 1  # type: ignore[union-attr]


def test_more_orders_than_a_run_takes_are_refused(
    owner: Client, sent: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MOST", 4)
    shown = answer(owner, "bulk_cancel", sent)

    assert "At most 4 orders at once" in shown.content.decode()
    assert 'value="1"' not in shown.content.decode().partition("select_across")[2][:600]
    assert not BulkRun.objects.exists()
    assert not BulkRow.objects.exists()


@pytest.mark.parametrize(
    ("name", "fields", "wrong"),
    [
        ("bulk_refund", {"what": "amount", "code": "goodwill", "note": "x"}, "amount"),
        ("bulk_refund", {"what": "left", "code": "goodwill", "note": " "}, "note"),
        ("bulk_refund", {"what": "left", "note": "x"}, "code"),
        ("bulk_counts", {"note": "x"}, "__all__"),
        ("bulk_settle", {"end": "partial", "code": "seen", "note": "x"}, "remains"),
    ],
)
def test_what_is_missing_is_said_beside_its_field(
    owner: Client, sent: list[Order], name: str, fields: dict[str, str], wrong: str
) -> None:
    shown = answer(owner, name, sent, **fields)

    assert wrong in shown.context["form"].errors
    assert not BulkRun.objects.exists()


def test_orders_are_cancelled_refilled_counted_and_settled(
    staff: User, customer: User, service: Service, sent: list[Order]
) -> None:
    Order.objects.filter(pk=sent[0].pk).update(dispatch=Dispatch.QUEUED, upstream_id="")
    Order.objects.filter(pk=sent[1].pk).update(status=Status.COMPLETED, finished_at=timezone.now())
    for action, parameters in (
        (Action.CANCEL, {}),
        (Action.REFILL, {}),
        (Action.COUNTS, {"start_count": 7, "remains": None}),
        (Action.SETTLE, {"end": "partial", "remains": 25}),
    ):
        runs.work_on(begun(staff, action, **parameters).pk)

    cancel, refill, counts, settle = BulkRun.objects.order_by("pk")
    assert (cancel.done, cancel.failed) == (4, 1)
    assert "withdrawn" in results(cancel)[0][1]
    assert Request.objects.filter(kind="cancel").count() == 3
    assert [state for state, _said in results(refill)] == ["failed", "done", *["failed"] * 3]
    assert (counts.done, counts.failed) == (4, 1)
    assert set(Order.objects.values_list("start_count", flat=True)) == {None, 7}
    # Of the five one was withdrawn and one had ended.
    assert [state for state, _said in results(settle)] == ["failed"] * 2 + ["done"] * 3
    ended = Order.objects.get(pk=sent[2].pk)
    assert (ended.status, ended.refunded, ended.remains) == (Status.PARTIAL, D("0.05"), 25)
    assert due_at(ended) is None
    assert ended.events.get(code=Code.RESOLVED, values__action="settle").actor == staff
    assert balance_of(customer) == D(10) - 4 * D("0.2") + 3 * D("0.05")
    assert_ledger_adds_up()


@pytest.fixture
def upstream(db: None) -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


def test_orders_of_a_provider_are_checked_in_one_call(
    upstream: Upstream, customer: User, staff: User
) -> None:
    orders = [upstream.accept(customer) for _ in range(3)]
    upstream.place(customer)
    upstream.world.advance(11)
    run = begun(staff, Action.CHECK)
    before = upstream.world.counts.received["status"]

    runs.work_on(run.pk)

    assert upstream.world.counts.received["status"] == before + 1
    assert set(Order.objects.filter(pk__in=[each.pk for each in orders]).values_list("status")) == {
        ("completed",)
    }
    run.refresh_from_db()
    assert (run.done, run.failed) == (3, 1)
    assert results(run)[-1] == ("failed", "This order is not at the provider.")


def test_a_provider_that_does_not_answer_leaves_a_sentence(
    upstream: Upstream, customer: User, staff: User
) -> None:
    upstream.accept(customer)
    upstream.world.break_with("status", "lost_after")
    run = begun(staff, Action.CHECK)

    runs.work_on(run.pk)

    assert results(run) == [("failed", "The provider did not answer. Try again later.")]


def test_ceilings_hold_for_each_order_and_nobody_approves_their_own(
    client: Client, sent: list[Order]
) -> None:
    person = clerk("refund_order", "view_approval", "change_approval")
    run = begun(person, Action.REFUND, what="left")
    runs.work_on(run.pk)

    said = "This is above your ceiling; it waits for a second person."
    assert results(run) == [("done", said)] * 5
    assert not Entry.objects.filter(kind="staff_refund").exists()
    assert set(Approval.objects.values_list("amount", "requested_by")) == {(D("0.2"), person.pk)}
    client.force_login(person)
    own = reverse("admin:wallet_approval_approve", args=[Approval.objects.values_list("pk")[0][0]])
    assert client.post(own, {"token": uuid.uuid4()}).status_code == 403


def test_a_right_that_was_taken_away_meanwhile_counts(sent: list[Order]) -> None:
    person = clerk("refund_order")
    run = begun(person, Action.REFUND, what="amount", amount="0.1")
    person.user_permissions.clear()

    runs.work_on(run.pk)

    run.refresh_from_db()
    assert (run.done, run.failed, run.finished_at is not None) == (0, 5, True)
    assert "may not do this any more" in results(run)[0][1]
    assert not Entry.objects.filter(kind="staff_refund").exists()


def test_a_run_is_stopped_by_whoever_began_it_or_settles_orders(
    client: Client, sent: list[Order]
) -> None:
    person = clerk("ask_provider")
    run = begun(person, Action.CANCEL)
    stop = reverse("admin:orders_bulkrun_stop", args=[run.pk])
    other = User.objects.create_user("other@example.com", "a-Long-passw0rd", is_staff=True)
    other.user_permissions.set(Permission.objects.filter(codename="view_bulkrun"))
    client.force_login(other)
    assert client.post(stop, {"token": uuid.uuid4()}).status_code == 403

    client.force_login(person)
    told = client.post(stop, {"token": uuid.uuid4()}, follow=True)
    assert "5 orders were left alone" in told.content.decode()
    runs.work_on(run.pk)

    run.refresh_from_db()
    assert (run.ended, run.stopped_by) == (0, person)
    assert {state for state, _said in results(run)} == {"stopped"}
    assert not Request.objects.exists()
    assert "It has ended" in client.post(stop, {"token": uuid.uuid4()}).content.decode()


def test_nobody_sees_or_begins_what_they_may_not(client: Client, sent: list[Order]) -> None:
    person = clerk("ask_provider")
    client.force_login(person)
    page = client.get(LIST).content.decode()
    assert "bulk_cancel" in page
    assert "bulk_refund" not in page
    chosen = {"action": "bulk_refund", "_selected_action": [str(sent[0].pk)]}
    fields = {"answered": "yes", "select_across": "0", "token": uuid.uuid4(), "what": "left",
              "code": "goodwill", "note": "x"}  # fmt: skip
    client.post(LIST, {**chosen, **fields})
    assert not BulkRun.objects.exists()

    person.user_permissions.remove(*Permission.objects.filter(codename="view_bulkrun"))
    run = begun(person, Action.CANCEL)
    for path in ("change", "progress", "stop"):
        assert client.get(f"/admin/orders/bulkrun/{run.pk}/{path}/").status_code == 403
    assert client.get(f"/admin/orders/bulkrun/{run.pk}/results.csv").status_code == 403


def test_one_order_that_breaks_does_not_keep_the_others_waiting(
    staff: User, sent: list[Order], caplog: pytest.LogCaptureFixture
) -> None:
    run = begun(staff, Action.REFUND, what="amount", amount="0.1")
    BulkRun.objects.filter(pk=run.pk).update(parameters={"what": "amount", "amount": "much"})
    runs.work_on(run.pk)

    run.refresh_from_db()
    assert (run.done, run.failed, run.finished_at is not None) == (0, 5, True)
    assert "An error nobody expected" in results(run)[0][1]
    assert "bulk action failed" in caplog.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("point", "done"), [("in_bulk_row", 0), ("after_bulk_row", 1)])
def test_a_worker_killed_in_the_middle_is_gone_on_with_and_nothing_is_done_twice(
    staff: User, customer: User, sent: list[Order], tmp_path: Path, point: str, done: int
) -> None:
    run = begun(staff, Action.REFUND, what="amount", amount="0.1")
    with file_database(tmp_path), workers() as crew:
        assert crew.run("bulk", str(run.pk), stop_at=point) == CRASHED
        run.refresh_from_db()
        assert (run.done, run.finished_at) == (done, None)
        assert Entry.objects.filter(kind="staff_refund").count() == done
        # Its lease is not over yet: nobody else begins.
        assert runs.work_due(seconds=1) == 0
        BulkRun.objects.update(lease_until=timezone.now() - timedelta(seconds=1))

        assert runs.work_on(run.pk) == 5 - done

        run.refresh_from_db()
        assert (run.done, run.failed) == (5, 0)
        assert Entry.objects.filter(kind="staff_refund").count() == 5
        assert balance_of(customer) == D("9.5")
        assert_ledger_adds_up()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_workers_on_one_run_do_each_order_once(
    staff: User, customer: User, service: Service
) -> None:
    """The lease is taken away from each on purpose: the rows alone must hold."""
    for _ in range(30):
        order = order_of(customer, service, quantity=10)
        fields = {"dispatch": Dispatch.ACCEPTED, "upstream_id": f"u{order.pk}"}
        Order.objects.filter(pk=order.pk).update(**fields)
    run = begun(staff, Action.REFUND, what="left")

    def work() -> int:
        fresh = BulkRun.objects.select_related("started_by").get(pk=run.pk)
        return runs._piece(fresh, uuid.uuid4().hex)

    assert sum(each for each in at_once([work] * 4) if isinstance(each, int)) == 30

    runs.work_on(run.pk)
    run.refresh_from_db()
    assert (run.done, run.failed, run.finished_at is not None) == (30, 0, True)
    assert Entry.objects.filter(kind="staff_refund").count() == 30
    assert AuditEntry.objects.filter(action__endswith="refunded.").count() == 30
    assert_ledger_adds_up()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_without_the_claim_a_row_is_done_by_every_worker(
    staff: User, sent: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A twin of the product without its guard; only the token keeps the money right then."""

    def take_anyhow(row_id: int, state: Any, said: str) -> int:
        fields = {"state": state, "result": said, "done_at": timezone.now()}
        return BulkRow.objects.filter(pk=row_id).update(**fields)

    monkeypatch.setattr(runs, "_take_row", take_anyhow)
    run = begun(staff, Action.REFUND, what="amount", amount="0.1")
    ids = list(run.rows.values_list("pk", flat=True))

    at_once([lambda: sum(runs._do(run, pk) for pk in ids)] * 2)

    run.refresh_from_db()
    assert run.done == 10
    assert Entry.objects.filter(kind="staff_refund").count() == 5


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_of_many_workers_one_gets_the_lease(staff: User, sent: list[Order]) -> None:
    run = begun(staff, Action.REFUND, what="amount", amount="0.1")

    done = at_once([lambda: runs.work(run.pk)] * 4)

    assert sorted(each for each in done if isinstance(each, int))[-1] == 5
    assert sum(each for each in done if isinstance(each, int)) == 5
    assert Entry.objects.filter(kind="staff_refund").count() == 5


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_run_is_stopped_while_a_worker_is_at_one_of_its_orders(
    staff: User, sent: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker holds its row and will want the run; whoever stops it must not hold the run."""
    run = begun(staff, Action.REFUND, what="amount", amount="0.1")
    honest, at_it, stops = WORK[Action.REFUND], threading.Event(), threading.Event()

    def slow(its_run: BulkRun, order: Order) -> str:
        at_it.set()
        stops.wait(0.5)
        return honest(its_run, order)

    def stop() -> int:
        assert at_it.wait(30)
        return runs.stop(run.pk, actor=staff)

    monkeypatch.setattr(runs, "WORK", {Action.REFUND: slow})

    assert at_once([lambda: runs.work(run.pk), stop]) == [1, 4]

    assert [state for state, _said in results(run)] == ["done", *["stopped"] * 4]
    run.refresh_from_db()
    assert (run.done, run.failed, run.stopped_by) == (1, 0, staff)
