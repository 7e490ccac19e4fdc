"""Each log line carries the numbers of its request and order, and is one line."""

import json
import logging
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from django.conf import LazySettings
from django.test import Client

from accounts import trace
from accounts.models import User
from catalog.models import Service
from orders.fulfilment import forward
from orders.tests.worlds import order_of
from orders.wakeups import broker, kick
from panel.celery import PanelTask
from panel.logs import ContextFilter, JsonFormatter, TextFormatter, config
from panel.reporting import start_reporting


class Kept(logging.Handler):
    """Formats as the console would, and keeps the lines."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(formatter)
        self.addFilter(ContextFilter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept(JsonFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


def lines(kept: Kept, logger: str) -> list[dict[str, str]]:
    return [line for line in map(json.loads, kept.lines) if line["logger"] == logger]


def test_a_request_has_one_number_in_its_lines_and_its_answer(
    client: Client, db: None, kept: Kept
) -> None:
    first, second = client.get("/nowhere/"), client.get("/nowhere/")

    numbers = [line["request_id"] for line in lines(kept, "django.request")]
    assert numbers == [first["X-Request-ID"], second["X-Request-ID"]]
    assert numbers[0] != numbers[1]
    assert trace.request_id() == "-"


@pytest.mark.parametrize(("behind", "kept_number"), [(True, True), (False, False)])
def test_only_a_proxys_number_is_kept(
    client: Client, settings: LazySettings, *, behind: bool, kept_number: bool
) -> None:
    settings.BEHIND_PROXY = behind
    answer = client.get("/healthz", headers={"X-Request-ID": "from-outside-1"})
    assert (answer["X-Request-ID"] == "from-outside-1") is kept_number


@pytest.mark.parametrize("forged", ["a b", "x" * 65, "a\tb", "", "-", "ä"])
def test_a_number_that_is_none_is_replaced(forged: str) -> None:
    assert trace.safe_id(forged) != forged


@pytest.mark.django_db(transaction=True)
def test_a_request_is_followed_to_the_task_that_it_woke(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Celery("test", broker="memory://logs/", task_cls=PanelTask, set_as_current=False)
    seen: list[str] = []

    @app.task(name="tests.look", shared=False)
    def look(order_id: int) -> None:
        seen.append(trace.request_id())

    sent: list[tuple[int, dict[str, str]]] = []
    monkeypatch.setattr(
        "orders.wakeups.publish",
        lambda _app, _task, number, headers: sent.append((number, headers)),
    )
    broker.forgive()
    with trace.request_context("web-1"):
        assert kick(7)

    look.apply(args=(sent[0][0],), headers=sent[0][1])
    look.apply(args=(8,))
    assert seen[0] == "web-1"
    assert seen[1] not in {"web-1", "-"}


@pytest.mark.django_db(transaction=True)
def test_an_order_that_is_sent_has_its_number_in_every_line(
    kept: Kept, customer: User, service: Service, settings: LazySettings
) -> None:
    order = order_of(customer, service)
    settings.ALLOW_PRIVATE_UPSTREAM = True
    with trace.request_context("job-1"):
        forward(order.pk)

    found = lines(kept, "orders.fulfilment")
    assert found
    assert {(line["request_id"], line["order_id"]) for line in found} == {("job-1", str(order.pk))}
    assert trace.order_id() == "-"


def record(message: str, *args: object, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("name", logging.INFO, "path", 1, message, args, more.get("exc_info"))
    ContextFilter().filter(made)
    return made


def test_a_text_line_can_forge_no_other() -> None:
    line = TextFormatter().format(record("name %s", "x\n2026 ERROR forged\r\x1b[31m\u2028"))

    assert len(line.splitlines()) == 1
    assert "\\x0a2026 ERROR forged\\x0d\\x1b" in line


def test_a_json_line_is_one_object_and_holds_the_traceback() -> None:
    try:
        int("wrong\nvalue")
    except ValueError:
        line = JsonFormatter().format(record("failed", exc_info=sys.exc_info()))

    assert len(line.splitlines()) == 1
    parsed = json.loads(line)
    assert "ValueError: invalid literal" in parsed["traceback"]
    assert parsed["level"] == "INFO"
    assert "order_id" not in parsed


@pytest.mark.parametrize(
    ("style", "formatter"), [("json", "JsonFormatter"), ("text", "TextFormatter")]
)
def test_the_format_is_chosen_by_the_setting(style: str, formatter: str) -> None:
    formatters: Any = config(style, "INFO")["formatters"]
    assert formatters["line"]["()"] == f"panel.logs.{formatter}"


def test_reports_hold_no_local_variables_and_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    module = types.ModuleType("sentry_sdk")
    module.init = given.update  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentry_sdk", module)

    assert start_reporting("https://key@example.com/1")
    assert given["include_local_variables"] is False
    assert given["max_request_body_size"] == "never"
    assert given["send_default_pii"] is False
    # A customer's key may be in the address.
    event = {"request": {"url": "https://example.com/api/v2", "query_string": "key=a-secret"}}
    assert given["before_send"](event, {}) == {"request": {"url": "https://example.com/api/v2"}}


def test_without_address_or_package_nothing_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)

    assert not start_reporting("")
    assert caplog.text == ""
    assert not start_reporting("https://key@example.com/1")
    assert "not installed" in caplog.text
    assert "key@" not in caplog.text
