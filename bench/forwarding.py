"""Orders on their way to a provider that answers after 300 ms, beside bare calls of the same number.

The workers are the containers' own command, with every guard on. The bare calls are threads with a
`requests` session each: the same form to the same simulator, and nothing written down. A rate is that
of the calls the provider received between the first tenth and the last; so neither the start of the
workers nor the last few calls, which are fewer than may be in flight, count for either side.
"""

import os
import queue
import re
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import requests
from django.db import connection

from accounts.keys import create_key
from accounts.models import User
from bench.harness import Figure, is_quick, migrated_sqlite, report, say, sized
from catalog.models import Category, Provider, Service
from orders import gates
from orders.bulk import MOST, Wanted
from orders.models import Gate, Order
from orders.services import place_many, place_order
from orders.states import Dispatch
from orders.wakeups import kick
from panel.celery import app
from tests.faults.nursery import compose_arguments
from tests.processes import BIN, PYTHON, free_port, manage, started, wait_for_http
from wallet.services import top_up

LATENCY = 0.3
IN_FLIGHT = 64
KEY = "key-of-the-bench"
# Of a worker process, as the containers start it.
_THREADS = 16
_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE = 120.0
# place_many wakes so many workers itself.
_KICKED = 16


@dataclass(frozen=True)
class Upstream:
    """The simulated provider in a process of its own, and our service of it."""

    url: str
    pid: int
    service: Service
    customer: User

    def received(self, link: str = "") -> dict[str, float]:
        """When each order, or those on one link, came in: seconds since the epoch, by the link."""
        orders = self._truth(link)["orders"]
        return {str(order["link"]): float(order["created"]) for order in orders}

    def links(self) -> list[str]:
        """The link of every order that came in, as often as it came in."""
        return [str(order["link"]) for order in self._truth("")["orders"]]

    def connections(self) -> int:
        """How many it has accepted so far."""
        return int(self._truth("none")["connections"])

    def _truth(self, link: str) -> dict[str, Any]:
        address = self.url.removesuffix("/api/v2") + "/sim/truth"
        return dict(requests.get(address, params={"link": link}, timeout=60).json())


@dataclass(frozen=True)
class Run:
    """One batch: calls per second, seconds of CPU that a call cost whom, connections to the provider.

    And how many of the database's sessions were in a transaction, on the mean of many looks.
    """

    rate: float
    workers: float
    database: float
    provider: float
    connections: int
    in_transaction: float = 0.0


def main() -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        upstream = stack.enter_context(_upstream(folder))
        pool = stack.enter_context(ThreadPoolExecutor(1))
        # While the workers start and nothing is measured.
        embedded = pool.submit(_stock_embedded, folder, upstream.url)
        with _workers(folder, 1) as pids:
            environment, form = embedded.result()
            _compare(upstream, pids)
            _click_by_redis(upstream)
        with _embedded(folder, environment, form) as buy:
            _click_embedded(upstream, buy)
        if not is_quick():
            _grow(upstream, folder)
        _prove(upstream)


def _prove(upstream: Upstream) -> None:
    """Every order is at the provider, and none is there twice."""
    assert not Order.objects.exclude(dispatch=Dispatch.ACCEPTED).exists()
    links = upstream.links()
    ours = set(Order.objects.values_list("link", flat=True))
    assert ours <= set(links), "an order is accepted that the provider never received"
    twice = len(links) - len(set(links))
    report(Figure("forwarding, orders that were sent twice", twice, 1, 0, "orders", len(links)))


