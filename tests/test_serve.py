"""`make run`: everything in one process against the environment's provider."""

import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from django.conf import settings

from tests.migrated import put_migrated_sqlite
from tests.processes import PYTHON, Process, free_port, manage, started, wait_for_http
from tests.visitor import Visitor

SERVE = [PYTHON, "manage.py", "serve"]
KEY = "key-of-this-test"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "VAR_DIR": str(tmp_path / "var"),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'panel.sqlite3'}",
        "PORT": str(free_port()),
        "UPSTREAM_API_URL": "",
        "UPSTREAM_API_KEY": "",
    }


@pytest.fixture
def migrated(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """For tests that aren't about the first start."""
    put_migrated_sqlite(tmp_path / "panel.sqlite3")
    return environment


@pytest.fixture
def slow_provider(tmp_path: Path) -> Iterator[str]:
    """A simulated provider; the test slows it down when it matters."""
    command = [PYTHON, "-m", "upstream.simulator", "--port", "0", "--key", KEY]
    with started(command, environment={}, log=tmp_path / "simulator.log") as process:
        [url] = re.findall(r"http://\S+", process.wait_until_said("/api/v2"))
        yield url


@pytest.mark.timeout(120)
def test_without_a_provider_it_says_which_variables_to_set_and_serves_all_the_same(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with started(SERVE, environment=environment, log=tmp_path / "serve.log") as process:
        said = process.wait_until_said(f"http://127.0.0.1:{environment['PORT']}/")
        wait_for_http(f"http://127.0.0.1:{environment['PORT']}/healthz")

        assert "UPSTREAM_API_URL and UPSTREAM_API_KEY" in said
        assert process.end(signal.SIGTERM) == 0
        assert process.said().endswith("Stopped.\n")


@pytest.mark.timeout(120)
def test_what_a_proxy_says_of_a_visitor_arrives(migrated: dict[str, str], tmp_path: Path) -> None:
    migrated |= {"SITE_URL": "https://panel.example.com", "BEHIND_PROXY": "true"}
    address = f"http://127.0.0.1:{migrated['PORT']}"
    by_proxy = {
        "Host": "panel.example.com",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "192.0.2.1",
    }
    with started(SERVE, environment=migrated, log=tmp_path / "serve.log"):
        wait_for_http(f"{address}/healthz")

        page = requests.get(f"{address}/", headers=by_proxy, allow_redirects=False, timeout=30)
        figures = requests.get(f"{address}/metrics", headers=by_proxy, timeout=30)

    # Asked by https already, so not sent round; and a visitor, so without figures.
    assert page.status_code == 200
    assert figures.status_code == 404


@pytest.mark.timeout(120)
def test_a_taken_port_is_refused_with_the_way_out(migrated: dict[str, str], tmp_path: Path) -> None:
    with started(SERVE, environment=migrated, log=tmp_path / "serve.log") as process:
        process.wait_until_said(f"http://127.0.0.1:{migrated['PORT']}/")

        second = manage("serve", environment=migrated)

    port = int(migrated["PORT"])
    assert second.returncode == 1
    assert f"{port} is taken. Choose another one: PORT={port + 1} make run" in second.stderr


@pytest.mark.timeout(120)
def test_a_database_that_can_not_be_migrated_ends_it(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "panel.sqlite3").write_text("This is no database. " * 100)

    ended = manage("serve", environment=environment)

    assert ended.returncode == 1
    assert "file is not a database" in ended.stderr
    assert "could not be brought up to date; the reason is above" in ended.stderr
    assert "Panel: http" not in ended.stdout


@pytest.mark.timeout(180)
def test_an_order_that_is_being_sent_when_the_process_is_stopped_gets_its_answer(
    migrated: dict[str, str], slow_provider: str, tmp_path: Path
) -> None:
    migrated |= {
        "UPSTREAM_API_URL": slow_provider,
        "UPSTREAM_API_KEY": KEY,
        "ALLOW_PRIVATE_UPSTREAM": "1",
    }
    site = f"http://127.0.0.1:{migrated['PORT']}"
    with started(SERVE, environment=migrated, log=tmp_path / "serve.log") as process:
        process.wait_until_said(f"{site}/")
        assert manage("sync_catalog", environment=migrated).returncode == 0
        created = manage(
            "create_customer", "someone@example.com", "--balance", "50", environment=migrated
        )
        [link] = re.findall(r"http://\S+", created.stdout)
        visitor = Visitor(site)
        visitor.choose_password(link, "a-Long-passw0rd")
        visitor.sign_in("someone@example.com", "a-Long-passw0rd")
        service = visitor.simple_service(cheapest_of="followers")
        control = slow_provider.removesuffix("/api/v2") + "/sim/settings"
        requests.post(control, json={"latency_ms": 3000}, timeout=30).raise_for_status()
        visitor.order(service, link="https://example.com/me", quantity=1000)
        wait_until_sending(tmp_path / "panel.sqlite3")

        assert process.end(signal.SIGTERM) == 0

    assert dispatch(tmp_path / "panel.sqlite3") == "accepted"


def dispatch(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        [(value,)] = connection.execute("SELECT dispatch FROM orders_order")
    return str(value)


def wait_until_sending(database: Path) -> None:
    deadline = time.monotonic() + 60
    while (state := dispatch(database)) != "sending":
        assert state in {"queued", "claimed"}, state
        assert time.monotonic() < deadline, state
        time.sleep(0.02)


_FALLEN_WORKER = """
import time, django
django.setup()
from celery.worker import state
from panel.serving import embedded_worker, ended_by_signals
with ended_by_signals(), embedded_worker():
    state.should_stop = 1
    time.sleep(60)
"""


@pytest.mark.timeout(60)
def test_a_worker_that_ends_by_itself_takes_the_process_with_it(
    environment: dict[str, str], tmp_path: Path
) -> None:
    environment["DJANGO_SETTINGS_MODULE"] = "panel.settings"
    process = Process(
        [PYTHON, "-c", _FALLEN_WORKER], environment=environment, log=tmp_path / "fallen.log"
    )

    assert process.wait(60) == 1
    assert process.said().endswith("The worker or beat ended by itself; the log above says why.\n")


@pytest.mark.redis
@pytest.mark.timeout(120)
def test_with_redis_it_is_the_web_server_alone_and_says_what_to_start_beside_it(
    migrated: dict[str, str], tmp_path: Path
) -> None:
    migrated["REDIS_URL"] = settings.REDIS_URL
    with started(SERVE, environment=migrated, log=tmp_path / "serve.log") as process:
        said = process.wait_until_said(f"http://127.0.0.1:{migrated['PORT']}/")
        wait_for_http(f"http://127.0.0.1:{migrated['PORT']}/healthz")

    assert "celery -A panel worker -P threads -Q submit,poll" in said
    assert "celery -A panel beat" in said
