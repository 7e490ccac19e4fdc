"""A whole panel in processes, on the test's own database, beside a provider and a broker to break.

On PostgreSQL it is web, workers and beat with a Redis of its own; on SQLite one embedded process.
"""

import os
import re
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import requests
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher, make_password
from django.db import connection
from django.db.models import Count

from accounts.models import User
from catalog.models import Category, Provider, Service
from orders.models import Order
from orders.services import place_order
from orders.states import LEASED, Dispatch
from orders.tests.processes import database_url
from tests.faults.nursery import Nursery, compose_arguments
from tests.faults.oracle import Placement, ask_truth, violations
from tests.faults.servers import OwnRedis
from tests.processes import PYTHON, free_port, started, wait_for_http
from wallet.services import top_up

PASSWORD = "a-Long-passw0rd"
KEY = "canary-key-of-faults-77c2"


@dataclass
class SimulatedProvider:
    """The simulator in a process of its own, steered over HTTP."""

    url: str

    def tell(self, what: str, values: Mapping[str, Any]) -> None:
        address = self.url.removesuffix("/api/v2") + f"/sim/{what}"
        requests.post(address, json=values, timeout=30).raise_for_status()

    def truth(self) -> dict[str, Any]:
        answer = requests.get(self.url.removesuffix("/api/v2") + "/sim/truth", timeout=30)
        answer.raise_for_status()
        return dict(answer.json())

    def received(self, action: str) -> int:
        return int(self.truth()["received"].get(action, 0))

    def placements(self) -> list[Placement]:
        return ask_truth(self.url)


@contextmanager
def simulated_provider(folder: Path) -> Iterator[SimulatedProvider]:
    command = [
        PYTHON, "-m", "upstream.simulator", "--port", "0", "--key", KEY, "--pace", "3600",
        "--balance", "100000",
    ]  # fmt: skip
    with started(command, environment={}, log=folder / "simulator.log") as process:
        [url] = re.findall(r"http://\S+", process.wait_until_said("/api/v2"))
        yield SimulatedProvider(url)


@dataclass
class Panel:
    """Starts and ends the panel's processes; knows what was ordered."""

    nursery: Nursery
    folder: Path
    site: str
    provider: SimulatedProvider
    redis: OwnRedis | None
    service: Service
    customer: User
    pids: dict[str, int] = field(default_factory=dict)
    tokens: set[uuid.UUID] = field(default_factory=set)

    @property
    def is_embedded(self) -> bool:
        return self.redis is None

    def start_worker(self, name: str = "worker") -> int:
        """A worker of its own, or the embedded process, which is web and beat besides."""
        if self.is_embedded:
            self.pids[name] = self.nursery.start(name, ["manage.py", "manage.py", "serve"])
            wait_for_http(f"{self.site}/healthz")
            return self.pids[name]
        command = [*compose_arguments("worker"), "-n", f"{name}@%h"]
        command[command.index("-c") + 1] = "8"
        self.pids[name] = self.nursery.start(name, command)
        return self.pids[name]

    def start_beat(self, name: str = "beat") -> None:
        """The embedded process has its own."""
        if not self.is_embedded:
            self.pids[name] = self.nursery.start(name, compose_arguments("beat"))

    def start_web(self) -> None:
        if not self.is_embedded:
            port = self.site.rpartition(":")[2]
            self.pids["web"] = self.nursery.start("web", compose_arguments("web", port=port))
        wait_for_http(f"{self.site}/healthz")

    def send(self, name: str, number: signal.Signals) -> None:
        os.kill(self.pids[name], number)

    def is_gone(self, name: str) -> bool:
        return not Path(f"/proc/{self.pids[name]}").exists()

    def kill(self, name: str) -> None:
        """End the process and its children at once, and wait until it is gone."""
        os.killpg(self.pids[name], signal.SIGKILL)
        wait_for(lambda: self.is_gone(name), seconds=30)

    def end(self) -> None:
        """Kill whatever still runs."""
        for name, pid in self.pids.items():
            if not self.is_gone(name):
                os.killpg(pid, signal.SIGKILL)
        wait_for(lambda: all(self.is_gone(name) for name in self.pids), seconds=30)

    def order(self, number: int = 1) -> list[Order]:
        """Orders on links of their own, placed by this process as a web process would."""
        placed = []
        for _ in range(number):
            token = uuid.uuid4()
            values = {"link": f"https://example.com/{token}", "quantity": "100"}
            placed.append(
                place_order(
                    customer=self.customer,
                    service=self.service,
                    values=values,
                    client_token=token,
                )
            )
            self.tokens.add(token)
        return placed

    def states(self) -> Counter[str]:
        return Counter(dict(Order.objects.values_list("dispatch").annotate(Count("pk"))))

    def is_quiet(self) -> bool:
        """Nothing waits and nothing is under way."""
        return not Order.objects.filter(dispatch__in=[Dispatch.QUEUED, *LEASED]).exists()

    def wait_until_quiet(self, *, seconds: float = 90) -> None:
        wait_for(self.is_quiet, seconds=seconds, tell=self.states)

    def violations(self) -> list[str]:
        """The oracle's findings over this panel, its provider and its logs."""
        return violations(
            self.provider.placements(),
            key=KEY,
            tokens=self.tokens,
            sinks=list(self.folder.glob("*.log")),
        )