def _compare(upstream: Upstream, pids: Sequence[int]) -> None:
    """The rate with 64 in flight and its cost, in turns with the bare calls."""
    number, rounds = sized(1920, 640), sized(3, 1)
    ours, bare = [], []
    _forward(upstream, IN_FLIGHT, pids)  # opens connections
    for _ in range(rounds):
        ours.append(_forward(upstream, number, pids))
        bare.append(_bare(upstream, number))
    rate, limit = _median(run.rate for run in ours), _median(run.rate for run in bare)
    say(
        "CPU per order: "
        f"worker {_ms(run.workers for run in ours)}, PostgreSQL {_ms(run.database for run in ours)}, "
        f"provider {_ms(run.provider for run in ours)} and for bare calls "
        f"{_ms(run.provider for run in bare)} ms"
    )
    counted = number * rounds
    ideal = IN_FLIGHT / LATENCY
    for name, against in (("64 / 300 ms", ideal), ("64 threads of bare requests", limit)):
        report(
            Figure(f"forwarding, of {name}", rate, against, 0.85, "orders/s", counted,
                   at_least=True)
        )  # fmt: skip
    cost = _median(run.workers for run in ours)
    report(Figure("forwarding, worker's CPU per order", cost * 1000, 8.0, 1.0, "ms", counted))
    opened = max(run.connections for run in ours)
    name = "forwarding, connections to the provider, of its threads"
    report(Figure(name, opened, IN_FLIGHT, 1.0, "connections", number))
    # A worker that kept its transaction open over the call would have nearly all of them in one.
    held = _median(run.in_transaction for run in ours)
    name = "forwarding, transactions open beside calls in flight"
    report(Figure(name, held, IN_FLIGHT, 0.25, "transactions", counted))


def _grow(upstream: Upstream, folder: Path) -> None:
    """The rate of 2 and 4 worker processes with 16 threads each, against that of one."""
    rates = {}
    for processes in (1, 2, 4):
        with _workers(folder, processes, threads=_THREADS) as pids:
            _forward(upstream, _THREADS * processes, pids)
            run = _forward(upstream, 640 * processes, pids)
        rates[processes] = run.rate
        say(
            f"{processes} × {_THREADS} threads: {run.rate:.0f} orders/s of "
            f"{processes * _THREADS / LATENCY:.0f}; CPU per order: workers "
            f"{run.workers * 1000:.1f}, PostgreSQL {run.database * 1000:.1f} ms"
        )
    for processes, target in ((2, 1.6), (4, 2.4)):
        name = f"forwarding, {processes} worker processes against one"
        report(
            Figure(name, rates[processes], rates[1], target, "orders/s", 640 * processes,
                   at_least=True)
        )  # fmt: skip


def _click_by_redis(upstream: Upstream) -> None:
    number = sized(60, 8)
    seconds = _click_to_receipt(upstream, lambda link: _place(upstream, [link]), number)
    report(Figure("click to provider, Redis, p50", seconds * 1000, 100.0, 1.0, "ms", number))


def _click_embedded(upstream: Upstream, buy: Callable[[str], object]) -> None:
    number = sized(60, 8)
    seconds = _click_to_receipt(upstream, buy, number)
    report(Figure("click to provider, embedded, p50", seconds * 1000, 150.0, 1.0, "ms", number))


def _click_to_receipt(upstream: Upstream, buy: Callable[[str], object], number: int) -> float:
    """From the call that places an order to the provider's receiving it: the median, in seconds.

    The first few only open connections. Each finds the queue empty, as a single customer's does.
    """
    took = []
    for _ in range(number + 3):
        link = _link()
        clicked = time.time()
        buy(link)
        time.sleep(LATENCY + 0.1)
        _wait(lambda link=link: bool(upstream.received(link)))  # type: ignore[misc]
        took.append(upstream.received(link)[link] - clicked)
    return _median(took[3:])


@contextmanager
def _upstream(folder: Path) -> Iterator[Upstream]:
    command = [
        PYTHON, "-m", "upstream.simulator", "--port", "0", "--key", KEY, "--pace", "86400",
        "--balance", "1000000", "--latency", str(LATENCY * 1000),
    ]  # fmt: skip
    with started(command, environment={}, log=folder / "simulator.log") as process:
        [url] = re.findall(r"http://\S+", process.wait_until_said("/api/v2"))
        service, customer = stock(url)
        yield Upstream(url=url, pid=process.pid, service=service, customer=customer)


