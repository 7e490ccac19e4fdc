"""What the panel holds in memory when nobody does anything.

Started as docker-compose.yml starts it (web, worker and beat, with a Redis of their own), and as
`manage.py serve` does (one process, SQLite). Measured is what all their processes hold together, when
every page was answered by every web process and every frequent job has run.
"""

import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
import yaml
from django.db import connection

from bench.harness import Figure, migrated_sqlite, report, say
from bench.resident import held_by_trees
from panel.models import Job
from panel.schedule import periodic_jobs
from tests.processes import BIN, PYTHON, ROOT, Process, free_port, started, wait_for_http

_SECONDS = 120
_PAGES = ("/", "/accounts/login/", "/accounts/signup/", "/services/", "/healthz")
# Many enough that each of a few web processes has answered each page.
_ROUNDS = 20


def main() -> None:
    """One process always; the separate ones too when PostgreSQL is measured.

    Both are started at once: most of the time they only wait for their jobs' turns, and what one
    holds does not depend on the other.
    """
    with ExitStack() as stack:
        panels = [stack.enter_context(_embedded())]
        if connection.vendor == "postgresql":
            panels.append(stack.enter_context(_separate()))
        for panel in panels:
            panel.warm_up()
        for panel in panels:
            panel.await_jobs()
            panel.report()
        for panel in panels:
            panel.stop()


@dataclass(frozen=True)
class Panel:
    """A running panel: its figure and the most it may be, its processes, which of its jobs have run."""

    name: str
    most: int
    url: str
    processes: Mapping[str, Process]
    finished: Callable[[], set[str]]

    def warm_up(self) -> None:
        """Ask for every page as often as loads whatever is loaded when it is first needed."""
        wait_for_http(f"{self.url}/healthz")
        for _ in range(_ROUNDS):
            for page in _PAGES:
                requests.get(self.url + page, timeout=30).raise_for_status()

    def await_jobs(self) -> None:
        """Wait until each job that isn't nightly has run."""
        jobs = periodic_jobs(sync_minutes=60, poll_seconds=120).values()
        frequent = {job.name for job in jobs if job.hour is None}
        deadline = time.monotonic() + _SECONDS
        while missing := frequent - self.finished():
            if time.monotonic() > deadline:
                sys.exit(f"Not run within {_SECONDS} s: {', '.join(sorted(missing))}")
            time.sleep(0.2)

    def report(self) -> None:
        """What all of it holds; and each process, as if it were the only one."""
        for name, process in self.processes.items():
            say(f"{name}: {held_by_trees(process.pid):.0f} MB if it were alone")
        held = held_by_trees(*(process.pid for process in self.processes.values()))
        report(Figure(self.name, held, self.most, 1, "MB", 1))

    def stop(self) -> None:
        """Ask all to end, so that nobody waits for one after the other; Redis ends after them."""
        for name, process in self.processes.items():
            if name != "redis":
                process.send(signal.SIGTERM)


@contextmanager
def _embedded() -> Iterator[Panel]:
    with tempfile.TemporaryDirectory() as folder:
        database = migrated_sqlite(Path(folder))
        path = database.removeprefix("sqlite:///")
        environment = _environment(folder, DATABASE_URL=database, REDIS_URL="")
        serve = [PYTHON, "manage.py", "serve"]
        with started(serve, environment=environment, log=Path(folder, "serve.log")) as process:
            yield Panel(
                "at rest, embedded", 110, environment["SITE_URL"], {"serve": process},
                lambda: _finished_in_file(path),
            )  # fmt: skip


@contextmanager
def _separate() -> Iterator[Panel]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        redis, redis_url = stack.enter_context(_redis(folder))
        environment = _environment(
            folder, DATABASE_URL=os.environ["DATABASE_URL"], REDIS_URL=redis_url
        )
        running = {"redis": redis}
        for name in ("web", "worker", "beat"):
            log = Path(folder, f"{name}.log")
            command = _compose_command(name, environment)
            running[name] = stack.enter_context(started(command, environment=environment, log=log))
        yield Panel(
            "at rest, web + worker + beat + Redis", 320, environment["SITE_URL"], running,
            _finished,
        )  # fmt: skip


def _environment(folder: str, **variables: str) -> dict[str, str]:
    port = str(free_port())
    return {
        "VAR_DIR": folder,
        "SECRET_KEY": "only-for-this-benchmark-" + "x" * 40,
        "SITE_URL": f"http://127.0.0.1:{port}",
        "PORT": port,
        "LOG_LEVEL": "INFO",
        "PUBLIC_CATALOG": "1",
        **variables,
    }


def _services() -> dict[str, dict[str, Sequence[str]]]:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    found: dict[str, dict[str, Sequence[str]]] = yaml.safe_load(text)["services"]
    return found


def _compose_command(service: str, environment: Mapping[str, str]) -> list[str]:
    """The container's command, with this machine's programs and a free port."""
    program, *arguments = _services()[service]["command"]
    bind = f"--bind=127.0.0.1:{environment['PORT']}"
    return [
        PYTHON if program == "python" else str(BIN / program),
        *(bind if argument.startswith("--bind=") else argument for argument in arguments),
    ]


@contextmanager
def _redis(folder: str) -> Iterator[tuple[Process, str]]:
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        sys.exit("Neither valkey-server nor redis-server is installed.")
    _, *arguments = _services()["redis"]["command"]
    port = free_port()
    command = [program, *arguments, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
    with started(command, environment={}, log=Path(folder, "redis.log")) as process:
        process.wait_until_said("Ready to accept connections")
        yield process, f"redis://127.0.0.1:{port}/0"


def _finished() -> set[str]:
    return set(Job.objects.filter(finished_at__isnull=False).values_list("name", flat=True))


def _finished_in_file(path: str) -> set[str]:
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT name FROM panel_job WHERE finished_at IS NOT NULL")
        return {name for (name,) in rows}
