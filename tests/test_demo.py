"""`make demo`: one command, one process tree, the whole job, and everything there again next time."""

import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from tests.journey import order_three, watch_three
from tests.processes import (
    PYTHON,
    Process,
    free_port,
    manage,
    processes_naming,
    started,
)
from tests.visitor import Visitor

DEMO = [PYTHON, "manage.py", "demo"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"VAR_DIR": str(tmp_path / "var"), "PORT": str(free_port())}


@pytest.fixture
def demo(environment: dict[str, str], tmp_path: Path) -> Iterator[Process]:
    with started(DEMO, environment=environment, log=tmp_path / "demo.log") as process:
        process.wait_until_said("Ctrl-C")
        yield process


@dataclass(frozen=True)
class Running:
    """A demo that is running, and what it was started with."""

    process: Process
    environment: dict[str, str]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One demo for the tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("demo")
    environment = {"VAR_DIR": str(folder / "var"), "PORT": str(free_port())}
    with started(DEMO, environment=environment, log=folder / "demo.log") as process:
        process.wait_until_said("Ctrl-C")
        yield Running(process, environment)


def sign_in(said: str, role: str = "customer") -> Visitor:
    """Sign in with what the demo printed."""
    [site] = re.findall(r"Demo panel: (\S+)", said)
    [(email, password)] = re.findall(rf"^ +{role} +(\S+) +(\S+)$", said, re.MULTILINE)
    visitor = Visitor(site)
    visitor.sign_in(email, password)
    return visitor


def check_ledger(environment: dict[str, str]) -> None:
    folder = Path(environment["VAR_DIR"]) / "demo"
    result = manage("check_ledger", environment={"VAR_DIR": str(folder)})
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.timeout(300)
def test_three_orders_end_as_they_should_and_the_next_start_finds_them(
    demo: Process, environment: dict[str, str], tmp_path: Path
) -> None:
    visitor = sign_in(demo.said())
    assert visitor.balance() == Decimal(100)
    orders = order_three(visitor)
    watch_three(visitor, orders, balance_before=Decimal(100))
    check_ledger(environment)
    balance = visitor.balance()
    later = visitor.order(
        visitor.simple_service(cheapest_of="followers"),
        link="https://example.com/later",
        quantity=1000,
    )

    assert demo.end(signal.SIGINT) == 0
    assert "Stopped." in demo.said()
    assert processes_naming(environment["VAR_DIR"]) == []

    with started(DEMO, environment=environment, log=tmp_path / "again.log") as again:
        visitor = sign_in(again.wait_until_said("Ctrl-C"))
        assert visitor.balance() == balance - later.charge
        assert visitor.look(orders["Completed"]).status == "Completed"
        # The simulated provider remembers the order as well, and goes on with it.
        visitor.wait_for(later, "Completed", seconds=120)
    check_ledger(environment)


@pytest.mark.timeout(120)
def test_staff_and_admin_can_open_the_admin(running: Running) -> None:
    for role in ("staff", "admin"):
        assert "/admin/" in sign_in(running.process.said(), role).get("/admin/orders/order/")


@pytest.mark.timeout(120)
def test_no_key_and_no_password_hash_is_logged(running: Running) -> None:
    sign_in(running.process.said()).get("/orders/new/")

    assert "key-of-the-demo" not in running.process.said()
    assert "Traceback" not in running.process.said()


@pytest.mark.timeout(120)
def test_a_taken_port_is_refused_before_anything_is_done(running: Running, tmp_path: Path) -> None:
    elsewhere = {**running.environment, "VAR_DIR": str(tmp_path / "other")}

    result = manage("demo", environment=elsewhere)

    port = int(running.environment["PORT"])
    assert result.returncode == 1
    assert result.stderr.strip() == (
        f"CommandError: 127.0.0.1:{port} is taken. Choose another one: PORT={port + 1} make demo"
    )
    assert not (tmp_path / "other" / "demo" / "panel.sqlite3").exists()


@pytest.mark.timeout(120)
def test_a_simulated_provider_that_dies_is_started_again(
    demo: Process, environment: dict[str, str]
) -> None:
    visitor = sign_in(demo.said())
    [simulator] = [pid for pid in processes_naming(environment["VAR_DIR"]) if pid != demo.pid]
    os.kill(simulator, signal.SIGKILL)

    order = visitor.order(
        visitor.simple_service(cheapest_of="followers"),
        link="https://example.com/me",
        quantity=1000,
    )

    visitor.wait_for(order, "Completed", seconds=90)


@pytest.mark.timeout(120)
def test_when_the_demo_is_killed_nothing_of_it_is_left(
    demo: Process, environment: dict[str, str]
) -> None:
    demo.kill()

    deadline = time.monotonic() + 60
    while processes_naming(environment["VAR_DIR"]):
        assert time.monotonic() < deadline, "the simulator outlived the demo"
        time.sleep(0.1)