def stock(url: str) -> tuple[Service, User]:
    """The provider, which takes 64 orders at once, one service of it, and a rich customer."""
    provider = Provider.objects.create(name="Simulated", url=url, api_key=KEY)
    Gate.objects.filter(pk=gates.gate_of(provider.pk).pk).update(max_in_flight=IN_FLIGHT)
    offered = requests.post(url, data={"key": KEY, "action": "services"}, timeout=60).json()
    row = next(each for each in offered if each["type"] == "Default" and int(each["min"]) <= 100)
    cost = Decimal(str(row["rate"]))
    # As the list says it, so that a synchronisation holds nothing back.
    service = Service.objects.create(
        provider=provider,
        category=Category.objects.create(name=row["category"]),
        upstream_id=str(row["service"]),
        name=row["name"],
        type="Default",
        order_type="default",
        cost_rate=cost,
        price_rate=cost + 1,
        pinned_rate=cost + 1,
        min_quantity=int(row["min"]),
        max_quantity=int(row["max"]),
    )
    customer = User.objects.create_user("bench@example.com")
    top_up(user=customer, amount=Decimal(100_000), reference="bench")
    return service, customer


def stock_with_key(url: str) -> str:
    """As `stock`, with a key for the customer's API."""
    _, customer = stock(url)
    return create_key(user=customer, name="bench").secret


@contextmanager
def _workers(folder: Path, processes: int, *, threads: int = IN_FLIGHT) -> Iterator[list[int]]:
    """Worker processes as the containers start them; their process IDs."""
    _, *arguments = compose_arguments("worker")
    arguments[arguments.index("-c") + 1] = str(threads)
    pids = []
    with ExitStack() as stack:
        for number in range(processes):
            command = [str(BIN / "celery"), *arguments, "-n", f"bench{number}@%h"]
            log = folder / f"worker-{number}.log"
            worker = started(command, environment=_environment(), log=log)
            pids.append(stack.enter_context(worker).pid)
        _wait(lambda: len(app.control.ping(timeout=1.0, limit=processes) or []) == processes)
        yield pids


def _stock_embedded(folder: Path, url: str) -> tuple[dict[str, str], dict[str, str]]:
    """The environment of the panel as one process on SQLite, and the form that buys from it."""
    port = str(free_port())
    environment = _environment() | {
        "DATABASE_URL": migrated_sqlite(folder),
        "REDIS_URL": "",
        "PORT": port,
        "SITE_URL": f"http://127.0.0.1:{port}",
    }
    script = f"from bench.forwarding import stock_with_key; print(stock_with_key({url!r}))"
    stocked = manage("shell", "-v", "0", "-c", script, environment=environment)
    stocked.check_returncode()
    key = stocked.stdout.strip()
    return environment, {"key": key, "action": "add", "service": "1", "quantity": "100"}


@contextmanager
def _embedded(
    folder: Path, environment: Mapping[str, str], form: Mapping[str, str]
) -> Iterator[Callable[[str], object]]:
    """That panel, running; gives what buys from it by the customers' API."""
    site = environment["SITE_URL"]
    command = [PYTHON, "manage.py", "serve"]
    with started(command, environment=environment, log=folder / "embedded.log") as process:
        wait_for_http(f"{site}/healthz")
        with requests.Session() as session:
            yield lambda link: _order_of(session, f"{site}/api/v2", {**form, "link": link})
        # Nothing is left to finish, and its database goes with it.
        process.kill()


def _order_of(session: requests.Session, address: str, form: Mapping[str, str]) -> str:
    return str(session.post(address, data=form, timeout=30).json()["order"])


def _environment() -> dict[str, str]:
    names = (
        "DATABASE_URL", "REDIS_URL", "SECRET_KEY", "VAR_DIR", "ALLOW_PRIVATE_UPSTREAM", "LOG_LEVEL",
    )  # fmt: skip
    return {name: os.environ[name] for name in names}


