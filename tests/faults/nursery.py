"""Starts the panel's real processes quickly, so that a run can afford to kill hundreds of them.

A nursery is a process that has imported everything and opened nothing. It forks a child for each
request, and the child becomes a gunicorn, Celery worker, beat or `manage.py serve`, with the
arguments that docker-compose.yml gives them.

python -m tests.faults.nursery reads lines of JSON, {"log": PATH, "command": [PROGRAM, ARGUMENT, …]},
and answers each with the child's process ID. It ends when its input ends.
"""

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import yaml

from tests.processes import PYTHON, ROOT, clean_environment

_PR_SET_PDEATHSIG = 1
_PRELOADED = (
    "celery.__main__", "celery.bin.worker", "celery.bin.beat", "celery.apps.worker",
    "celery.apps.beat", "celery.concurrency.thread", "celery.app.log", "celery.fixups.django",
    "kombu.transport.redis", "kombu.transport.memory", "redis.client", "psycopg", "waitress",
    "gunicorn.app.wsgiapp", "gunicorn.arbiter", "gunicorn.workers.gthread",
    "panel.celery", "panel.tasks", "orders.tasks", "panel.serving", "panel.urls",
    "panel.management.commands.serve", "upstream.client",
)  # fmt: skip


def compose_arguments(service: str, *, port: str = "") -> list[str]:
    """The program and arguments of a container, on this machine's loopback."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    bind = f"--bind=127.0.0.1:{port}"
    command = [str(argument) for argument in services[service]["command"]]
    return [bind if argument.startswith("--bind=") else argument for argument in command]


class Nursery:
    """The other end of the pipe: asks for children, which end with it or are ended by the caller."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._folder = folder
        with (folder / "nursery.log").open("wb") as log:
            self._process = subprocess.Popen(
                [PYTHON, "-m", "tests.faults.nursery"],
                cwd=ROOT,
                env=clean_environment(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def start(self, name: str, command: Sequence[str]) -> int:
        """Start a child that logs to NAME.log (appended); its process ID is its group's too."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        wanted = {"log": str(self._folder / f"{name}.log"), "command": list(command)}
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, (self._folder / "nursery.log").read_text()
        return int(answer)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        # A busy machine takes its time to end a big process.
        self._process.wait(180)
        assert self._process.stdout is not None
        self._process.stdout.close()


def _become(log: str, command: list[str]) -> NoReturn:
    os.setsid()
    # Dies with the nursery, however that ends.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # A copy of the parent's chance would make twins of all children.
    random.seed()
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in ((0, nothing), (1, output), (2, output)):
        os.dup2(source, target)
    status = 1
    try:
        _run(command)
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else bool(ended.code)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run(command: list[str]) -> None:
    sys.argv = command
    if command[0] == "celery":
        import_module("celery.__main__").main()
    elif command[0] == "gunicorn":
        import_module("gunicorn.app.wsgiapp").run()
    else:
        import_module("django.core.management").execute_from_command_line(command[1:])


def _line() -> bytes:
    """One line, byte by byte: a child must not inherit what a buffer read ahead."""
    line = b""
    while byte := os.read(0, 1):
        line += byte
        if byte == b"\n":
            break
    return line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "panel.settings")
    import_module("django").setup()
    for module in _PRELOADED:
        import_module(module)
    # Children are reaped by the kernel: who started them only wants to know whether they exist.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    while line := _line():
        wanted = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(wanted["log"], wanted["command"])
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
