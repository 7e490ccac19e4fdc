"""System checks find what would cost money or leak a secret, and name the fix."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.conf import LazySettings
from django.core.checks import run_checks
from django.db import connection

from panel.checks import configuration, database_durability, refuse_unsafe_database
from panel.local import is_local


@contextmanager
def unsafe_database() -> Iterator[None]:
    """Let this connection forget commits, the way a tuned-up configuration would."""
    sqlite = connection.vendor == "sqlite"
    off, on = (
        ("PRAGMA synchronous=NORMAL", "PRAGMA synchronous=FULL")
        if sqlite
        else ("SET synchronous_commit TO off", "SET synchronous_commit TO on")
    )
    with connection.cursor() as cursor:
        cursor.execute(off)
        yield
        cursor.execute(on)


@pytest.mark.django_db(transaction=True)
def test_the_databases_as_we_set_them_up_keep_commits() -> None:
    assert database_durability(databases=["default"]) == []
    refuse_unsafe_database()


@pytest.mark.django_db(transaction=True)
def test_a_database_that_may_forget_a_commit_is_found_and_refused() -> None:
    with unsafe_database():
        [found] = database_durability(databases=["default"])
        with pytest.raises(SystemExit, match="may lose committed transactions"):
            refuse_unsafe_database()

    assert found.id in {"panel.E001", "panel.E002"}
    assert "synchronous" in str(found.hint)


@pytest.mark.django_db(transaction=True)
def test_the_durability_check_runs_with_djangos_own_for_databases() -> None:
    with unsafe_database():
        found = [message.id for message in run_checks(databases=["default"])]

    assert {"panel.E001", "panel.E002"} & set(found)


def test_without_a_database_named_none_is_asked() -> None:
    assert database_durability(databases=None) == []


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("http://localhost", True),
        ("http://panel.localhost:8000", True),
        ("https://panel.example.com", False),
        ("http://10.0.0.7", False),
        ("http://localhost.example.com", False),
    ],
)
def test_only_this_machines_own_addresses_are_local(url: str, *, local: bool) -> None:
    assert is_local(url) is local


def test_debug_and_private_providers_are_fine_on_ones_own_machine(settings: LazySettings) -> None:
    settings.SITE_URL = "http://127.0.0.1:8000"
    settings.DEBUG = settings.ALLOW_PRIVATE_UPSTREAM = True

    assert configuration() == []


def test_a_public_address_refuses_debug_and_warns_of_the_rest(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    settings.SITE_URL = "https://panel.example.com"
    settings.DEBUG = settings.ALLOW_PRIVATE_UPSTREAM = True

    assert [message.id for message in configuration()] == [
        "panel.E010", "panel.W011", "panel.W013", "panel.W012",
    ]  # fmt: skip


def test_a_public_address_with_safe_settings_passes(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "x" * 50)
    settings.SITE_URL = "https://panel.example.com"
    settings.DEBUG = settings.ALLOW_PRIVATE_UPSTREAM = False
    settings.BEHIND_PROXY = True

    assert configuration() == []
