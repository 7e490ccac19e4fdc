"""Submissions that share a connection: never a stale one, and never a second try of the same."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from urllib3.connection import HTTPConnection

from upstream import kept as kept_module
from upstream.client import Client
from upstream.errors import Abort, NotSent, OutcomeUnknown, Rejected, UpstreamError
from upstream.kept import Kept, Warm
from upstream.tests.conftest import (
    DONE_SOON,
    KEY,
    PATIENT,
    Certificate,
    Peer,
    Script,
    ScriptedServer,
    raw_reply,
    reply,
)

MakeClient = Callable[..., Client]
ORDER = {"link": "https://example.com/p/1", "quantity": "100"}
PLACED = '{"order":1}'


@pytest.fixture
def kept() -> Iterator[Kept]:
    connections = Kept()
    yield connections
    connections.close()


@pytest.fixture
def sender(make_client: MakeClient, kept: Kept) -> Client:
    return make_client(kept=kept)


def answers(*scripts: Script) -> Script:
    """One connection that answers with each script in turn, and ends."""

    def script(peer: Peer) -> None:
        for each in scripts:
            each(peer)

    return script


def for_ever(script: Script) -> Script:
    def repeat(peer: Peer) -> None:
        while True:
            script(peer)

    return repeat


def test_orders_that_follow_each_other_share_a_connection(
    server: ScriptedServer, make_client: MakeClient, kept: Kept
) -> None:
    server.answer(for_ever(reply(PLACED)))
    for number in range(5):
        # As workers do: a client for each order.
        with make_client(kept=kept) as client:
            assert client.add(str(number), ORDER).order == "1"

    assert server.connections == 1
    assert [form["service"] for form in server.forms()] == ["0", "1", "2", "3", "4"]
    assert not any(b"Connection: close" in request for request in server.requests)


def test_threads_never_share_one_at_the_same_time(
    server: ScriptedServer, make_client: MakeClient, kept: Kept
) -> None:
    together = threading.Barrier(3)

    def answer_when_all_are_there(peer: Peer) -> None:
        while peer.read_request():
            together.wait(10)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + PLACED.encode())

    server.answer(answer_when_all_are_there)
    clients = [make_client(kept=kept) for _ in range(3)]
    for _ in range(2):
        threads = [threading.Thread(target=each.add, args=("1", ORDER)) for each in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)

    assert len(server.requests) == 6
    assert server.connections == 3


@pytest.mark.parametrize("limit", ["IDLE_SECONDS", "AGE_SECONDS"])
def test_one_that_is_cold_or_old_is_closed_and_not_used(
    server: ScriptedServer, sender: Client, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(kept_module, limit, -1.0)
    server.answer(for_ever(reply(PLACED)))
    sender.add("1", ORDER)
    sender.add("1", ORDER)

    assert server.connections == 2


def test_cold_ones_are_closed_when_another_is_put_away(kept: Kept) -> None:
    opened = []
    for _ in range(3):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            connection = HTTPConnection("127.0.0.1", listening.getsockname()[1])
            connection.connect()
            opened.append(Warm(connection))
    kept.give("here", opened[0])
    kept.give("here", opened[1])
    opened[0].idle_since -= 60

    kept.give("here", opened[2])

    assert [warm.connection.sock is None for warm in opened] == [True, False, False]
    kept.close()
    assert all(warm.connection.sock is None for warm in opened)


ENDINGS: dict[str, Script] = {
    "announced": reply(PLACED, Connection="close"),
    "closed without a word": answers(reply(PLACED)),
    "to the end": raw_reply(b"HTTP/1.1 200 OK\r\n\r\n" + PLACED.encode()),
    "old protocol": raw_reply(b"HTTP/1.0 200 OK\r\nContent-Length: 11\r\n\r\n" + PLACED.encode()),
    "unasked bytes": answers(reply(PLACED), lambda peer: peer.send(b"HTTP/1.1 200 OK")),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_one_that_ended_is_never_used_again(
    server: ScriptedServer, sender: Client, kept: Kept, ending: str
) -> None:
    server.answer(ENDINGS[ending], reply(PLACED))
    assert sender.add("1", ORDER).order == "1"
    # The end, or the unasked bytes, must have arrived before it can be seen.
    deadline = time.monotonic() + 30
    while any(warm.is_usable for idle in kept._idle.values() for warm in idle):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert sender.add("2", ORDER).order == "1"

    assert server.connections == 2
    assert [form["service"] for form in server.forms()] == ["1", "2"]


FAILURES: dict[str, Script] = {
    "server error": reply(PLACED, "502 Bad Gateway"),
    "redirect": reply("x" * 100, "302 Found", Location="/"),
    "refusal with 400": reply('{"error":"Incorrect request"}', "400 Bad Request"),
    "no end": raw_reply(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{}"),
    "too large": reply(b'{"order":1,"x":"' + b"x" * 70_000 + b'"}'),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_after_a_failure_the_connection_is_not_kept(
    server: ScriptedServer, sender: Client, kept: Kept, failure: str
) -> None:
    server.answer(FAILURES[failure], reply(PLACED))
    with pytest.raises(UpstreamError):
        sender.add("1", ORDER)

    assert not any(kept._idle.values())
    assert sender.add("2", ORDER).order == "1"


def test_a_refusal_in_good_form_keeps_it(server: ScriptedServer, sender: Client) -> None:
    server.answer(for_ever(reply('{"error":"Incorrect request"}')))
    for _ in range(2):
        with pytest.raises(Rejected):
            sender.add("1", ORDER)

    assert server.connections == 1


def until(leave: threading.Event) -> Script:
    """One order is placed; then the provider stays until it is told to go."""

    def script(peer: Peer) -> None:
        reply(PLACED)(peer)
        leave.wait(5)

    return script


def test_one_that_dies_after_the_mark_is_dialled_anew_and_sent_once(
    server: ScriptedServer, sender: Client
) -> None:
    leave = threading.Event()
    server.answer(until(leave), reply('{"order":2}'))
    sender.add("1", ORDER)

    def mark() -> None:
        leave.set()
        time.sleep(0.2)  # the provider closes, as ours to send is about to be written

    assert sender.add("2", ORDER, before_send=mark).order == "2"
    assert [form["service"] for form in server.forms()] == ["1", "2"]
    assert server.connections == 2


def test_one_that_dies_after_the_mark_and_can_not_be_dialled_is_not_sent(
    server: ScriptedServer, sender: Client
) -> None:
    leave = threading.Event()
    server.answer(until(leave))
    sender.add("1", ORDER)

    def mark() -> None:
        leave.set()
        server.close()

    with pytest.raises(NotSent, match="connection refused"):
        sender.add("2", ORDER, before_send=mark)
    assert len(server.requests) == 1


@pytest.mark.parametrize("end", [Peer.reset, lambda peer: peer.sock.close()])
def test_one_that_dies_while_it_is_written_to_is_unknown_and_not_repeated(
    server: ScriptedServer, sender: Client, end: Callable[[Peer], None]
) -> None:
    """Nobody can tell whether it was read: what a connection of its own would say too."""

    def read_and_end(peer: Peer) -> None:
        peer.read_request()
        end(peer)

    server.answer(answers(reply(PLACED), read_and_end), reply(PLACED))
    sender.add("1", ORDER)
    with pytest.raises(OutcomeUnknown):
        sender.add("2", ORDER)

    assert [form["service"] for form in server.forms()] == ["1", "2"]
    assert server.connections == 1


def test_an_order_that_is_not_sent_after_all_leaves_no_connection(
    server: ScriptedServer, sender: Client, kept: Kept
) -> None:
    server.answer(for_ever(reply(PLACED)))
    sender.add("1", ORDER)

    def mark() -> None:
        raise Abort("claim lost")

    with pytest.raises(Abort):
        sender.add("2", ORDER, before_send=mark)
    assert not any(kept._idle.values())
    assert len(server.requests) == 1


def test_the_deadline_of_one_order_does_not_end_the_next(
    server: ScriptedServer, make_client: MakeClient, kept: Kept
) -> None:
    sender = make_client(kept=kept, timeouts=DONE_SOON)

    def slowly(peer: Peer) -> None:
        server.stopping.wait(0.1)
        reply(PLACED)(peer)

    server.answer(for_ever(slowly))
    begun = time.monotonic()
    while time.monotonic() - begun < 1.5 * DONE_SOON.total:
        assert sender.add("1", ORDER).order == "1"

    assert server.connections == 1


def test_under_tls_it_is_kept_as_well(
    tls_server: ScriptedServer, make_client: MakeClient, certificate: Certificate, kept: Kept
) -> None:
    tls_server.answer(for_ever(reply(PLACED)))
    roots = str(certificate.certificate)
    client = make_client(url=tls_server.url, ca_file=roots, kept=kept)
    for _ in range(3):
        assert client.add("1", ORDER).order == "1"

    assert tls_server.connections == 1
    # Whoever trusts other roots has not checked this one.
    with pytest.raises(NotSent, match="certificate"):
        make_client(url=tls_server.url, kept=kept).add("1", ORDER)


def test_one_to_a_private_address_is_for_those_alone_who_may_go_there(
    server: ScriptedServer, sender: Client, kept: Kept
) -> None:
    server.answer(for_ever(reply(PLACED)))
    sender.add("1", ORDER)
    with (
        Client(url=server.url, key=KEY, timeouts=PATIENT, kept=kept) as public,
        pytest.raises(NotSent, match="address not allowed"),
    ):
        public.add("2", ORDER)
    assert len(server.requests) == 1
