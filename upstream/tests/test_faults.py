"""What a broken connection or a broken answer means: not sent, or outcome unknown."""

import contextlib
import gzip
import json
import logging
import pickle
import socket
import threading
import time
import traceback
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from upstream.client import Client, Timeouts
from upstream.errors import Abort, Kind, NotSent, OutcomeUnknown, Rejected, UpstreamError
from upstream.recognition import Recognition
from upstream.tests.conftest import (
    DONE_SOON,
    KEY,
    PATIENT,
    READ_SOON,
    Certificate,
    Peer,
    Script,
    ScriptedServer,
    make_certificate,
    raw_reply,
    reply,
)

MakeClient = Callable[..., Client]
ORDER = {"link": "https://example.com/p/1", "quantity": "100"}


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_refused_connection_is_not_sent() -> None:
    url = f"http://127.0.0.1:{closed_port()}/api/v2"
    with (
        Client(url=url, key=KEY, allow_private=True, timeouts=PATIENT) as client,
        pytest.raises(NotSent, match="connection refused"),
    ):
        client.add("1", ORDER)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70 + ".invalid"])
def test_a_name_that_is_not_found_is_not_sent(host: str) -> None:
    with (
        Client(url=f"https://{host}/api/v2", key=KEY, timeouts=PATIENT) as client,
        pytest.raises(NotSent, match="name not found"),
    ):
        client.add("1", ORDER)


def test_a_full_listen_queue_times_out_before_anything_is_sent(make_client: MakeClient) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        # A backlog of 0 holds one connection; the next SYN is dropped.
        with socket.create_connection(("127.0.0.1", port)):
            hurried = Timeouts(connect=0.3, read=60, total=120)
            client = make_client(url=f"http://127.0.0.1:{port}/api/v2", timeouts=hurried)
            with pytest.raises(NotSent, match="time-out"):
                client.add("1", ORDER)


def hang_at_once(peer: Peer) -> None:
    peer.hang()


def reset_at_once(peer: Peer) -> None:
    peer.sock.recv(1)
    peer.reset()


def speak_plain_http(peer: Peer) -> None:
    peer.sock.recv(16)
    peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def drip_a_handshake(peer: Peer) -> None:
    peer.sock.recv(16)
    # A handshake record of 16 KiB is announced, and comes a byte at a time.
    peer.drip(b"\x16\x03\x03\x40\x00" + bytes(100), every=0.1)


@pytest.mark.parametrize(
    "script", [hang_at_once, reset_at_once, speak_plain_http, drip_a_handshake]
)
def test_a_failed_tls_handshake_is_not_sent(
    server: ScriptedServer, make_client: MakeClient, script: Script
) -> None:
    server.answer(script)
    marked: list[bool] = []
    hurried = Timeouts(connect=0.3, read=60, total=0.6)
    client = make_client(url=server.url.replace("http:", "https:"), timeouts=hurried)
    started = time.monotonic()

    with pytest.raises(NotSent):
        client.add("1", ORDER, before_send=lambda: marked.append(True))

    assert not marked
    assert time.monotonic() - started < 5


def test_an_untrusted_certificate_is_not_sent(
    tls_server: ScriptedServer, make_client: MakeClient
) -> None:
    tls_server.answer(reply('{"order":1}'))
    client = make_client(url=tls_server.url)
    with pytest.raises(NotSent, match="certificate"):
        client.add("1", ORDER)
    with pytest.raises(NotSent, match="certificate"):
        client.balance()
    assert tls_server.requests == []


def test_a_certificate_of_another_name_is_not_sent(make_client: MakeClient, tmp_path: Path) -> None:
    other = make_certificate(tmp_path, x509.DNSName("provider.example"))
    server = ScriptedServer(tls=other.server_context())
    server.answer(reply('{"order":1}'))
    client = make_client(url=server.url, ca_file=str(other.certificate))
    with pytest.raises(NotSent, match="certificate"):
        client.add("1", ORDER)
    server.close()
    assert server.requests == []


def test_a_trusted_certificate_carries_submissions_and_reads(
    tls_server: ScriptedServer, make_client: MakeClient, certificate: Certificate
) -> None:
    tls_server.answer(reply('{"order":1}'), reply('{"balance":"1.5","currency":"USD"}'))
    client = make_client(url=tls_server.url, ca_file=str(certificate.certificate))
    assert client.add("1", ORDER).order == "1"
    assert str(client.balance().amount) == "1.5"


