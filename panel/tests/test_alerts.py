"""The owner hears of each trouble once, and again only after it was over."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.conf import LazySettings
from django.core import mail
from django.core.mail.message import sanitize_address
from django.utils import timezone

from accounts.models import User
from catalog.models import HeldChange, Provider, Service, SyncRun
from orders.gates import pause, resume
from orders.models import Attempt, Gate, Order
from orders.pacing import forgive, note_failure
from orders.run_models import BulkRow, BulkRun
from orders.states import Dispatch, Outcome
from orders.tests.worlds import order_of
from panel.alerts import find_troubles, is_low, run_alerts, spent
from panel.models import Alert, Job

NOW = timezone.now()
MINUTE = timedelta(minutes=1)


@pytest.fixture
def by_mail(settings: LazySettings) -> None:
    settings.ALERT_EMAILS = ["owner@example.com"]
    settings.ALERT_WEBHOOK_URL = ""


@pytest.fixture
def paused(provider: Provider) -> Provider:
    provider.name = "Upstream\r\nBcc: everybody@example.com"
    provider.save()
    pause(provider.pk, reason=Gate.Pause.FUNDS)
    return provider


class Hook:
    """A chat service: what it was sent, and how it answers."""

    def __init__(self) -> None:
        self.url, self.status = "", 200
        self.bodies: list[dict[str, Any]] = []


@pytest.fixture
def hook(settings: LazySettings) -> Iterator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(hook.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    settings.ALERT_WEBHOOK_URL = f"http://127.0.0.1:{server.server_port}/secret-of-the-hook"
    yield hook
    server.shutdown()
    thread.join()
    server.server_close()


def keys() -> set[str]:
    return {trouble.key for trouble in find_troubles(NOW)}


def test_a_trouble_is_told_once_while_it_lasts(by_mail: None, paused: Provider) -> None:
    reports = [run_alerts(NOW + number * MINUTE) for number in range(3)]

    assert [(report.open, report.told) for report in reports] == [(1, 1), (1, 0), (1, 0)]
    [message] = mail.outbox
    assert message.to == ["owner@example.com"]
    assert "Upstream Bcc: everybody" in message.subject
    assert "balance there is short" in str(message.body)


def test_after_it_was_over_it_is_told_again(by_mail: None, paused: Provider) -> None:
    run_alerts(NOW)
    resume(paused.pk)
    assert run_alerts(NOW + MINUTE).over == 0
    assert run_alerts(NOW + 7 * MINUTE).over == 1
    pause(paused.pk, reason=Gate.Pause.FUNDS)

    assert run_alerts(NOW + 8 * MINUTE).told == 1
    assert len(mail.outbox) == 2
    assert Alert.objects.count() == 2


def test_what_comes_and_goes_is_one_trouble(by_mail: None, paused: Provider) -> None:
    for minute in range(0, 12, 4):
        pause(paused.pk, reason=Gate.Pause.FUNDS)
        run_alerts(NOW + minute * MINUTE)
        resume(paused.pk)
        run_alerts(NOW + (minute + 2) * MINUTE)

    assert len(mail.outbox) == 1


def test_the_webhook_is_told_too_and_what_fails_is_tried_again(
    by_mail: None, paused: Provider, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    hook.status = 500
    assert run_alerts(NOW).told == 1
    hook.status = 200
    assert run_alerts(NOW + MINUTE).told == 1
    run_alerts(NOW + 2 * MINUTE)

    assert len(mail.outbox) == 1
    assert len(hook.bodies) == 2
    assert "balance there is short" in hook.bodies[1]["text"]
    assert hook.bodies[1]["alerts"][0]["key"] == f"paused:{paused.pk}:funds"
    assert "secret-of-the-hook" not in caplog.text


def test_an_address_that_is_none_keeps_nothing_from_the_webhook(
    by_mail: None,
    paused: Provider,
    hook: Hook,
    settings: LazySettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.ALERT_EMAILS = ["owner@example.com; other@example.com"]

    def as_by_smtp(_subject: str, _text: str, _sender: str, to: list[str]) -> None:
        for address in to:
            sanitize_address(address, "utf-8")

    monkeypatch.setattr("panel.alerts.send_mail", as_by_smtp)

    assert run_alerts(NOW).told == 1

    assert len(hook.bodies) == 1
    assert Alert.objects.get().mailed_at is None


def test_without_a_channel_it_is_noted_all_the_same(paused: Provider) -> None:
    assert run_alerts(NOW).told == 0
    assert Alert.objects.get().mailed_at is None


def test_jobs_that_are_late_or_failed_are_troubles(db: None) -> None:
    Job.objects.create(name="sweep", started_at=NOW - 3 * MINUTE, succeeded=True)
    Job.objects.create(name="reconcile", started_at=NOW - MINUTE, succeeded=True)
    Job.objects.create(name="check_ledger", started_at=NOW, succeeded=False)

    assert keys() == {"late:sweep", "failed:check_ledger"}


def test_a_job_that_hangs_is_a_trouble_although_it_runs(db: None) -> None:
    job = Job.objects.create(
        name="poll_orders", started_at=NOW - 60 * MINUTE, lease_until=NOW + MINUTE, succeeded=True
    )
    assert keys() == set()

    job.started_at = NOW - 61 * MINUTE
    job.save()

    assert keys() == {"late:poll_orders"}


def test_a_nightly_job_may_take_a_day(db: None) -> None:
    Job.objects.create(
        name="check_ledger",
        started_at=NOW - timedelta(hours=25),
        lease_until=NOW + MINUTE,
        succeeded=True,
    )

    assert keys() == set()


def test_orders_that_wait_too_long_are_troubles(customer: User, service: Service) -> None:
    lost, unsent = order_of(customer, service), order_of(customer, service)
    Order.objects.filter(pk=lost.pk).update(dispatch=Dispatch.UNKNOWN, attempt_no=1)
    attempt = Attempt.objects.create(
        order=lost, number=1, outcome=Outcome.UNKNOWN, sending_at=NOW - 10 * MINUTE
    )
    assert keys() == set()

    Attempt.objects.filter(pk=attempt.pk).update(sending_at=NOW - 31 * MINUTE)
    Order.objects.filter(pk=unsent.pk).update(created_at=NOW - 31 * MINUTE)

    assert keys() == {"unconfirmed", "unsent"}


def test_three_failed_readings_of_a_list_are_a_trouble(provider: Provider) -> None:
    outcomes = SyncRun.Outcome
    for outcome in (outcomes.APPLIED, outcomes.FAILED, outcomes.FAILED):
        SyncRun.objects.create(provider=provider, outcome=outcome)
    assert keys() == set()

    SyncRun.objects.create(provider=provider, outcome=outcomes.REFUSED)

    assert keys() == {f"sync:{provider.pk}"}


def test_a_provider_that_says_nothing_of_its_orders_is_a_trouble_after_a_while(
    provider: Provider,
) -> None:
    at = NOW
    for _ in range(5):
        at = note_failure(provider.pk, at, is_first=True)
    assert keys() == set()

    at = note_failure(provider.pk, at, is_first=True)
    assert keys() == {f"status:{provider.pk}"}
    assert at - NOW > timedelta(minutes=15)

    forgive(provider.pk)
    assert keys() == set()


def test_a_balance_that_ends_soon_is_a_trouble(
    customer: User, service: Service, settings: LazySettings
) -> None:
    order = order_of(customer, service)
    Order.objects.filter(pk=order.pk).update(
        dispatch=Dispatch.ACCEPTED, upstream_id="1", sent_at=NOW - MINUTE, expected_charge=70
    )
    assert spent(service.provider_id, NOW) == 70
    settings.ALERT_BALANCE_DAYS = 3
    Provider.objects.update(balance=Decimal("29.99"))
    assert keys() == {f"balance:{service.provider_id}"}

    Provider.objects.update(balance=30)
    assert keys() == set()


@pytest.mark.parametrize(
    ("balance", "week", "days", "low"),
    [("0", "7", 1, True), ("1", "7", 1, False), ("0.99", "7", 1, True), ("", "7", 1, False),
     ("0", "0", 3, False), ("0", "7", 0, False), ("-1", "7", 0, True)],
)  # fmt: skip
def test_a_balance_is_low_by_the_last_weeks_spending(
    balance: str, week: str, days: int, *, low: bool
) -> None:
    assert is_low(balance, Decimal(week), days) is low


def test_a_provider_that_is_switched_off_is_no_trouble(paused: Provider) -> None:
    Provider.objects.update(is_enabled=False)
    assert keys() == set()


def test_held_changes_are_a_trouble_until_they_are_decided(service: Service) -> None:
    held = HeldChange.objects.create(
        service=service, reasons=[HeldChange.Reason.COST], fields={"cost_rate": ["1", "9"]}
    )
    [trouble] = find_troubles(NOW)
    assert trouble.key == f"held:{service.provider_id}"
    assert "1 change in the list of Upstream is held" in trouble.text

    HeldChange.objects.filter(pk=held.pk).update(state=HeldChange.State.IGNORED)
    assert keys() == set()


def test_bulk_actions_that_stand_still_are_one_trouble_until_they_move(
    customer: User, service: Service
) -> None:
    order = order_of(customer, service)

    def begin(minutes: int, **fields: Any) -> BulkRun:
        return BulkRun.objects.create(
            action="refund", started_by=customer, created_at=NOW - minutes * MINUTE, **fields
        )

    begin(14)
    begin(99, finished_at=NOW - 98 * MINUTE)
    moving = begin(99)
    row = BulkRow.objects.create(
        run=moving, order=order, state="done", done_at=NOW - 14 * MINUTE
    )  # fmt: skip
    assert keys() == set()

    still = begin(16)
    BulkRow.objects.create(run=still, order=order)
    BulkRow.objects.filter(pk=row.pk).update(done_at=NOW - 16 * MINUTE)
    [trouble] = find_troubles(NOW)
    assert (trouble.key, trouble.text[:26]) == ("bulk", "2 bulk actions stand still")

    BulkRun.objects.filter(pk=moving.pk).update(finished_at=NOW)
    [trouble] = find_troubles(NOW)
    assert "1 bulk action stands still" in trouble.text
    BulkRow.objects.filter(run=still).update(state="failed", done_at=NOW)
    assert keys() == set()


def bring_on(customer: User, service: Service) -> None:
    """Every trouble there is, at once."""
    provider = service.provider
    Job.objects.update_or_create(name="sweep", defaults={"started_at": NOW - 30 * MINUTE})
    Job.objects.update_or_create(
        name="check_ledger", defaults={"started_at": NOW, "succeeded": False}
    )
    lost, _unsent, sent = (order_of(customer, service) for _ in range(3))
    Order.objects.update(created_at=NOW - 40 * MINUTE)
    Order.objects.filter(pk=lost.pk).update(dispatch=Dispatch.UNKNOWN, attempt_no=1)
    Attempt.objects.create(
        order=lost, number=1, outcome=Outcome.UNKNOWN, sending_at=NOW - 40 * MINUTE
    )
    Order.objects.filter(pk=sent.pk).update(
        dispatch=Dispatch.ACCEPTED, upstream_id=f"{sent.pk}", sent_at=NOW, expected_charge=70
    )
    Provider.objects.update(balance=Decimal(1))
    pause(provider.pk, reason=Gate.Pause.ACCOUNT)
    for _ in range(3):
        SyncRun.objects.create(provider=provider, outcome=SyncRun.Outcome.FAILED)
    HeldChange.objects.create(service=service, reasons=["cost"], fields={})
    BulkRun.objects.create(
        action="refund", started_by=customer, created_at=NOW - 40 * MINUTE
    )  # fmt: skip


def clear() -> None:
    """None of it any more."""
    Job.objects.all().delete()
    Order.objects.update(dispatch=Dispatch.CHILD, upstream_id="")
    Provider.objects.update(balance=Decimal(10_000))
    Gate.objects.all().delete()
    SyncRun.objects.all().delete()
    HeldChange.objects.all().delete()
    BulkRun.objects.all().delete()


def test_each_kind_of_trouble_is_told_once_until_it_clears_and_then_anew(
    customer: User, service: Service, by_mail: None
) -> None:
    pk = service.provider_id
    kinds = {
        "late:sweep", "failed:check_ledger", "unconfirmed", "unsent", f"paused:{pk}:account",
        f"sync:{pk}", f"balance:{pk}", f"held:{pk}", "bulk",
    }  # fmt: skip
    for round_ in range(2):
        bring_on(customer, service)
        at = NOW + round_ * 20 * MINUTE
        assert keys() == kinds
        assert [run_alerts(at + minute * MINUTE).told for minute in range(3)] == [9, 0, 0]

        clear()
        assert keys() == set()
        assert run_alerts(at + 10 * MINUTE).over == 9

    assert len(mail.outbox) == 2
    assert Alert.objects.count() == 18
