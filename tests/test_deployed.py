"""The same job on PostgreSQL and Redis, with web, worker and beat as separate processes.

The commands are those of docker-compose.yml, taken from the file.
"""

import re
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import yaml
from django.conf import settings

from panel import env
from tests.journey import order_three, watch_three
from tests.processes import (
    BIN,
    PYTHON,
    ROOT,
    Process,
    free_port,
    manage,
    started,
    wait_for_http,
)
from tests.visitor import Visitor

pytestmark = [pytest.mark.postgres, pytest.mark.redis]

KEY = "key-of-this-test"


@pytest.fixture
def database() -> Iterator[str]:
    """A database of its own on the server of DATABASE_URL, dropped afterwards."""
    url = env.text("DATABASE_URL")
    name = f"journey_{uuid.uuid4().hex[:12]}"
    with closing(psycopg.connect(url, autocommit=True)) as server:
        server.execute(f'CREATE DATABASE "{name}"'.encode())
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[str]:
    command = [PYTHON, "-m", "upstream.simulator", "--port", "0", "--key", KEY, "--pace", "8"]
    with started(command, environment={}, log=tmp_path / "simulator.log") as process:
        said = process.wait_until_said("/api/v2")
        [url] = re.findall(r"http://\S+", said)
        yield url


@pytest.fixture
def environment(database: str, simulator: str, tmp_path: Path) -> dict[str, str]:
    port = free_port()
    return {
        "DATABASE_URL": database,
        "REDIS_URL": settings.REDIS_URL,
        "REDIS_PREFIX": f"{uuid.uuid4().hex[:8]}:",
        "VAR_DIR": str(tmp_path / "var"),
        "SECRET_KEY": "only-for-this-test-" + "x" * 40,
        "SITE_URL": f"http://127.0.0.1:{port}",
        "PORT": str(port),
        "UPSTREAM_API_URL": simulator,
        "UPSTREAM_API_KEY": KEY,
        "ALLOW_PRIVATE_UPSTREAM": "1",
        "POLL_YOUNG_SECONDS": "2",
    }


def compose_command(service: str, environment: dict[str, str]) -> list[str]:
    """The container's command, with this machine's programs and a free port."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    program, *arguments = services[service]["command"]
    bind = f"--bind=127.0.0.1:{environment['PORT']}"
    return [
        sys.executable if program == "python" else str(BIN / program),
        *(bind if argument.startswith("--bind=") else argument for argument in arguments),
    ]


@pytest.fixture
def processes(environment: dict[str, str], tmp_path: Path) -> Iterator[dict[str, Process]]:
    """Web, worker and beat, after the one-shot migration."""
    assert manage("migrate", "--no-input", environment=environment).returncode == 0
    with ExitStack() as stack:
        running = {
            service: stack.enter_context(
                started(
                    compose_command(service, environment),
                    environment=environment,
                    log=tmp_path / f"{service}.log",
                )
            )
            for service in ("web", "worker", "beat")
        }
        wait_for_http(f"{environment['SITE_URL']}/healthz")
        yield running


def new_customer(environment: dict[str, str]) -> Visitor:
    """Created by command, and signed in by the link that the command prints."""
    created = manage(
        "create_customer", "someone@example.com", "--balance", "50", environment=environment
    )
    [link] = re.findall(r"http://\S+", created.stdout)
    visitor = Visitor(environment["SITE_URL"])
    visitor.choose_password(link, "a-Long-passw0rd")
    visitor.sign_in("someone@example.com", "a-Long-passw0rd")
    return visitor


@pytest.mark.timeout(300)
def test_three_orders_end_as_they_should_and_each_process_is_healthy_and_ends_cleanly(
    processes: dict[str, Process], environment: dict[str, str]
) -> None:
    synced = manage("sync_catalog", environment=environment)
    assert synced.returncode == 0, synced.stdout + synced.stderr
    visitor = new_customer(environment)

    watch_three(visitor, order_three(visitor), balance_before=Decimal(50))

    audit = manage("check_ledger", environment=environment)
    assert audit.returncode == 0, audit.stdout
    for name in processes:
        health = manage("health", name, environment=environment)
        assert health.returncode == 0, f"{name}: {health.stderr}"
    for name, process in processes.items():
        assert process.end(signal.SIGTERM) == 0, name
        assert KEY not in process.said()
    for name in processes:
        health = manage("health", name, environment=environment)
        assert (health.returncode, health.stdout) == (1, ""), name


@pytest.mark.timeout(120)
def test_a_worker_refuses_a_database_that_may_forget_commits(
    environment: dict[str, str], database: str, tmp_path: Path
) -> None:
    with closing(psycopg.connect(database, autocommit=True)) as server:
        name = urlsplit(database).path.removeprefix("/")
        server.execute(f'ALTER DATABASE "{name}" SET synchronous_commit TO off'.encode())

    worker = Process(
        compose_command("worker", environment),
        environment=environment,
        log=tmp_path / "worker.log",
    )

    assert worker.wait(60) != 0
    assert "synchronous_commit is off" in worker.said()
    assert "Traceback" not in worker.said()
