"""Callbacks: what changed is told, signed, to public addresses, until it arrives."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import keeping
from accounts.models import User
from catalog.models import Service
from orders import callbacks
from orders.callbacks import InvalidAddress, check_address, note_changes, pause, send_due, sign
from orders.models import Callback, Delivery, Event, EventMark, Order
from orders.services import withdraw
from orders.states import Status
from orders.tests.api_world import Program, at_provider
from orders.timeline import Code, record
from wallet.services import top_up


@dataclass
class Listener:
    """A customer's server; it remembers what it was sent and answers as it is told."""

    url: str = ""
    status: int = 200
    delay: float = 0
    answer: bytes = b"thanks"
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def news(self) -> list[tuple[int, str]]:
        told = [json.loads(body) for body in self.bodies]
        return [(each["order"], each["status"]) for each in told]


@pytest.fixture
def listener(settings: LazySettings) -> Iterator[Listener]:
    settings.ALLOW_PRIVATE_CALLBACKS = True
    found = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            time.sleep(found.delay)
            found.headers.append(dict(self.headers))
            found.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(found.status)
            self.send_header("Content-Length", str(len(found.answer)))
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(found.answer)

        def log_message(self, *args: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_port}/told"
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def callback(customer: User, listener: Listener) -> Callback:
    note_changes()
    return callbacks.set_callback(customer, listener.url)


@pytest.fixture
def order(callback: Callback, service: Service) -> Order:
    return Program(callback.customer).order(service.pk)


def change(order: Order, status: Status) -> None:
    """A change of status with its line of the timeline, as all code writes it."""
    with transaction.atomic():
        at_provider(order, status)
        record(order, Code.STATUS, status=status)


def later(**by: int) -> datetime:
    return timezone.now() + timedelta(**by)


def test_a_change_is_told_once_with_the_facts_of_a_status_answer(
    order: Order, listener: Listener
) -> None:
    change(order, Status.IN_PROGRESS)

    assert callbacks.run() == 1
    assert callbacks.run() == 0
    assert json.loads(listener.bodies[0]) == {
        "order": order.pk,
        "charge": "0.2",
        "start_count": "0",
        "status": "In progress",
        "remains": "100",
        "currency": "USD",
    }
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.http_status, delivery.answer, delivery.tries) == (
        Delivery.State.DELIVERED, 200, "thanks", 1,
    )  # fmt: skip


def test_the_signature_proves_the_body_and_its_time(
    order: Order, callback: Callback, listener: Listener
) -> None:
    change(order, Status.COMPLETED)
    callbacks.run()

    [headers] = listener.headers
    timestamp = headers[callbacks.TIMESTAMP_HEADER]
    assert headers["Content-Type"] == "application/json"
    assert abs(int(timestamp) - timezone.now().timestamp()) < 10
    assert headers[callbacks.SIGNATURE_HEADER] == sign(
        callback.secret, timestamp, listener.bodies[0]
    )
    assert headers[callbacks.SIGNATURE_HEADER] != sign(
        callback.secret, str(int(timestamp) + 1), listener.bodies[0]
    )


def test_each_state_is_told_in_turn_and_a_withdrawal_too(
    order: Order, listener: Listener, service: Service
) -> None:
    other = Program(order.customer).order(service.pk, link="https://example.com/q")
    change(order, Status.IN_PROGRESS)
    callbacks.run()
    change(order, Status.COMPLETED)
    withdraw(other.pk, actor=None)
    callbacks.run()

    assert sorted(listener.news) == sorted(
        [(order.pk, "In progress"), (order.pk, "Completed"), (other.pk, "Canceled")]
    )


def test_a_line_that_becomes_visible_late_is_not_lost(order: Order, listener: Listener) -> None:
    """A slow transaction takes its number early and is committed after others."""
    event = record(order, Code.STATUS, status=Status.COMPLETED)
    pk, event_order = event.pk, event.order
    event.delete()
    record(order, Code.NOTE)
    callbacks.run()
    note_changes(later(minutes=9))

    Event.objects.create(pk=pk, order=event_order, code=Code.STATUS)
    at_provider(order, Status.COMPLETED)

    assert note_changes(later(minutes=9)) == 1
    assert send_due(later(minutes=9)) == 1
    assert listener.news == [(order.pk, "Completed")]


def test_lines_are_not_read_for_ever(order: Order) -> None:
    change(order, Status.IN_PROGRESS)
    last = Event.objects.order_by("-pk").values_list("pk", flat=True)[0]

    note_changes(later(minutes=11))
    note_changes(later(minutes=22))

    assert EventMark.objects.get().settled == last


