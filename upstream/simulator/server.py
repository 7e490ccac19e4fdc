"""The simulator's HTTP server: a thread per connection, keep-alive, faults on the wire."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

from upstream.simulator.answers import encode, error
from upstream.simulator.control import PREFIX, control
from upstream.simulator.settings import Settings
from upstream.simulator.wire import BrokenRequest, Line, Request, response, spoil
from upstream.simulator.world import Reply, World

API_PATH = "/api/v2"
_BACKLOG = 512
_JOIN_SECONDS = 5


class Simulator:
    """A provider that listens on a port of its own while it is open.

    pace: seconds of an order's life. latency: milliseconds of every API answer. settings:
    the rest of them. tls: speak HTTPS with this certificate. Or give a whole `world`; then
    only `host`, `port` and `tls` are used besides. Port 0 takes a free one, and keeps it when
    stopped and started again. `url` is the API's address, `control_url` ends in /sim.
    """

    def __init__(  # noqa: PLR0913  everything a test may want to choose, all optional
        self,
        services: Iterable[Mapping[str, Any]] | None = None,
        *,
        key: str = "simulator-key",
        balance: Decimal = Decimal(1000),
        pace: float | None = None,
        latency: float | None = None,
        settings: Settings | None = None,
        seed: int = 0,
        world: World | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        chosen = {"pace": pace, "latency_ms": latency}
        given = {name: value for name, value in chosen.items() if value is not None}
        rules = (settings or Settings()).changed(**given)
        self.world = world or World(services, key=key, balance=balance, settings=rules, seed=seed)
        self._address = (host, port)
        self._tls = tls
        self._stopping = threading.Event()
        self._open: set[Line] = set()
        self._guard = threading.Lock()
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the first start."""
        return self._address[1]

    @property
    def url(self) -> str:
        """Address of the API."""
        return self._origin() + API_PATH

    @property
    def control_url(self) -> str:
        """Address that control paths are appended to, such as /truth."""
        return self._origin() + PREFIX.rstrip("/")

    def _origin(self) -> str:
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{self._address[0]}:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; raises OSError when the port is taken."""
        self._stopping.clear()
        self._listener = socket.create_server(self._address, backlog=_BACKLOG)
        self._address = (self._address[0], int(self._listener.getsockname()[1]))
        self._thread = threading.Thread(target=self._accept, name="simulator", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, cut every connection, end what still hangs."""
        if self._listener is None:
            return
        self._stopping.set()
        # A listener blocked in accept() is not woken by close() alone.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._guard:
            lines = list(self._open)
        for line in lines:
            line.cut()
        if self._thread:
            self._thread.join(_JOIN_SECONDS)
        self._listener = None

    def _accept(self) -> None:
        listener = self._listener
        while listener and not self._stopping.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line = Line(sock, self._stopping)
            with self._guard:
                self._open.add(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: Line) -> None:
        talk = Conversation(self.world, line)
        with self.world.lock:
            self.world.counts.connections += 1
        try:
            if talk.begins():
                line.secure(self._tls)
                talk.hold()
        except (OSError, BrokenRequest):
            pass  # The client left or sent nonsense; either way it gets no more answers.
        finally:
            with self._guard:
                self._open.discard(line)
            line.close()
            talk.count()


class Conversation:
    """All requests of one connection, in turn."""

    def __init__(self, world: World, line: Line) -> None:
        self._world = world
        self._line = line
        self._controls = False
        self._counted = (0, 0)

    def begins(self) -> bool:
        """Whether the connection outlives the fault that hits it on arrival, if one does."""
        fault = self._world.take_fault("connect")
        return fault is None or spoil(self._line, encode(error("not processed")).encode(), fault)

    def hold(self) -> None:
        """Answer requests until either side ends; raises OSError, BrokenRequest."""
        while request := self._line.read_request():
            if not self._answer(request) or not request.keeps_alive:
                return

    def count(self) -> None:
        """Enter what this connection carried so far into the World's counts."""
        with self._world.lock:
            counts = self._world.counts
            if self._controls:
                return
            counts.silent += 0 if self._line.received else 1
            self._count_bytes()

    def _answer(self, request: Request) -> bool:
        if request.path.startswith(PREFIX):
            self._become_control()
            status, said = control(self._world, request)
            self._line.send(response(status, json.dumps(said, default=str).encode()))
            return True
        with self._world.lock:
            self._count_bytes()
        reply = self._reply(request)
        body = encode(reply.answer).encode()
        latency = self._world.settings.latency_ms
        if latency:
            self._line.wait(latency / 1000)
        if reply.fault:
            return spoil(self._line, body, reply.fault)
        self._line.send(response(200, body))
        return True

    def _reply(self, request: Request) -> Reply:
        if request.path.rstrip("/") != API_PATH or request.method != "POST":
            return self._world.refuse()
        form = request.body.decode("utf-8", "replace")
        return self._world.reply(dict(parse_qsl(form, keep_blank_values=True)))

    def _become_control(self) -> None:
        if self._controls:
            return
        self._controls = True
        with self._world.lock:
            self._world.counts.connections -= 1

    def _count_bytes(self) -> None:
        came, went = self._counted
        counts = self._world.counts
        counts.bytes_in += self._line.received - came
        counts.bytes_out += self._line.sent - went
        self._counted = (self._line.received, self._line.sent)
