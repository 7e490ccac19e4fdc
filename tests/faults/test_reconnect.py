"""A worker finds its broker again within seconds, however long that was away."""

import pytest
from kombu.exceptions import OperationalError

from panel.celery import PromptConnection, app
from tests.processes import free_port


def waits_of(tries: int) -> list[float]:
    """How long a worker waits between its tries at a broker that is away."""
    waits: list[float] = []
    with (
        app.connection_for_read(f"redis://127.0.0.1:{free_port()}/0") as connection,
        pytest.raises(OperationalError),
    ):
        connection.ensure_connection(lambda _error, wait: waits.append(wait), tries)
    return waits


def test_the_wait_between_two_tries_stays_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _seconds: None)

    assert waits_of(30) == [1, 2, *[3] * 28]


def test_with_kombus_own_waits_it_would_take_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: longer than the 15 seconds that are promised."""
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _seconds: None)
    monkeypatch.delattr(PromptConnection, "ensure_connection")

    assert max(waits_of(30)) == 30
