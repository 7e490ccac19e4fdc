"""Wake-ups: a broker that is away or frozen costs a page little, and only once in a while."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from django.conf import settings

from accounts import trace
from orders import tasks, wakeups
from panel.celery import app

_PROBE = """
import json, django
django.setup()
from orders import wakeups
from orders.wakeups import kick
tries = []
send = wakeups.publish
wakeups.publish = lambda *args: tries.append(args) or send(*args)
print(json.dumps([[kick(1), len(tries)] for _ in range(3)]))
"""


def kick_three_times(redis_url: str) -> list[tuple[bool, int]]:
    """Whether each of three wake-ups was sent, and how often the broker was tried so far.

    In a process of its own, which is ended when it waits for longer than a broker may cost.
    """
    environment = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    run = subprocess.run(
        [sys.executable, "-c", _PROBE],
        cwd=settings.BASE_DIR,
        env={
            **environment,
            "DJANGO_SETTINGS_MODULE": "panel.settings",
            "SECRET_KEY": settings.SECRET_KEY,
            "VAR_DIR": str(settings.VAR_DIR),
            "REDIS_URL": redis_url,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [(sent, tries) for sent, tries in json.loads(run.stdout)]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts and never answers, as a frozen broker does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_broker_that_is_away_is_tried_once(closed_port: int) -> None:
    """F23."""
    assert kick_three_times(f"redis://127.0.0.1:{closed_port}/0") == [(False, 1)] * 3


def test_a_frozen_broker_is_waited_for_once(silent_port: int) -> None:
    """F24."""
    assert kick_three_times(f"redis://127.0.0.1:{silent_port}/0") == [(False, 1)] * 3


def test_the_broker_is_tried_again_after_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now, tries = [100.0], []

    def refuse(*args: object, **options: object) -> None:
        tries.append(args)
        raise ConnectionRefusedError

    monkeypatch.setattr("orders.wakeups.time.monotonic", lambda: now[0])
    monkeypatch.setattr("orders.wakeups.publish", refuse)
    broker = wakeups._Broker()
    for at in (100.0, 129.9, 130.1):
        now[0] = at
        assert not broker.send("orders.tasks.forward_order", 1)

    assert len(tries) == 2


def test_the_names_that_are_woken_are_tasks_that_exist() -> None:
    names = {tasks.forward_order.name, tasks.probe_provider.name}

    assert names == {"orders.tasks.forward_order", "orders.tasks.probe_provider"}
    assert names <= set(app.tasks)


def test_wake_ups_carry_the_number_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[object, ...]] = []
    monkeypatch.setattr("orders.wakeups.publish", lambda _app, *message: sent.append(message))

    with trace.request_context("of-the-page"):
        assert wakeups.kick(7)
        assert wakeups.kick_probe(8)

    headers = {"panel_request": "of-the-page"}
    assert sent == [
        ("orders.tasks.forward_order", 7, headers),
        ("orders.tasks.probe_provider", 8, headers),
    ]
