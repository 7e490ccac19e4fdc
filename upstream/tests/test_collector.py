"""The collector rests while lists are read, and is awake again whatever happens meanwhile."""

import gc
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from upstream.client import Client
from upstream.collector import resting
from upstream.errors import UpstreamError
from upstream.recognition import Recognition
from upstream.tests.conftest import ScriptedServer, reply


@pytest.fixture(autouse=True)
def _awake() -> Iterator[None]:
    assert gc.isenabled()
    yield
    assert gc.isenabled()


def test_it_rests_meanwhile_and_wakes_up() -> None:
    with resting():
        assert not gc.isenabled()
        with resting():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_wakes_up_after_an_error() -> None:
    with suppress(ZeroDivisionError), resting():
        _ = 1 // 0

    assert gc.isenabled()


def test_who_had_it_switched_off_finds_it_so() -> None:
    gc.disable()
    try:
        with resting():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_last_of_several_threads_wakes_it_up() -> None:
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with resting():
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=work)
    with resting():
        thread.start()
        assert inside.wait(60)
    assert not gc.isenabled()
    leave.set()
    thread.join()

    assert gc.isenabled()


@pytest.mark.parametrize("body", ['[{"service":1}]', '{"error":"no"}', "<html>", "[" * 100_000])
def test_reading_a_list_leaves_it_awake(server: ScriptedServer, client: Client, body: str) -> None:
    server.answer(reply(body))

    with suppress(UpstreamError):
        client.services_if_new(Recognition())

    assert gc.isenabled()