def after_reading(then: Callable[[Peer], None]) -> Script:
    def script(peer: Peer) -> None:
        peer.read_request()
        then(peer)

    return script


BROKEN_AFTER_READING: dict[str, Script] = {
    "reset": after_reading(Peer.reset),
    "closed": after_reading(lambda _: None),
    "silent": after_reading(Peer.hang),
    "502": reply("<html>Bad Gateway</html>", "502 Bad Gateway"),
    "500 with JSON": reply('{"error":"Not enough funds"}', "500 Internal Server Error"),
    "503 with an id": reply('{"order":23}', "503 Service Unavailable"),
    "504 page": reply("<html>time-out</html>", "504 Gateway Timeout"),
    "page": reply("<html><body>Sign in</body></html>"),
    "warning before JSON": reply('<br /><b>Warning</b>: x in y<br />{"order":23}'),
    "empty": reply(""),
    "no content": raw_reply(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "cut status line": raw_reply(b"HTTP/1.1 200 O"),
    "cut headers": raw_reply(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "short body": raw_reply(b'HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{"order": 23}'),
    "truncated id": raw_reply(b'HTTP/1.1 200 OK\r\n\r\n{"order": 23'),
    "bad chunk": raw_reply(
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n{"order": 23}\r\nzz\r\n'
    ),
    "cut chunk": raw_reply(
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n{"order": 23}\r\n'
    ),
    "bad gzip": reply(b'\x1f\x8b{"order":23}', Content_Encoding="gzip"),
    "cut gzip": reply(gzip.compress(b'{"order":23}')[:16], Content_Encoding="gzip"),
    "garbage": raw_reply(bytes(range(256))),
    "JSON text": reply('"23"'),
    "JSON number": reply("23"),
    "JSON list": reply("[]"),
    "JSON null": reply("null"),
    "NaN": reply('{"order":NaN}'),
    "nested without end": reply("[" * 60_000),
    "too large": reply('{"order":23,"x":"' + "x" * 70_000 + '"}'),
    "id 0": reply('{"order":0}'),
    "id text 0": reply('{"order":"0"}'),
    "id empty": reply('{"order":""}'),
    "id true": reply('{"order":true}'),
    "id object": reply('{"order":{"x":1}}'),
    "id too long": reply('{"order":"' + "9" * 65 + '"}'),
    "id fraction": reply('{"order":2.15935357e+08}'),
    "error and id": reply('{"error":"low balance","order":32}'),
    "failed and id": reply('{"status":"error","order":32}'),
    "400 and id": reply('{"order":32}', "400 Bad Request"),
    "400 and nothing": reply("{}", "400 Bad Request"),
    "403 page": reply("<html>Just a moment</html>", "403 Forbidden"),
}


@pytest.mark.parametrize("fault", BROKEN_AFTER_READING)
def test_a_broken_answer_to_add_is_unknown_and_asked_for_once(
    server: ScriptedServer, make_client: MakeClient, fault: str
) -> None:
    client = make_client(timeouts=READ_SOON if fault == "silent" else PATIENT)
    server.answer(BROKEN_AFTER_READING[fault])
    with pytest.raises(OutcomeUnknown):
        client.add("1", ORDER)
    assert len(server.requests) == 1
    assert server.connections == 1


def close_unread(peer: Peer) -> None:
    peer.sock.recv(1)


@pytest.mark.parametrize("script", [close_unread, reset_at_once])
def test_closing_without_reading_cannot_be_told_from_processing(
    server: ScriptedServer, client: Client, script: Script
) -> None:
    server.answer(script)
    with pytest.raises(OutcomeUnknown):
        client.add("1", ORDER)
    assert server.connections == 1


def endless_continue(peer: Peer) -> None:
    peer.read_request()
    while not peer.server.stopping.wait(0.02):
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")


def drip_chunks(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not peer.server.stopping.wait(0.05):
        peer.send(b"1\r\n \r\n")


def drip_body(start: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(start)
        peer.drip(b" " * 200)

    return script


SLOW: dict[str, Script] = {
    "header": after_reading(lambda peer: peer.drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200)),
    "body": drip_body(b"HTTP/1.1 200 OK\r\nContent-Length: 160\r\n\r\n"),
    "body to the end": drip_body(b'HTTP/1.1 200 OK\r\n\r\n{"order":1,"balance":"1"}'),
    "continue": endless_continue,
    "chunks": drip_chunks,
}


@pytest.mark.parametrize("slow", SLOW)
@pytest.mark.parametrize("action", ["add", "balance"])
def test_a_dripping_answer_ends_at_the_deadline(
    server: ScriptedServer, make_client: MakeClient, slow: str, action: str
) -> None:
    client = make_client(timeouts=DONE_SOON)
    server.answer(SLOW[slow])
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="deadline"):
        client.add("1", ORDER) if action == "add" else client.balance()
    assert time.monotonic() - started >= DONE_SOON.total


def test_an_endless_body_is_left_at_the_limit_of_its_kind(
    server: ScriptedServer, make_client: MakeClient
) -> None:
    sent = 0

    def flood(peer: Peer) -> None:
        nonlocal sent
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            peer.send(b" " * 65536)
            sent += 65536

    server.answer(flood)
    client = make_client()
    with pytest.raises(OutcomeUnknown, match="too large"):
        client.add("1", ORDER)
    with pytest.raises(OutcomeUnknown, match="too large"):
        client.status("1")
    server.close()
    # 64 + 256 KiB, and what the buffers of two connections hold.
    assert sent < 30 * 1024 * 1024


def test_a_hundred_parents_with_their_parts_are_read(
    server: ScriptedServer, make_client: MakeClient
) -> None:
    asked = [str(number) for number in range(100)]
    parts = [f"{number:010}" for number in range(1_000)]
    server.answer(reply(json.dumps({key: {"status": "Active", "orders": parts} for key in asked})))

    answers = make_client().statuses(asked)

    assert {len(getattr(answer, "orders", ())) for answer in answers.values()} == {999}


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temp", "308 Perm"])
@pytest.mark.parametrize("action", ["add", "balance"])
def test_a_redirect_is_unknown_and_its_target_hears_nothing(
    server: ScriptedServer, client: Client, status: str, action: str
) -> None:
    other = ScriptedServer()
    other.answer(reply('{"order":1,"balance":"1"}'))
    server.answer(reply("", status, Location=other.url))
    with pytest.raises(OutcomeUnknown, match="redirect") as caught:
        client.add("1", ORDER) if action == "add" else client.balance()
    other.close()
    assert caught.value.location == "127.0.0.1"
    assert other.connections == 0


def test_the_hook_runs_after_the_connection_and_before_the_first_byte(
    server: ScriptedServer, client: Client
) -> None:
    seen: list[tuple[int, int]] = []
    arrived = threading.Event()

    def script(peer: Peer) -> None:
        arrived.set()
        reply('{"order":5}')(peer)

    def mark() -> None:
        assert arrived.wait(30)
        seen.append((server.connections, len(server.requests)))

    server.answer(script)
    assert client.add("1", ORDER, before_send=mark).order == "5"
    assert seen == [(1, 0)]


def until(ready: Callable[[], list[bytes]]) -> list[bytes]:
    """Wait for the server's thread to have noted something."""
    deadline = time.monotonic() + 30
    while not ready() and time.monotonic() < deadline:
        time.sleep(0.01)
    return ready()


@pytest.mark.parametrize("error", [Abort("claim lost"), OSError("database gone"), KeyError("x")])
def test_an_exception_of_the_hook_goes_through_and_nothing_is_sent(
    server: ScriptedServer, client: Client, error: Exception
) -> None:
    received: list[bytes] = []
    server.answer(lambda peer: received.append(peer.sock.recv(1)))

    def mark() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        client.add("1", ORDER, before_send=mark)
    assert caught.value is error
    assert until(lambda: received) == [b""]


def test_a_hook_that_outlasts_the_deadline_leaves_nothing_sent(
    server: ScriptedServer, make_client: MakeClient
) -> None:
    client = make_client(timeouts=DONE_SOON)
    received: list[bytes] = []
    server.answer(lambda peer: received.append(peer.sock.recv(1)))
    with pytest.raises(NotSent, match="deadline"):
        client.add("1", ORDER, before_send=lambda: time.sleep(DONE_SOON.total + 0.1))
    assert until(lambda: received) == [b""]


def test_submissions_take_a_fresh_connection_and_reads_share_one(
    server: ScriptedServer, client: Client
) -> None:
    def keep_alive(peer: Peer) -> None:
        while True:
            reply('{"order":1,"balance":"1"}')(peer)

    server.answer(keep_alive)
    client.balance()
    client.balance()
    assert server.connections == 1
    client.add("1", ORDER)
    client.add("1", ORDER)
    assert server.connections == 3
    assert b"\r\nConnection: close\r\n" in server.requests[2]
    assert b"\r\nAccept-Encoding: identity\r\n" in server.requests[2]
    assert b"\r\nAccept-Encoding: identity\r\n" in server.requests[0]


def test_an_idle_connection_that_the_provider_closed_is_opened_anew(
    server: ScriptedServer, client: Client
) -> None:
    server.answer(reply('{"balance":"1"}'), reply('{"balance":"2"}'))
    assert client.balance().amount == 1
    assert client.balance().amount == 2
    assert server.connections == 2


def test_a_kept_connection_that_is_closed_as_we_read_is_opened_anew_once(
    server: ScriptedServer, client: Client
) -> None:
    def close_on_the_second(peer: Peer) -> None:
        reply('{"balance":"1"}')(peer)
        peer.read_request()

    def close(peer: Peer) -> None:
        peer.read_request()

    server.answer(close_on_the_second, reply('{"balance":"2"}'), close)
    assert client.balance().amount == 1
    assert client.balance().amount == 2
    assert (server.connections, len(server.requests)) == (2, 3)
    client.close()
    with pytest.raises(OutcomeUnknown, match="reset"):
        client.balance()
    assert server.connections == 3


def test_the_proxy_and_netrc_of_the_environment_are_ignored(
    server: ScriptedServer, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.answer(reply('{"order":1,"balance":"1"}'))
    client.add("1", ORDER)
    client.balance()
    assert not any(b"authorization" in request.lower() for request in server.requests)


def test_the_user_agent_is_ours_to_choose(server: ScriptedServer, make_client: MakeClient) -> None:
    server.answer(reply('{"order":1,"balance":"1"}'))
    client = make_client(user_agent="A browser/1")
    client.add("1", ORDER)
    client.balance()
    assert [b"\r\nUser-Agent: A browser/1\r\n" in request for request in server.requests] == [
        True,
        True,
    ]


def echoes() -> list[bytes]:
    quoted = "canary%2bKey%2F0123456789%26abc"
    escaped = "canary\\u002bKey\\/0123456789&amp;abc"
    return [
        f'{{"error":"wrong key {KEY}"}}'.encode(),
        f'{{"error":"unknown field key={quoted}&action=add"}}'.encode(),
        f'{{"error":"{escaped}"}}'.encode(),
        f"<html>{KEY} {quoted} {escaped}</html>".encode(),
        ("x" * 1990 + KEY).encode(),
    ]


LEAKY: list[Script] = [
    *(reply(echo) for echo in echoes()),
    *(reply(echo, "400 Bad") for echo in echoes()),
    after_reading(Peer.reset),
    after_reading(Peer.hang),
    reply("", "302 Found", Location=f"https://{KEY}.example/"),
    reply("", "500 Error", X_Echo=KEY),
    raw_reply(b"HTTP/1.1 9" + KEY.encode() + b"\r\n\r\n"),
    raw_reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + KEY.encode() + b"\r\n"),
    reply(KEY.encode(), Content_Encoding="gzip"),
]


@pytest.mark.parametrize("script", LEAKY)
@pytest.mark.parametrize(
    "action", ["add", "refill", "cancel", "status", "balance", "services", "services if new"]
)
def test_the_key_is_in_nothing_an_error_can_show(
    server: ScriptedServer, make_client: MakeClient, script: Script, action: str
) -> None:
    # A script may hang; whether an answer came or a time-out, the key is in neither.
    client = make_client(timeouts=READ_SOON)
    server.answer(script)
    calls: dict[str, Callable[[], object]] = {
        "add": lambda: client.add("1", ORDER),
        "refill": lambda: client.refill("1"),
        "cancel": lambda: client.cancel(["1", "2"]),
        "status": lambda: client.status("1"),
        "balance": client.balance,
        "services": client.services,
        "services if new": lambda: client.services_if_new(Recognition()),
    }
    try:
        calls[action]()
    except UpstreamError as error:
        shown = shown_by(error)
    assert KEY not in shown
    assert "0123456789" not in shown
    assert KEY not in repr(client)


def shown_by(error: UpstreamError) -> str:
    """Return all that a log, a report with local variables or a page could show of an error."""
    # The first frame is the test's own, whose server has of course seen the key.
    own = error.__traceback__.tb_next if error.__traceback__ else None
    report = traceback.TracebackException(type(error), error, own, capture_locals=True)
    parts = [*report.format(), str(error), repr(error), repr(vars(error))]
    assert error.__context__ is None
    assert error.__cause__ is None
    return "\n".join(parts)


def test_a_connection_that_fails_shows_no_key() -> None:
    url = f"http://127.0.0.1:{closed_port()}/api/v2"
    client = Client(url=url, key=KEY, allow_private=True, timeouts=PATIENT)
    for call in (lambda: client.add("1", ORDER), client.balance):
        try:
            call()
        except NotSent as error:
            shown = shown_by(error)
        assert KEY not in shown
    client.close()


def test_the_error_keeps_the_answer_cut_and_without_the_key(
    server: ScriptedServer, client: Client
) -> None:
    server.answer(reply(f'{{"error":"Bad link for {KEY}\\u0000","x":"{"y" * 3000}"}}', "400 Bad"))
    with pytest.raises(Rejected) as caught:
        client.add("1", ORDER)
    assert caught.value.kind is Kind.LINK
    assert caught.value.text == "Bad link for [key]"
    assert caught.value.answer.startswith('{"error":"Bad link for [key]')
    assert len(caught.value.answer) == 2000
    assert caught.value.http_status == 400


def test_no_file_descriptor_stays_open(server: ScriptedServer, make_client: MakeClient) -> None:
    server.answer(
        reply('{"order":1,"balance":"1"}'),
        after_reading(Peer.reset),
        reply("<html>"),
        reply("", "302 Found", Location="/"),
        reply('{"order":1,"balance":"1"}'),
    )
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    before = open_sockets()
    client = make_client()
    for _ in range(10):
        for call in (lambda: client.add("1", ORDER), client.balance):
            try:
                call()
            except OutcomeUnknown:
                continue
    client.close()
    # The server closes its side in a thread of its own.
    deadline = time.monotonic() + 30
    while open_sockets() - before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert open_sockets() - before == set()


def open_sockets() -> set[str]:
    """What this process's sockets are called; files of other tests come and go."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(descriptor.readlink()))
    return {name for name in found if name.startswith("socket:")}


def test_no_log_line_of_any_library_shows_the_key(
    server: ScriptedServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="urllib3")
    server.answer(reply('{"order":1,"balance":"1"}'), reply('{"balance":"1"}'), reply("<html>"))
    client.add("1", ORDER)
    client.balance()
    with pytest.raises(OutcomeUnknown):
        client.add("1", ORDER)
    logging.getLogger("urllib3").debug("this line is seen")
    assert "this line is seen" in caplog.text
    assert "0123456789" not in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        NotSent("connection refused"),
        Rejected(Kind.LINK, "Bad link", answer="{}", http_status=400),
        OutcomeUnknown("redirect", answer="x", http_status=302, location="other.example"),
    ],
)
def test_an_error_survives_the_way_to_another_process(error: UpstreamError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))


def test_a_large_price_list_is_read_and_a_flood_of_it_is_not_kept(
    server: ScriptedServer, make_client: MakeClient
) -> None:
    def flood(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.send(b" " * 65536)

    rows = [{"service": number, "name": "x" * 400} for number in range(1, 7001)]
    server.answer(reply(json.dumps(rows)), flood)
    client = make_client()
    assert len(client.services().rows) == 7000
    tracemalloc.start()
    with pytest.raises(OutcomeUnknown, match="too large"):
        client.services()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The limit is 32 MiB; a growing buffer may be copied once.
    assert peak < 80 * 1024 * 1024