def test_what_happened_before_the_first_sweep_is_no_news(
    customer: User, service: Service, listener: Listener
) -> None:
    order = Program(customer).order(service.pk)
    change(order, Status.COMPLETED)
    callbacks.set_callback(customer, listener.url)

    assert callbacks.run() == 0
    assert listener.bodies == []


def test_without_a_callback_nothing_is_noted(customer: User, service: Service) -> None:
    note_changes()
    order = Program(customer).order(service.pk)
    change(order, Status.COMPLETED)

    assert callbacks.run() == 0
    assert not Delivery.objects.exists()


def test_another_customers_orders_are_not_told(
    callback: Callback, staff: User, service: Service, listener: Listener
) -> None:
    top_up(user=staff, amount=Decimal(10), reference="staff")
    change(Program(staff).order(service.pk), Status.COMPLETED)

    assert callbacks.run() == 0
    assert listener.bodies == []


@pytest.mark.parametrize("status", [199 + 1, 204, 299])
def test_any_2xx_is_an_arrival(order: Order, listener: Listener, status: int) -> None:
    listener.status, listener.answer = status, b""
    change(order, Status.COMPLETED)

    assert callbacks.run() == 1


@pytest.mark.parametrize("status", [301, 302, 404, 500])
def test_anything_else_is_tried_again_later_and_no_redirect_is_followed(
    order: Order, listener: Listener, status: int
) -> None:
    listener.status = status
    change(order, Status.COMPLETED)

    assert callbacks.run() == 0
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.tries) == (Delivery.State.WAITING, 1)
    assert delivery.http_status == status
    assert delivery.next_try_at > later(seconds=10)
    assert callbacks.run() == 0
    assert len(listener.bodies) == 1

    listener.status = 200
    assert send_due(later(seconds=20)) == 1


def test_after_a_day_a_message_is_given_up(order: Order, listener: Listener) -> None:
    listener.status = 500
    change(order, Status.COMPLETED)
    note_changes()
    Delivery.objects.update(created_at=timezone.now() - callbacks.GIVE_UP_AFTER)

    send_due()

    assert Delivery.objects.get().state == Delivery.State.FAILED
    assert send_due(later(days=2)) == 0
    assert len(listener.bodies) == 1


def test_the_pauses_grow_to_an_hour() -> None:
    assert [pause(tries).total_seconds() for tries in (1, 2, 3, 8, 9, 1000)] == [
        15, 30, 60, 1920, 3600, 3600,
    ]  # fmt: skip


def test_newer_news_takes_the_place_of_what_did_not_arrive(
    order: Order, listener: Listener
) -> None:
    listener.status = 500
    change(order, Status.IN_PROGRESS)
    callbacks.run()
    change(order, Status.COMPLETED)
    listener.status = 200

    note_changes()
    send_due(later(minutes=1))

    assert listener.news[-1] == (order.pk, "Completed")
    states = Delivery.objects.order_by("pk").values_list("state", flat=True)
    assert list(states) == [Delivery.State.REPLACED, Delivery.State.DELIVERED]
    assert send_due(later(days=1)) == 0


def test_a_dead_address_is_tried_once_a_run_whatever_waits_for_it(
    callback: Callback, service: Service, listener: Listener
) -> None:
    listener.status = 500
    for number in range(3):
        order = Program(callback.customer).order(service.pk, link=f"https://example.com/{number}")
        change(order, Status.COMPLETED)

    callbacks.run()

    assert len(listener.bodies) == 1


def test_a_dead_address_with_a_backlog_holds_up_no_other_customer(
    callback: Callback, staff: User, service: Service, listener: Listener
) -> None:
    order = at_provider(Program(callback.customer).order(service.pk), Status.COMPLETED)
    long_ago = timezone.now() - timedelta(hours=1)
    Delivery.objects.bulk_create(
        Delivery(callback=callback, order=order, status=Status.COMPLETED, next_try_at=long_ago)
        for _ in range(401)
    )
    Callback.objects.update(url="http://127.0.0.1:1/")
    callbacks.set_callback(staff, listener.url)
    top_up(user=staff, amount=Decimal(10), reference="staff")
    others = Program(staff).order(service.pk)
    change(others, Status.COMPLETED)

    assert callbacks.run() == 1
    assert listener.news == [(others.pk, "Completed")]


