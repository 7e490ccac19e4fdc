"""Worker processes beside a test, on the test's own database."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.db import connection, connections
from django.db.utils import load_backend

_DEADLINE = 30.0

Process = subprocess.Popen[bytes]


@contextmanager
def file_database(folder: Path) -> Iterator[None]:
    """On SQLite, continue the test on a copy of its database in a file, which others can open.

    PostgreSQL's test database can be opened by others as it is.
    """
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    path = folder / "panel.sqlite3"
    copy = sqlite3.connect(path)
    connection.connection.backup(copy)
    copy.close()
    memory = connections["default"]
    values = {**memory.settings_dict, "NAME": str(path)}
    connections["default"] = load_backend(values["ENGINE"]).DatabaseWrapper(values, "default")
    try:
        yield
    finally:
        connections["default"].close()
        connections["default"] = memory


def database_url() -> str:
    """The address of the database that this test uses."""
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{values['NAME']}"
    login = f"{values['USER']}:{values['PASSWORD']}" if values["PASSWORD"] else values["USER"]
    return f"postgres://{login}@{values['HOST']}:{values['PORT'] or 5432}/{values['NAME']}"


@dataclass
class Workers:
    """Starts workers; each ends with the test."""

    environment: dict[str, str]
    running: list[Process] = field(default_factory=list)

    def start_celery(self, redis_url: str, *, prefix: str, threads: int = 8) -> Process:
        """Start a Celery worker on a broker, with a prefix that keeps its messages apart."""
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "panel", "worker", "--pool", "threads",
             "--concurrency", str(threads), "--without-mingle", "--without-gossip"],
            cwd=settings.BASE_DIR,
            env={
                **self.environment,
                # A busy machine must not be taken for a provider that hangs.
                "UPSTREAM_CONNECT_TIMEOUT": "10",
                "UPSTREAM_READ_TIMEOUT": "20",
                "UPSTREAM_TOTAL_TIMEOUT": "25",
                "REDIS_URL": redis_url,
                "REDIS_PREFIX": prefix,
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.running.append(worker)
        return worker

    def start(self, *command: str, stop_at: str = "", stop_how: str = "exit") -> Process:
        """Start a worker (see orders.tests.worker) and let it run."""
        worker = subprocess.Popen(
            [sys.executable, "-m", "orders.tests.worker", *command],
            cwd=settings.BASE_DIR,
            env={**self.environment, "STOP_AT": stop_at, "STOP_HOW": stop_how},
        )
        self.running.append(worker)
        return worker

    def run(self, *command: str, stop_at: str = "", stop_how: str = "exit") -> int:
        """Run a worker to its end; its exit status."""
        return self.start(*command, stop_at=stop_at, stop_how=stop_how).wait(_DEADLINE)

    def end(self) -> None:
        """End every worker that still runs, halted ones too."""
        for worker in self.running:
            if worker.poll() is None:
                worker.kill()
                worker.wait(_DEADLINE)


@contextmanager
def workers(**environment: str) -> Iterator[Workers]:
    """Workers with this test's database, secrets and, besides, these variables."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "HOME", "LANG", "LC_ALL", "VIRTUAL_ENV"}
    }
    crew = Workers(
        {
            **inherited,
            "DATABASE_URL": database_url(),
            "SECRET_KEY": settings.SECRET_KEY,
            "PANEL_SECRET_KEYS": ",".join(settings.SECRET_KEYS),
            "VAR_DIR": str(settings.VAR_DIR),
            "ALLOW_PRIVATE_UPSTREAM": "true",
            "LOG_LEVEL": "ERROR",
            **environment,
        }
    )
    try:
        yield crew
    finally:
        crew.end()


def wait_until(
    is_true: Callable[[], bool],
    *,
    seconds: float = _DEADLINE,
    tell: Callable[[], object] = lambda: "",
) -> None:
    """Wait for something that another process does; fails with what `tell` says if it does not."""
    ends = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < ends, f"waited in vain: {tell()}"
        time.sleep(0.02)


def wait_until_halted(worker: Process) -> None:
    """Wait until a worker has stopped itself with SIGSTOP."""

    def is_halted() -> bool:
        found, status = os.waitpid(worker.pid, os.WUNTRACED | os.WNOHANG)
        if found and not os.WIFSTOPPED(status):
            raise AssertionError(f"the worker ended with {os.waitstatus_to_exitcode(status)}")
        return bool(found)

    wait_until(is_halted)


def go_on(worker: Process) -> int:
    """Let a halted worker continue, to its end; its exit status."""
    worker.send_signal(signal.SIGCONT)
    return worker.wait(_DEADLINE)
