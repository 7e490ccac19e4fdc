"""Database and message servers of a test's own, which it may freeze, kill and start again."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import redis

from tests.processes import free_port

_DEADLINE = 30.0


class OwnRedis:
    """A redis-server that keeps nothing: each start is an empty one."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is not None:
            return
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "",
                 "--appendonly", "no", "--maxmemory-policy", "noeviction",
                 "--dir", str(self._folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        ends = time.monotonic() + _DEADLINE
        while not self._answers():
            assert time.monotonic() < ends, "redis-server does not answer"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with closing(redis.Redis(port=self.port, socket_timeout=1)) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def send(self, number: signal.Signals) -> None:
        """Freeze it or let it go on; nothing when it was killed meanwhile."""
        if self._process is not None:
            self._process.send_signal(number)

    def freeze(self) -> None:
        """Accept connections and answer nothing."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def has_listener(self) -> bool:
        """Whether a worker waits for messages."""
        with closing(redis.Redis(port=self.port, socket_timeout=5)) as client:
            return any(each["cmd"] == "brpop" for each in client.client_list())

    def waiting(self, queue: str) -> int:
        """How many messages lie in a queue."""
        with closing(redis.Redis(port=self.port, socket_timeout=5)) as client:
            return sum(
                int(str(client.llen(key))) for key in client.scan_iter(f"*:{queue}", _type="list")
            )

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """The messages that lie in a queue."""
        with closing(redis.Redis(port=self.port, socket_timeout=5)) as client:
            [key] = client.scan_iter(f"*:{queue}", _type="list")
            return [json.loads(raw) for raw in client.lrange(key, 0, -1)]

    def kill(self) -> None:
        """End it at once; frozen or not."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_DEADLINE)
            self._process = None

    def forget_everything(self) -> bool:
        """FLUSHALL; False when it can't be asked now."""
        try:
            with closing(redis.Redis(port=self.port, socket_timeout=1)) as client:
                return bool(client.flushall())
        except redis.RedisError:
            return False

    def everything(self) -> bytes:
        """All keys and values, to search for what must not be there."""
        with closing(redis.Redis(port=self.port, socket_timeout=10)) as client:
            keys: list[bytes] = list(client.scan_iter("*"))
            return b"\n".join(key + b" " + bytes(client.dump(key) or b"") for key in keys)


@contextmanager
def own_redis(folder: Path) -> Iterator[OwnRedis]:
    server = OwnRedis(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def postgres_programs() -> Path | None:
    """The folder of initdb and postgres, if this machine has them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


class OwnPostgres:
    """A PostgreSQL cluster with durable commits in a temporary folder."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="panel-cluster-"))
        self._folder.chmod(0o755)
        self._log = self._folder / "log"
        self.port = free_port()
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            shutil.chown(self._folder, self._user)
        self._run(
            "initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"
        )

    def url(self, database: str) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
            " -c max_connections=250 -c shared_buffers=64MB"
        )
        self._run("pg_ctl", "-w", "-l", str(self._log), "-o", options, "start")

    def stop(self, how: str = "immediate") -> None:
        """`immediate` is a crash: nothing is flushed, every connection ends."""
        self._run("pg_ctl", "-w", "-m", how, "stop")

    def remove(self) -> None:
        """Stop it if it runs, and take its files away."""
        subprocess.run(
            self._command("pg_ctl", "-m", "immediate", "stop"), capture_output=True, check=False
        )
        shutil.rmtree(self._folder, ignore_errors=True)

    def create(self, database: str) -> str:
        """A new database's address."""
        with closing(psycopg.connect(self.url("postgres"), autocommit=True)) as server:
            server.execute(f'CREATE DATABASE "{database}"'.encode())
        return self.url(database)

    def _command(self, program: str, *arguments: str) -> list[str]:
        as_user = ["runuser", "-u", self._user, "--"] if os.getuid() == 0 else []
        folder = str(self._folder / "data")
        return [*as_user, str(self._programs / program), "-D", folder, *arguments]

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            self._command(program, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=120,
            cwd="/",
        )


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    programs = postgres_programs()
    assert programs is not None, "PostgreSQL's programs are not installed"
    server = OwnPostgres(programs)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def alive(pids: Sequence[int]) -> list[int]:
    """Those of the processes that still exist."""
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]
