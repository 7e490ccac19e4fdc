"""The demo: its own folder and database, a simulated provider, and three people to sign in as."""

import subprocess
import sys
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

KEY = "key-of-the-demo"
# Seconds from an order's placing at the simulated provider to its end.
PACE = 20
_RESTART_AFTER = 1.0
_STOP_SECONDS = 10


def prepare_environment(environment: MutableMapping[str, str]) -> None:
    """Point every setting that matters at the demo, before Django reads them.

    What the shell or `.env` says about a real installation (its database, keys and provider) is
    put aside; PORT, HOST, TIME_ZONE and LOG_LEVEL are kept.
    """
    folder = Path(environment.get("VAR_DIR") or BASE_DIR / "var") / "demo"
    port = environment.get("PORT") or "8000"
    environment.update(
        VAR_DIR=str(folder),
        DATABASE_URL=f"sqlite:///{folder.absolute() / 'panel.sqlite3'}",
        SITE_URL=f"http://127.0.0.1:{port}",
        SITE_NAME="Demo panel",
        CURRENCY="USD",
        MARKUP_PERCENT="50",
        REQUIRE_STAFF_2FA="0",
        STAFF_CONFIRM_MINUTES="0",
        ALLOW_PRIVATE_UPSTREAM="1",
        POLL_YOUNG_SECONDS="2",
        EMAIL_URL="consolemail://",
    )
    for name in _PUT_ASIDE:
        environment[name] = ""
        environment[f"{name}_FILE"] = ""


_PUT_ASIDE = [
    "SECRET_KEY",
    "PANEL_SECRET_KEYS",
    "UPSTREAM_API_URL",
    "UPSTREAM_API_KEY",
    "REDIS_URL",
    "ALLOWED_HOSTS",
    "BEHIND_PROXY",
    "DEBUG",
]


class SimulatorGone(Exception):
    """The simulated provider did not start; its own message is in the log."""


@contextmanager
def simulated_provider(folder: Path) -> Iterator[str]:
    """Run the simulator as a child process and yield its API address.

    It keeps its orders in `folder`, is started again on the same port when it dies, and ends with
    this process, however that ends.
    """
    simulator = _Simulator(folder)
    simulator.start()
    try:
        yield simulator.url
    finally:
        simulator.stop()


class _Simulator:
    def __init__(self, folder: Path) -> None:
        self._state = folder / "simulator.json"
        self._ending = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._guard = threading.Thread(target=self._restart, name="simulator", daemon=True)
        self.url = ""

    def start(self) -> None:
        self._launch(port=0)
        self._guard.start()

    def stop(self) -> None:
        self._ending.set()
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._guard.join(_STOP_SECONDS)
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()

    def _launch(self, port: int) -> None:
        arguments = [
            "--port", str(port), "--key", KEY, "--balance", "10000", "--pace", str(PACE),
            "--state", str(self._state),
        ]  # fmt: skip
        # Its own session: the terminal's Ctrl-C reaches the panel, which then ends it in its turn.
        self._process = process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
            [sys.executable, "-m", "panel.leashed", "upstream.simulator", *arguments],
            cwd=BASE_DIR,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        # Its first line ends with the address, after ": ".
        first_line = process.stdout.readline() if process.stdout else ""
        _, _, url = first_line.strip().partition(": ")
        if not url:
            raise SimulatorGone("the simulated provider did not start")
        self.url = url

    def _restart(self) -> None:
        while self._process is not None:
            self._process.wait()
            if self._ending.wait(_RESTART_AFTER):
                return
            port = int(self.url.rsplit(":", 1)[1].split("/")[0])
            try:
                self._launch(port)
            except SimulatorGone:
                continue  # its port may be in use for a moment