def _forward(upstream: Upstream, number: int, pids: Sequence[int]) -> Run:
    """Place orders and have them all accepted, each with a wake-up of its own as if placed alone."""
    links = [_link() for _ in range(number)]
    open_orders = Order.objects.exclude(dispatch=Dispatch.ACCEPTED)
    looks: list[int] = []

    def is_over() -> bool:
        looks.append(_in_transaction())
        return not open_orders.exists()

    def work() -> None:
        for at in range(0, number, MOST):
            for order in _place(upstream, links[at : at + MOST])[_KICKED:]:
                kick(order.pk)
        _wait(is_over)

    return replace(_spent(upstream, links, pids, work), in_transaction=statistics.mean(looks))


def _bare(upstream: Upstream, number: int) -> Run:
    """The same calls by as many threads with nothing around them."""
    links = [_link() for _ in range(number)]
    left: queue.SimpleQueue[str] = queue.SimpleQueue()
    for link in links:
        left.put(link)
    form = {"key": KEY, "action": "add", "service": upstream.service.upstream_id, "quantity": "100"}

    def call() -> None:
        with requests.Session() as session:
            while True:
                try:
                    link = left.get_nowait()
                except queue.Empty:
                    return
                _order_of(session, upstream.url, {**form, "link": link})

    def work() -> None:
        threads = [threading.Thread(target=call) for _ in range(IN_FLIGHT)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return _spent(upstream, links, [], work)


def _rate(upstream: Upstream, links: Sequence[str]) -> float:
    """Calls per second that the provider received, between a tenth and nine tenths of them."""
    received = upstream.received()
    moments = sorted(received[link] for link in links)
    first, last = len(moments) // 10, len(moments) * 9 // 10
    return (last - first) / (moments[last] - moments[first])


def _place(upstream: Upstream, links: Sequence[str]) -> list[Order]:
    service = upstream.service
    if len(links) == 1:
        values = {"link": links[0], "quantity": "100"}
        return [place_order(customer=upstream.customer, service=service, values=values,
                            client_token=uuid.uuid4())]  # fmt: skip
    wanted = [Wanted(service.pk, {"link": link, "quantity": "100"}) for link in links]
    return place_many(customer=upstream.customer, wanted=wanted, client_token=uuid.uuid4())


def _link() -> str:
    return f"https://example.com/{uuid.uuid4()}"


def _used(upstream: Upstream, pids: Sequence[int]) -> tuple[float, float, float, int]:
    """CPU seconds of workers, of PostgreSQL for this database, of the provider; its connections."""
    return (
        sum(_cpu(pid) for pid in pids),
        sum(_cpu(pid) for pid in _backends()),
        _cpu(upstream.pid),
        upstream.connections(),
    )


def _spent(
    upstream: Upstream, links: Sequence[str], pids: Sequence[int], work: Callable[[], None]
) -> Run:
    before = _used(upstream, pids)
    work()
    after = _used(upstream, pids)
    *seconds, connections = (later - sooner for later, sooner in zip(after, before, strict=True))
    workers, database, provider = (value / len(links) for value in seconds)
    return Run(_rate(upstream, links), workers, database, provider, int(connections))


def _in_transaction() -> int:
    """How many other sessions of this database are in a transaction now."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
        )
        return int(cursor.fetchone()[0])


def _backends() -> list[int]:
    """PostgreSQL's processes for this database; those of another machine are not counted."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
        return [pid for (pid,) in cursor.fetchall()]


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used, in user and system mode; 0 when it is not here."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def _ms(seconds: Iterable[float]) -> str:
    return f"{_median(seconds) * 1000:.1f}"


def _wait(is_true: Callable[[], bool]) -> None:
    ends = time.monotonic() + _PATIENCE
    while not is_true():
        if time.monotonic() > ends:
            raise TimeoutError("the workers do not come to an end")
        time.sleep(0.05)