def test_a_server_that_fails_is_left_alone_for_a_while_whatever_is_new(
    callback: Callback, service: Service, listener: Listener
) -> None:
    listener.status = 500
    program = Program(callback.customer)
    for number in range(3):
        order = program.order(service.pk, link=f"https://example.com/{number}")
        change(order, Status.COMPLETED)
        callbacks.run()

    assert len(listener.bodies) == 1
    callback.refresh_from_db()
    assert callback.failures == 1
    assert send_due(later(seconds=16)) == 0
    assert len(listener.bodies) == 2
    callback.refresh_from_db()
    assert callback.failures == 2
    assert callback.quiet_until is not None
    assert 25 < (callback.quiet_until - timezone.now()).total_seconds() <= 30

    listener.status = 200
    assert send_due(later(minutes=6)) == 3
    assert Callback.objects.filter(failures=0, quiet_until=None).exists()


def test_a_server_is_never_left_alone_for_long(order: Order, listener: Listener) -> None:
    listener.status = 500
    change(order, Status.COMPLETED)
    note_changes()
    Callback.objects.update(failures=100)

    send_due()

    quiet_until = Callback.objects.get().quiet_until
    assert quiet_until is not None
    assert quiet_until - timezone.now() <= callbacks.LONGEST_QUIET


def test_another_address_is_tried_at_once(order: Order, listener: Listener) -> None:
    Callback.objects.update(url="http://127.0.0.1:1/")
    change(order, Status.COMPLETED)
    callbacks.run()

    callbacks.set_callback(order.customer, listener.url)
    Delivery.objects.update(next_try_at=timezone.now())

    assert send_due() == 1