def environment_of(folder: Path, redis_url: str, port: int) -> dict[str, str]:
    """What the panel's processes are started with."""
    return {
        "DATABASE_URL": database_url(),
        "REDIS_URL": redis_url,
        "SECRET_KEY": settings.SECRET_KEY,
        "PANEL_SECRET_KEYS": ",".join(settings.SECRET_KEYS),
        "VAR_DIR": str(folder / "var"),
        "SITE_URL": f"http://127.0.0.1:{port}",
        "PORT": str(port),
        "ALLOW_PRIVATE_UPSTREAM": "1",
        "UPSTREAM_API_URL": "",
        "UPSTREAM_API_KEY": "",
        # A busy machine must not be taken for a provider that hangs.
        "UPSTREAM_CONNECT_TIMEOUT": "5",
        "UPSTREAM_READ_TIMEOUT": "15",
        "UPSTREAM_TOTAL_TIMEOUT": "20",
        "LOG_LEVEL": "INFO",
    }


def stock(provider: SimulatedProvider) -> tuple[Service, User]:
    """One service of the provider's list on sale, and a customer who can pay for thousands."""
    row = Provider.objects.create(name="Simulated", url=provider.url, api_key=KEY)
    listed = _simple_service(provider)
    cost = Decimal(str(listed["rate"]))
    # As the list says it, so that beat's synchronisation holds nothing back.
    service = Service.objects.create(
        provider=row,
        category=Category.objects.create(name=listed["category"]),
        upstream_id=str(listed["service"]),
        name=listed["name"],
        type="Default",
        order_type="default",
        cost_rate=cost,
        price_rate=cost + 1,
        pinned_rate=cost + 1,
        min_quantity=int(listed["min"]),
        max_quantity=int(listed["max"]),
    )
    customer = User.objects.create_user("customer@example.com")
    # As the processes hash it; the tests' own hasher is a quick one that they don't know.
    customer.password = make_password(PASSWORD, hasher=PBKDF2PasswordHasher())
    customer.save(update_fields=["password"])
    top_up(user=customer, amount=Decimal(10_000), reference="fixture")
    return service, customer


def _simple_service(provider: SimulatedProvider) -> dict[str, Any]:
    form = {"key": KEY, "action": "services"}
    listed = requests.post(provider.url, data=form, timeout=30).json()
    return next(
        row
        for row in listed
        if row["type"] == "Default" and int(row["min"]) <= 100 <= int(row["max"])
    )


@contextmanager
def panel_with(
    provider: SimulatedProvider, folder: Path, redis: OwnRedis | None
) -> Iterator[Panel]:
    """A panel on this test's database; nothing of it runs before it is started."""
    port = free_port()
    service, customer = stock(provider)
    environment = environment_of(folder, redis.url if redis else "", port)
    nursery = Nursery(environment, folder)
    panel = Panel(
        nursery=nursery,
        folder=folder,
        site=f"http://127.0.0.1:{port}",
        provider=provider,
        redis=redis,
        service=service,
        customer=customer,
    )
    try:
        yield panel
    finally:
        panel.end()
        nursery.close()
        connection.close()


def wait_for(
    is_true: Callable[[], bool], *, seconds: float, tell: Callable[[], object] = str
) -> float:
    """Wait for what another process does; how long it took. Fails after `seconds`."""
    begun = time.monotonic()
    while not is_true():
        assert time.monotonic() - begun < seconds, f"waited in vain: {tell()}"
        time.sleep(0.05)
    return time.monotonic() - begun
