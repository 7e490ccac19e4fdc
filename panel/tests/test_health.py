"""Health checks tell a container whether its process is alive."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from celery import Celery
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.utils import timezone

from accounts.models import User
from catalog.models import Service
from orders.models import Order
from orders.tests.worlds import order_of
from panel.health import node_problem, web_problem
from panel.models import Job


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


@pytest.mark.parametrize("kind", ["celery", "celerybeat"])
def test_a_broker_that_is_away_is_a_sentence_for_the_health_check(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Celery("x", broker="redis://127.0.0.1:9/0", set_as_current=False)
    monkeypatch.setattr("panel.health.app", away)

    assert node_problem(kind) == "the broker can't be reached (OperationalError)"


@pytest.fixture
def at_work(db: None, settings: LazySettings) -> None:
    """Every job ran a moment ago, and no broker is needed."""
    settings.REDIS_URL = ""
    for name in settings.PERIODIC_JOBS:
        Job.objects.create(name=name, started_at=timezone.now(), succeeded=True)


def test_a_panel_at_work_is_ready_and_good(client: Client, at_work: None) -> None:
    answer = client.get("/readyz?all")

    assert answer.status_code == 200
    assert answer.json()["good"]
    assert not any(answer.json()["problems"].values())


def test_a_missing_migration_is_not_ready(client: Client, at_work: None) -> None:
    [latest] = MigrationLoader(connection).graph.leaf_nodes("panel")
    MigrationRecorder(connection).record_unapplied(*latest)

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert "missing" in answer.json()["problems"]["migrations"]


def test_without_worker_the_web_server_is_ready_and_the_panel_not_good(
    client: Client, at_work: None
) -> None:
    Job.objects.filter(name="sweep").update(started_at=timezone.now() - timedelta(minutes=5))
    Job.objects.filter(name="reconcile").delete()

    assert client.get("/readyz").status_code == 200
    answer = client.get("/readyz?all")
    assert answer.status_code == 503
    assert answer.json()["problems"]["job sweep"] == "last ran 300 s ago"
    assert answer.json()["problems"]["job reconcile"] == "never ran"


def test_an_order_that_waits_for_long_is_named(
    client: Client, at_work: None, customer: User, service: Service
) -> None:
    order_of(customer, service)
    assert client.get("/readyz?all").status_code == 200
    Order.objects.update(created_at=timezone.now() - timedelta(minutes=11))

    answer = client.get("/readyz?all")

    assert answer.status_code == 503
    assert answer.json()["problems"]["unsent"].startswith("1 orders are unsent")


def test_a_broker_that_is_away_is_named_and_stops_nothing(
    client: Client, at_work: None, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    monkeypatch.setattr(
        "panel.health.app", Celery("x", broker=settings.REDIS_URL, set_as_current=False)
    )

    assert client.get("/readyz").status_code == 200
    assert "broker can't be reached" in client.get("/readyz?all").json()["problems"]["broker"]


def test_strangers_learn_whether_and_not_why(client: Client, at_work: None) -> None:
    assert client.get("/readyz", REMOTE_ADDR="192.0.2.1").json() == {"ready": True}
