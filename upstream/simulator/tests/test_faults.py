"""Each fault does on the wire what its name says, and processes or does not."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from upstream.simulator.faults import KINDS, REWRITES, Fault
from upstream.simulator.tests.conftest import KEY, Provider
from upstream.simulator.wire import DELIVERIES

ADD = {"action": "add", "service": "1", "link": "a", "quantity": "100"}


def _raw(provider: Provider, **fields: str) -> bytes:
    """Everything the server sends to one request until it ends the connection."""
    body = urlencode({"key": KEY, **fields}).encode()
    head = f"POST /api/v2 HTTP/1.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", provider.simulator.port), timeout=30) as line:
        line.sendall(head.encode() + body)
        return b"".join(_received(line))


def _received(line: socket.socket) -> Iterator[bytes]:
    while got := line.recv(65536):
        yield got


def _placed(provider: Provider) -> int:
    return len(provider.world.orders)


def _eventually_placed(provider: Provider, count: int) -> bool:
    deadline = time.monotonic() + 30
    while _placed(provider) != count:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_every_kind_is_a_rewrite_or_a_delivery() -> None:
    assert set(KINDS) == set(REWRITES) | set(DELIVERIES)
    assert not set(REWRITES) & set(DELIVERIES)


@pytest.mark.parametrize(("kind", "placed"), [("lost_before", 0), ("lost_after", 1)])
def test_a_lost_answer_ends_the_connection_without_a_byte(
    provider: Provider, kind: str, placed: int
) -> None:
    provider.world.break_with("add", kind)

    assert _raw(provider, **ADD) == b""
    assert _placed(provider) == placed


@pytest.mark.parametrize(("kind", "placed"), [("lost_before", 0), ("lost_after", 1)])
def test_a_lost_answer_can_be_a_reset(provider: Provider, kind: str, placed: int) -> None:
    provider.world.break_with("add", kind, text="rst")

    with pytest.raises(ConnectionResetError):
        _raw(provider, **ADD)
    assert _placed(provider) == placed


def test_a_connection_can_be_dropped_before_it_is_read(provider: Provider) -> None:
    provider.world.break_with("connect", "lost_before", text="rst")

    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        _raw(provider, **ADD)
    assert provider.world.truth()["received"] == {}


@pytest.mark.parametrize(("kind", "placed"), [("hang_before", 0), ("hang_after", 1)])
def test_a_hanging_answer_outlasts_the_clients_patience(
    provider: Provider, kind: str, placed: int
) -> None:
    provider.world.break_with("add", kind, seconds=30)

    with pytest.raises(requests.ReadTimeout):
        requests.post(provider.simulator.url, data={"key": KEY, **ADD}, timeout=0.3)
    assert _placed(provider) == placed


def test_an_answer_that_hangs_for_a_moment_still_comes(provider: Provider) -> None:
    provider.world.break_with("add", "hang_after", seconds=0.2)
    begun = time.monotonic()

    assert provider.call(**ADD) == {"order": 100001}
    assert time.monotonic() - begun >= 0.2


@pytest.mark.parametrize("status", [500, 502, 504])
@pytest.mark.parametrize(("when", "placed"), [("before", 0), ("after", 1)])
def test_a_server_error_is_html_or_json_before_or_after(
    provider: Provider, status: int, when: str, placed: int
) -> None:
    provider.world.break_with("add", f"http_{status}", when=when)
    provider.world.break_with("add", f"http_{status}", when=when, text="json")

    page, coded = provider.post(**ADD), provider.post(**ADD)

    assert page.status_code == coded.status_code == status
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.text.startswith("<!DOCTYPE html>")
    assert "error" in coded.json()
    assert _placed(provider) == 2 * placed


def test_a_page_comes_in_place_of_json(provider: Provider) -> None:
    provider.world.break_with("add", "html_page")

    page = provider.post(**ADD)

    assert page.status_code == 200
    assert "<h1>Sign in</h1>" in page.text
    assert _placed(provider) == 1


def test_json_is_cut_inside_the_order_id(provider: Provider) -> None:
    provider.world.break_with("add", "cut_json")

    assert provider.post(**ADD).text == '{"order": 100'
    assert provider.world.orders[0].id == "100001"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("cut_status_line", b"HTTP/1.1 200 O"),
        ("garbage", b"\x00\xff\x16\x03\x01 this is not HTTP\r\n\r\n"),
    ],
)
def test_an_answer_can_be_no_http(provider: Provider, kind: str, said: bytes) -> None:
    provider.world.break_with("add", kind)

    assert _raw(provider, **ADD) == said
    assert _placed(provider) == 1


def test_a_body_can_be_shorter_than_announced(provider: Provider) -> None:
    provider.world.break_with("add", "short_body")

    head, _, body = _raw(provider, **ADD).partition(b"\r\n\r\n")

    assert b"Content-Length: 67" in head
    assert body == b'{"order": 100001}'


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("bad_chunk", requests.exceptions.ChunkedEncodingError),
        ("bad_gzip", requests.exceptions.ContentDecodingError),
        ("short_body", requests.exceptions.ChunkedEncodingError),
        ("garbage", requests.exceptions.ConnectionError),
    ],
)
def test_a_spoiled_body_breaks_the_client_after_processing(
    provider: Provider, kind: str, error: type[Exception]
) -> None:
    provider.world.break_with("add", kind)

    with pytest.raises(error):
        provider.post(**ADD)
    assert _placed(provider) == 1


@pytest.mark.parametrize("kind", ["drip_body", "drip_header"])
def test_an_answer_can_come_a_byte_at_a_time(provider: Provider, kind: str) -> None:
    provider.world.break_with("add", kind, seconds=0.02)
    begun = time.monotonic()

    assert provider.call(**ADD) == {"order": 100001}
    assert time.monotonic() - begun >= 16 * 0.02


def test_a_body_can_be_huge(provider: Provider) -> None:
    provider.world.break_with("add", "huge_body")
    provider.world.break_with("add", "huge_body", size=200_000)
    form = {"key": KEY, **ADD}

    with requests.post(provider.simulator.url, data=form, stream=True, timeout=30) as endless:
        assert endless.headers["Content-Length"] == str(1024**3)
    assert len(provider.post(**ADD).content) == 200_000


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_points_where_it_is_told(provider: Provider, status: int) -> None:
    target = "http://127.0.0.1:9/api/v2"
    provider.world.break_with("add", "redirect", status=status, location=target)

    answer = provider.post(**ADD)

    assert (answer.status_code, answer.headers["Location"]) == (status, target)
    assert _placed(provider) == 0


def test_too_many_requests_is_json_or_html(provider: Provider) -> None:
    provider.world.break_with("add", "rate_limit")
    provider.world.break_with("add", "rate_limit", text="html")

    coded, page = provider.post(**ADD), provider.post(**ADD)

    assert coded.status_code == page.status_code == 429
    assert coded.json() == {"error": "Too many requests"}
    assert page.text.startswith("<!DOCTYPE")
    assert _placed(provider) == 0


@pytest.mark.parametrize(("when", "placed"), [("", 0), ("before", 0), ("after", 1)])
def test_an_error_text_comes_with_or_without_an_order(
    provider: Provider, when: str, placed: int
) -> None:
    provider.world.break_with("add", "error", text="Hệ thống đang bảo trì!", when=when)

    assert provider.call(**ADD) == {"error": "Hệ thống đang bảo trì!"}
    assert _placed(provider) == placed


def test_an_error_can_have_its_own_http_status(provider: Provider) -> None:
    provider.world.break_with("add", "error", text="Incorrect request", status=404)

    answer = provider.post(**ADD)

    assert (answer.status_code, answer.json()) == (404, {"error": "Incorrect request"})


@pytest.mark.parametrize(
    ("kind", "text", "answer"),
    [
        ("no_order_object", "", {"status": "success"}),
        ("json_string", "queued", "queued"),
        ("both_error_and_order", "", {"error": "low balance", "order": 100001}),
        ("text_order_id", "", {"order": "100001"}),
        ("zero_order_id", "", {"order": 0}),
        ("error_after", "", {"error": "Something went wrong, try again"}),
        ("repeat_answer", "", {"order": 100001}),
    ],
)
def test_an_odd_answer_comes_after_the_order_is_placed(
    provider: Provider, kind: str, text: str, answer: Any
) -> None:
    provider.world.break_with("add", kind, text=text)

    assert provider.post(**ADD).json() == answer
    assert _placed(provider) == 1


def test_a_repeated_answer_names_the_order_before(provider: Provider) -> None:
    first = provider.call(**ADD)
    provider.world.break_with("add", "repeat_answer")

    assert provider.call(**ADD) == first
    assert _placed(provider) == 2


def test_a_body_can_be_empty_or_double(provider: Provider) -> None:
    provider.world.break_with("add", "empty_body")
    provider.world.break_with("add", "double_body")

    assert provider.post(**ADD).content == b""
    assert provider.post(**ADD).text == '{"order": 100002}{"order": 100002}'


def test_an_error_without_the_word_error_places_nothing(provider: Provider) -> None:
    provider.world.break_with("add", "status_error")

    assert provider.call(**ADD) == {"status": "error", "message": "Invalid Interval in minutes"}
    assert _placed(provider) == 0


def test_a_late_order_is_placed_after_the_client_has_given_up(provider: Provider) -> None:
    provider.world.break_with("add", "late", seconds=200)

    assert _raw(provider, **ADD) == b""
    provider.world.advance(199)
    assert _placed(provider) == 0
    provider.world.advance(1)

    (order,) = provider.world.truth()["orders"]
    assert order["link"] == "a"
    assert provider.books_balance()


def test_a_late_order_with_a_wrong_key_is_never_placed(provider: Provider) -> None:
    provider.world.break_with("add", "late", seconds=1)
    body = {**ADD, "key": "wrong"}

    assert _raw(provider, **body) == b""
    provider.world.advance(2)
    assert _placed(provider) == 0


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("null_start_count", "start_count", None),
        ("empty_start_count", "start_count", ""),
        ("negative_remains", "remains", "-5"),
        ("remains_above_quantity", "remains", "101"),
        ("stale", "status", "Pending"),
        ("status_word", "status", "Outdated"),
        ("numbers", "remains", 0),
    ],
)
def test_status_answers_vary_alone_and_in_batches(
    provider: Provider, kind: str, field: str, value: Any
) -> None:
    order = provider.order()
    provider.world.advance(100)
    provider.world.break_with("status", kind, times=2)

    alone = provider.status(order)
    batch = provider.call(action="status", orders=f"{order},7")

    assert alone[field] == value
    assert type(alone[field]) is type(value)
    assert batch == {order: alone, "7": {"error": "Incorrect order ID"}}
    assert provider.status(order)[field] != value


@pytest.mark.parametrize(
    ("kind", "gone"),
    [("no_charge", {"charge", "currency"}), ("no_remains", {"remains"})],
)
def test_status_fields_can_be_missing(provider: Provider, kind: str, gone: set[str]) -> None:
    order = provider.order()
    provider.world.break_with("status", kind)

    short, whole = provider.status(order), provider.status(order)

    assert set(whole) - set(short) == gone


def test_start_counter_takes_the_place_of_start_count(provider: Provider) -> None:
    order = provider.order()
    provider.world.break_with("status", "start_counter")

    odd, usual = provider.status(order), provider.status(order)

    assert "start_count" not in odd
    assert odd["start_counter"] == usual["start_count"]


def test_batches_can_be_lists_or_lose_ids_or_have_text_errors(provider: Provider) -> None:
    first, second = provider.order(), provider.order()

    def asked(kind: str) -> Any:
        provider.world.break_with("status", kind)
        return provider.call(action="status", orders=f"{first},7,{second}")

    listed = asked("listed_status")
    assert [row["order"] for row in listed] == [int(first), int(second)]
    assert asked("string_errors")["7"] == "Incorrect order ID"
    assert set(asked("missing_ids")) == {first, second}
    assert set(asked("lost_ids")) == {"7"}


def test_the_price_list_can_be_empty_short_or_wrapped(provider: Provider) -> None:
    def asked(kind: str, **options: Any) -> Any:
        provider.world.break_with("services", kind, **options)
        return provider.call(action="services")

    rows = provider.call(action="services")
    assert len(rows) == 4
    assert asked("empty_list") == []
    assert asked("short_list") == rows[:2]
    assert asked("short_list", size=3) == rows[:3]
    assert asked("wrapped") == {"data": rows}
    assert asked("empty_data") == {"status": "success", "data": "Empty Data"}
    assert asked("error", text="Database error") == {"error": "Database error"}


def test_a_fault_hits_as_often_as_told_and_only_its_action(provider: Provider) -> None:
    provider.world.break_with("add", "error", times=2, skip=1)

    assert provider.call(action="balance")["balance"] == "1000"
    answers = ["order" in provider.call(**ADD) for _ in range(5)]
    assert answers == [True, False, False, True, True]


def test_a_fault_for_ever_ends_when_healed(provider: Provider) -> None:
    provider.world.break_with("*", "error", times=None)

    assert all("error" in provider.call(action="balance") for _ in range(5))
    provider.world.heal()
    assert provider.call(action="balance")["balance"] == "1000"


def test_a_fault_can_be_for_one_link(provider: Provider) -> None:
    provider.world.break_with("add", "error", times=None, link="bad")

    assert "order" in provider.call(**ADD)
    assert "error" in provider.call(**{**ADD, "link": "a-bad-one"})


def test_probability_hits_a_share_of_requests(provider: Provider) -> None:
    provider.world.break_with("balance", "error", times=None, probability=0.3)

    hit = sum("error" in provider.call(action="balance") for _ in range(200))

    assert 30 < hit < 90


def test_faults_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="no fault kind"):
        Fault("add", "explode")
    with pytest.raises(ValueError, match="before or after"):
        Fault("add", "error", when="during")


def test_a_client_that_resets_harms_nobody_else(provider: Provider) -> None:
    with socket.create_connection(("127.0.0.1", provider.simulator.port), timeout=30) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert provider.call(**ADD) == {"order": 100001}


def test_a_client_that_leaves_does_not_undo_its_order(provider: Provider) -> None:
    provider.world.change(latency_ms=200)
    body = urlencode({"key": KEY, **ADD}).encode()
    head = f"POST /api/v2 HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", provider.simulator.port), timeout=30) as line:
        line.sendall(head + body)

    assert _eventually_placed(provider, 1)
