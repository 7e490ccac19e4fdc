"""The web server, and everything in one process: web, worker and beat over Celery's memory broker.

That is enough because the orders table is the queue: a message only wakes the worker, and the sweep
finds whatever a lost message left behind.
"""

import errno
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import waitress
from celery.beat import Service
from celery.worker import WorkController
from celery.worker import state as worker_state

from panel.beat import PanelScheduler
from panel.celery import app
from panel.schedule import POLL, SUBMIT
from panel.wsgi import application

logger = logging.getLogger(__name__)

WEB_THREADS = 8
# The periodic jobs never overlap themselves, so at most ten threads are theirs; the rest submit.
WORKER_THREADS = 16
# Longer than the longest call to a provider and its commit.
STOP_SECONDS = 60


class PortTaken(Exception):
    """Something else listens on the address."""


def listen(host: str, port: int) -> socket.socket:
    """Bind the address before anything else is done; raises PortTaken."""
    try:
        return socket.create_server((host, port), backlog=128)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise PortTaken(f"{host}:{port} is taken") from None
        raise PortTaken(f"{host}:{port} can't be used") from exc


def serve_web(listening: socket.socket) -> None:
    """Answer requests until SystemExit, which `ended_by_signals` raises on SIGTERM or Ctrl-C."""
    server = waitress.create_server(
        application,
        sockets=[listening],
        threads=WEB_THREADS,
        ident=None,
        # A proxy's word must arrive: BEHIND_PROXY and TRUSTED_PROXY_COUNT say what of it is believed,
        # and that it is there tells a visitor from this machine itself.
        clear_untrusted_proxy_headers=False,
    )
    # Returns on SystemExit, after the requests that are being answered.
    server.run()
    server.close()


def _worker() -> WorkController:
    return WorkController(
        app=app,
        pool_cls="threads",
        concurrency=WORKER_THREADS,
        queues=[SUBMIT, POLL],
        hostname="panel@localhost",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )


@contextmanager
def embedded_worker() -> Iterator[None]:
    """A worker and beat in threads of this process, until the block ends.

    On the way out nothing new is started, and what is being sent to a provider is finished. If one
    of the two ends by itself, the block is ended by SIGTERM and this raises SystemExit: a panel
    that takes orders and forwards none is worse than one that its supervisor starts anew.
    """
    worker_state.should_stop = None
    worker = _worker()
    # A second between ticks at most, so that it notices soon when it is to stop.
    beat = Service(app, max_interval=1, scheduler_cls=PanelScheduler)
    stopping, fallen = threading.Event(), threading.Event()

    def stand(run: Callable[[], None]) -> None:
        run()
        if not stopping.is_set():
            fallen.set()
            os.kill(os.getpid(), signal.SIGTERM)

    worker_thread = threading.Thread(target=stand, args=(worker.start,), name="worker", daemon=True)
    worker_thread.start()
    threading.Thread(target=stand, args=(beat.start,), name="beat", daemon=True).start()
    try:
        yield
    finally:
        stopping.set()
        beat.stop()
        worker_state.should_stop = 0  # type: ignore[assignment]
        worker_thread.join(STOP_SECONDS)
        if worker_thread.is_alive():
            logger.warning("A task did not end within %s seconds", STOP_SECONDS)
        if fallen.is_set():
            raise SystemExit("The worker or beat ended by itself; the log above says why.")


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise SystemExit on the first SIGTERM or Ctrl-C; the second one ends the process at once."""

    def end(_number: int, _frame: FrameType | None) -> None:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_DFL)
        raise SystemExit(0)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is end:
                signal.signal(number, handler)
