"""Starts the project's real processes, and finds out what is left of them."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
BIN = Path(sys.executable).parent


class Process:
    """A started program and its log."""

    def __init__(self, arguments: Sequence[str], *, environment: Mapping[str, str], log: Path):
        self.log = log
        with log.open("w") as output:
            self._popen = subprocess.Popen(
                arguments,
                cwd=ROOT,
                env=clean_environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._popen.pid

    def said(self) -> str:
        return self.log.read_text("utf-8", errors="replace")

    def wait_until_said(self, text: str, *, seconds: float = 100) -> str:
        deadline = time.monotonic() + seconds
        while text not in self.said():
            assert self._popen.poll() is None, f"ended early:\n{self.said()}"
            assert time.monotonic() < deadline, f"never said {text!r}:\n{self.said()}"
            time.sleep(0.1)
        return self.said()

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def end(self, number: int = signal.SIGTERM, *, seconds: float = 60) -> int:
        """Send the signal and return the exit code; kills what does not end in time, and fails."""
        if self._popen.poll() is None:
            self._popen.send_signal(number)
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
            raise AssertionError(f"did not end in {seconds} s:\n{self.said()}") from None

    def wait(self, seconds: float) -> int:
        """The exit code, once it ended by itself."""
        return self._popen.wait(seconds)

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()


@contextmanager
def started(
    arguments: Sequence[str], *, environment: Mapping[str, str], log: Path
) -> Iterator[Process]:
    process = Process(arguments, environment=environment, log=log)
    try:
        yield process
    finally:
        process.end()


def clean_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """This environment without the test run's own database, and with warnings as they are."""
    ours = {
        "DATABASE_URL", "REDIS_URL", "PYTHONWARNINGS", "DJANGO_SETTINGS_MODULE", "PORT",
        "DJANGO_ALLOW_ASYNC_UNSAFE",
    }  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "PYTHONUNBUFFERED": "1", **variables}


def manage(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a management command to its end."""
    return subprocess.run(
        [PYTHON, "manage.py", *arguments],
        cwd=ROOT,
        env=clean_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def free_port() -> int:
    """A port that nobody listens on, and below those that the system gives to connections by itself.

    One of those could be taken again before the server that it is meant for listens.
    """
    while True:
        port = 11_000 + secrets.randbelow(21_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_for_http(url: str, *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not _answers(url):
        assert time.monotonic() < deadline, f"{url} does not answer"
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def processes_naming(text: str) -> list[int]:
    """The running processes with the text in their command line or environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            named = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except OSError:
            continue  # it ended meanwhile, or is not ours
        if text.encode() in named and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found
