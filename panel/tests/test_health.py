"""Health checks tell a container whether its process is alive."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.test import Client

from panel.health import node_problem, web_problem


def test_healthz_answers_without_the_database(client: Client) -> None:
    # No database is allowed in this test, so a query would fail it.
    answer = client.get("/healthz")

    assert (answer.status_code, answer.content) == (200, b"ok\n")
    assert answer["Cache-Control"] == "no-store"


@contextmanager
def web_server(status: int) -> Iterator[tuple[int, list[str]]]:
    """A server that answers every GET with a status; yields its port and the hosts it was asked for."""
    hosts: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hosts.append(f"{self.headers['Host']}{self.path}")
            self.send_response(status)
            self.end_headers()

        log_message: Callable[..., None] = lambda *_: None

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, hosts
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_web_server_is_asked_by_the_name_that_it_serves(settings: LazySettings) -> None:
    settings.SITE_URL = "https://panel.example.com"
    with web_server(200) as (settings.PORT, hosts):
        assert web_problem() == ""

    assert hosts == ["panel.example.com/healthz"]


def test_a_web_server_that_fails_is_a_problem(settings: LazySettings) -> None:
    with web_server(500) as (settings.PORT, _):
        assert web_problem() == "the web server answers HTTP 500"


def test_no_web_server_is_a_problem_and_the_command_fails(settings: LazySettings) -> None:
    with web_server(200) as (settings.PORT, _):
        pass

    assert "no web server answers" in web_problem()
    with pytest.raises(CommandError, match="no web server answers"):
        call_command("health", "web")


@pytest.mark.redis
@pytest.mark.parametrize("kind", ["celery", "celerybeat"])
def test_a_process_that_is_not_there_does_not_answer(kind: str) -> None:
    assert node_problem(kind).endswith("does not answer")
