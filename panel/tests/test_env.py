"""The environment is read once, and a value that makes no sense stops the start with its name."""

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from panel import env

ROOT = Path(__file__).resolve().parents[2]


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING", " ")

    assert env.text("SOMETHING", "default") == "default"
    assert env.number("SOMETHING", 7) == 7
    assert env.amount("SOMETHING", "0.5") == Decimal("0.5")
    assert env.flag("SOMETHING", default=True)


def test_a_secret_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from the file\n", encoding="utf-8")
    monkeypatch.setenv("SOMETHING_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("SOMETHING", "from the variable")

    assert env.text("SOMETHING") == "from the file"


def test_a_file_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOMETHING_FILE", str(tmp_path / "none"))

    with pytest.raises(ImproperlyConfigured, match="SOMETHING_FILE can't be read"):
        env.text("SOMETHING")


@pytest.mark.parametrize("value", ["1", "true", "Yes", "ON"])
def test_a_flag_is_on(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SOMETHING", value)
    assert env.flag("SOMETHING")


@pytest.mark.parametrize("value", ["0", "false", "No", "OFF"])
def test_a_flag_is_off(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SOMETHING", value)
    assert not env.flag("SOMETHING", default=True)


def test_a_secret_that_begins_with_a_dollar_sign_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING", "$HOME")
    assert env.text("SOMETHING") == "$HOME"


def test_a_list_drops_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING", " a, ,b ,")
    assert env.items("SOMETHING") == ["a", "b"]


def test_a_scheme_in_capitals_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    # Secure cookies and the redirection to https follow from it.
    monkeypatch.setenv("SOMETHING", "HTTPS://Panel.example.com/")
    assert env.site("SOMETHING", "") == "https://Panel.example.com"


def test_a_made_key_that_was_not_written_whole_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret_key").touch()

    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import panel.settings"],
        cwd=ROOT,
        env={**os.environ, "VAR_DIR": str(tmp_path), "SECRET_KEY": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 1
    assert "secret_key must hold at least 32 characters" in result.stderr


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"SECRET_KEY": "short"}, "SECRET_KEY must have at least 32"),
        ({"DEBUG": "perhaps"}, "DEBUG must be true or false"),
        ({"PORT": "http"}, "PORT must be a whole number"),
        ({"PORT": "70000"}, "PORT must be a whole number"),
        ({"MARKUP_PERCENT": "-1"}, "MARKUP_PERCENT must be a number"),
        ({"MARKUP_PERCENT": "NaN"}, "MARKUP_PERCENT must be a number"),
        ({"CURRENCY": "$"}, "CURRENCY must be a currency code"),
        ({"UPSTREAM_API_URL": "panel.example.com"}, "UPSTREAM_API_URL must start with"),
        ({"UPSTREAM_API_URL": "https://panel.example.com"}, "UPSTREAM_API_KEY must be set"),
        ({"SITE_URL": "panel.example.com"}, "SITE_URL must be an address"),
        ({"SITE_URL": "https://[panel"}, "SITE_URL must be an address"),
        ({"SITE_URL": "https://panel.example.com:http"}, "SITE_URL must be an address"),
        ({"SITE_URL": "https://ışık.example.com"}, "SITE_URL must be an address"),
        ({"DEBUG": "1", "SITE_URL": "https://[panel"}, "SITE_URL must be an address"),
        ({"EMAIL_VERIFICATION": "always"}, "EMAIL_VERIFICATION must be mandatory, optional or"),
        ({"TIME_ZONE": "Istanbul"}, "TIME_ZONE must be the name of a time zone"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR"),
        ({"SECRET_KEY_FILE": sys.executable}, "SECRET_KEY_FILE can't be read: it is no UTF-8"),
        ({"DATABASE_URL": "mysql://x@y/z"}, "DATABASE_URL must name PostgreSQL or SQLite"),
        ({"REDIS_URL": "amqp://x"}, "REDIS_URL must start with"),
        # What the cache would take and the queue's library doesn't know.
        ({"REDIS_URL": "unix:///run/redis.sock"}, "REDIS_URL must start with"),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT must be text or json"),
        ({"CATALOG_SYNC_MINUTES": "0"}, "CATALOG_SYNC_MINUTES must be a whole number"),
        ({"POLL_YOUNG_SECONDS": "soon"}, "POLL_YOUNG_SECONDS must be a whole number"),
    ],
)
def test_a_wrong_value_stops_the_start_with_the_variables_name(
    variables: dict[str, str], named: str, tmp_path: Path
) -> None:
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in {"DATABASE_URL", "REDIS_URL", "SITE_URL"}
    }
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import panel.settings"],
        cwd=ROOT,
        env={**clean, "VAR_DIR": str(tmp_path), **variables},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 1
    assert (
        result.stderr.strip()
        .splitlines()[-1]
        .startswith(f"django.core.exceptions.ImproperlyConfigured: {named}")
    )