def test_what_an_old_address_did_is_not_held_against_another_one(
    order: Order, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address is changed while the old one is called."""
    Callback.objects.update(url="http://127.0.0.1:1/")
    change(order, Status.COMPLETED)
    note_server = callbacks._note_server

    def changed_meanwhile(last: callbacks.Sent) -> None:
        callbacks.set_callback(order.customer, listener.url)
        note_server(last)

    monkeypatch.setattr(callbacks, "_note_server", changed_meanwhile)
    callbacks.run()

    assert Callback.objects.get().failures == 0


def test_a_slow_server_keeps_a_run_no_longer_than_a_dead_one(
    callback: Callback, service: Service, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Far enough apart for a machine that is busy with other things.
    monkeypatch.setattr(callbacks, "PATIENCE", 1.3)
    listener.delay = 0.7
    for number in range(4):
        order = Program(callback.customer).order(service.pk, link=f"https://example.com/{number}")
        change(order, Status.COMPLETED)

    note_changes()
    assert [send_due() for _ in range(3)] == [2, 2, 0]
    assert len(listener.bodies) == 4


def test_a_private_address_is_never_called(
    order: Order, listener: Listener, settings: LazySettings
) -> None:
    settings.ALLOW_PRIVATE_CALLBACKS = False
    settings.ALLOW_PRIVATE_UPSTREAM = True
    change(order, Status.COMPLETED)

    assert callbacks.run() == 0
    assert listener.bodies == []
    assert Delivery.objects.get().answer == "address not allowed"


@pytest.mark.parametrize(
    ("url", "is_good"),
    [
        ("https://example.com/told", True),
        ("https://example.com:8443/told?x=1", True),
        ("http://example.com/", False),
        ("https://example.com:22/", False),
        ("https://user:word@example.com/", False),
        ("https:///told", False),
        ("https://example.com:x/", False),
        ("https://exa mple.com/", False),
        ("javascript:alert(1)", False),
        ("https://[::1", False),
        ("https://example.com/\x00", False),
        ("\x00https://example.com/", False),
        ("", False),
        ("https://example.com/" + "a" * 500, False),
    ],
)
def test_an_address_is_https_on_its_usual_ports(url: str, *, is_good: bool) -> None:
    if is_good:
        check_address(url)
        return
    with pytest.raises(InvalidAddress):
        check_address(url)


def test_the_secret_is_encrypted_and_in_no_repr(callback: Callback) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM orders_callback")
        assert callback.secret not in repr(cursor.fetchall())
    assert callback.secret not in repr(
        callbacks._Message(Delivery(), callback.url, b"", callback.secret)
    )


def test_old_messages_are_forgotten_but_not_what_an_open_order_was_told(
    order: Order, service: Service
) -> None:
    done = Program(order.customer).order(service.pk, link="https://example.com/q")
    change(order, Status.IN_PROGRESS)
    change(done, Status.COMPLETED)
    callbacks.run()
    Delivery.objects.update(created_at=timezone.now() - callbacks.KEPT_FOR - timedelta(days=1))

    assert callbacks.forget_old() == 1
    assert Delivery.objects.get().order == order


def test_old_messages_go_in_parts(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "CHUNK", 2)
    callback = Callback.objects.get()
    change(order, Status.COMPLETED)
    long_ago = timezone.now() - callbacks.KEPT_FOR - timedelta(days=1)
    Delivery.objects.bulk_create(
        Delivery(callback=callback, order=order, status=Status.COMPLETED, state="delivered",
                 created_at=long_ago)
        for _ in range(5)
    )  # fmt: skip

    with CaptureQueriesContext(connection) as asked:
        assert callbacks.forget_old() == 5

    assert sum(each["sql"].startswith("DELETE") for each in asked.captured_queries) == 3


@pytest.fixture
def page(client: Client, customer: User, listener: Listener) -> Client:
    client.force_login(customer)
    return client


def post(page: Client, **fields: str) -> str:
    response = page.post("/account/callbacks/", fields, follow=True)
    assert response.status_code == 200
    return response.content.decode()


def test_the_page_names_an_address_and_shows_the_secret_once(
    page: Client, customer: User, listener: Listener
) -> None:
    shown = post(page, do="save", url=listener.url)

    callback = Callback.objects.get(customer=customer)
    assert callback.secret in shown
    assert callback.secret not in page.get("/account/callbacks/").content.decode()
    assert callback.secret not in post(page, do="save", url=f"{listener.url}2")
    assert Callback.objects.get().secret == callback.secret


def test_the_page_makes_another_secret_and_stops(page: Client, listener: Listener) -> None:
    post(page, do="save", url=listener.url)
    first = Callback.objects.get().secret

    shown = post(page, do="secret")
    second = Callback.objects.get().secret
    assert second != first
    assert second in shown
    post(page, do="stop")
    assert not Callback.objects.get().is_active
    post(page, do="save", url=listener.url)
    assert Callback.objects.get().is_active


def test_the_page_shows_the_last_answers(page: Client, order: Order, listener: Listener) -> None:
    listener.status, listener.answer = 500, b"<script>alert(1)</script>"
    change(order, Status.COMPLETED)
    callbacks.run()

    shown = page.get("/account/callbacks/").content.decode()

    assert "HTTP 500" in shown
    assert "&lt;script&gt;alert(1)" in shown
    assert "<script>alert(1)" not in shown


def test_the_page_says_that_the_server_fails(page: Client, order: Order) -> None:
    Callback.objects.update(failures=1, quiet_until=datetime(2026, 3, 4, 5, 6, tzinfo=UTC))
    once = page.get("/account/callbacks/").content.decode()
    Callback.objects.update(failures=3)
    more = page.get("/account/callbacks/").content.decode()

    assert "Your server has failed once; it is tried again from 4 Mar 2026, 05:06 on." in once
    assert "Your server has failed 3 times in a row" in more
    Callback.objects.update(is_active=False)
    assert "has failed" not in page.get("/account/callbacks/").content.decode()


@pytest.mark.parametrize("verb", ["secret", "stop", ""])
def test_the_page_does_nothing_without_an_address(page: Client, verb: str) -> None:
    post(page, do=verb)

    assert not Callback.objects.exists()


def test_a_bad_address_is_told_beside_the_field(page: Client) -> None:
    response = page.post("/account/callbacks/", {"do": "save", "url": "ftp://example.com"})

    assert response.status_code == 422
    assert "must begin with https" in response.content.decode()
    assert not Callback.objects.exists()


def test_someone_elses_messages_are_not_shown(
    page: Client, staff: User, service: Service, listener: Listener, client: Client
) -> None:
    del page
    client.force_login(staff)
    shown = client.get("/account/callbacks/").content.decode()
    assert "Last messages" not in shown


def test_sending_holds_no_transaction(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own transaction aside, no savepoint is open while a server is waited for."""
    depth = len(connection.savepoint_ids)
    seen: list[int] = []
    send: Callable[..., object] = callbacks._send_all

    def watched(messages: object) -> object:
        seen.append(len(connection.savepoint_ids))
        return send(messages)

    monkeypatch.setattr(callbacks, "_send_all", watched)
    change(order, Status.COMPLETED)
    callbacks.run()

    assert seen == [depth]
