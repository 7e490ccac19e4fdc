"""The program by itself, its state file, and the catalogue it ships."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from upstream.simulator import Settings, World
from upstream.simulator.forms import FORMS, fold
from upstream.simulator.services import CATALOGUE, shipped_catalogue
from upstream.simulator.state import restore, save
from upstream.simulator.tests.conftest import KEY, NOON, service

ROWS = [service(1), service(2)]


@contextmanager
def _running(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "upstream.simulator", "--port", "0", "--key", KEY, *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    ) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            found = re.fullmatch(r"Simulated provider: (http://127\.0\.0\.1:\d+/api/v2)\n", line)
            assert found, line
            yield found[1], process
        finally:
            process.terminate()
            process.wait(60)


def _ask(url: str, **fields: str) -> Any:
    return requests.post(url, data={"key": KEY, **fields}, timeout=30).json()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_program_serves_and_ends_cleanly(how: signal.Signals) -> None:
    with _running("--balance", "12.50", "--currency", "EUR") as (url, process):
        assert _ask(url, action="balance") == {"balance": "12.5", "currency": "EUR"}
        assert len(_ask(url, action="services")) == len(shipped_catalogue())
        process.send_signal(how)
        assert process.wait(60) == 0


def test_the_program_finds_its_orders_again(tmp_path: Path) -> None:
    services, state = tmp_path / "services.json", tmp_path / "state.json"
    services.write_text(json.dumps(ROWS))
    options = ("--services", str(services), "--state", str(state), "--pace", "1000")
    with _running(*options) as (url, _):
        placed = _ask(url, action="add", service="1", link="a", quantity="1000")
        before = _ask(url, action="status", order=str(placed["order"]))
    with _running(*options) as (url, _):
        after = _ask(url, action="status", order=str(placed["order"]))
        second = _ask(url, action="add", service="1", link="a", quantity="1000")

    assert after == before
    assert second["order"] == placed["order"] + 1
    assert KEY not in state.read_text()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--services", "/nowhere.json"], "No such file"),
        (["--weights", "Lost=1"], "weights"),
        (["--balance", "lots"], "not an amount"),
    ],
)
def test_the_program_says_why_it_cannot_start(options: list[str], text: str) -> None:
    command = [sys.executable, "-m", "upstream.simulator", "--port", "0", *options]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 2
    assert text in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_taken_port_is_named() -> None:
    with _running() as (url, _):
        port = url.split(":")[2].split("/")[0]
        command = [sys.executable, "-m", "upstream.simulator", "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 2
    assert "Address already in use" in ended.stderr


def _world() -> World:
    rows = [*ROWS, service(4, "Subscriptions")]
    settings = Settings(pace=100, neighbours_per_order=3)
    return World(rows, key=KEY, settings=settings, clock=lambda: NOON)


def test_a_restored_world_goes_on_where_the_saved_one_was(tmp_path: Path) -> None:
    world, path = _world(), tmp_path / "state.json"
    world.place_by_hand("1", link="partial", quantity="1000")
    world.place_by_hand("1", link="b", quantity="10", runs="3", interval="1")
    world.place_by_hand("4", username="ann", min="1", max="9", delay="0", posts="2")
    done = world.place_by_hand("2", link="done", quantity="10")
    world.advance(70)
    world.force(done, remains=Decimal("1.5"))
    world.reply({"key": KEY, "action": "cancel", "orders": done})
    world.break_with("add", "late", seconds=20)
    late = {"key": KEY, "action": "add", "service": "1", "link": "late", "quantity": "5"}
    world.reply(late)
    save(world, path)

    other = _world()
    assert restore(other, path)
    world.force(done, remains="1.5")
    for each in (world, other):
        each.advance(60)

    ours, theirs = world.truth(), other.truth()
    counted = {"received", "processed"}
    assert {name: theirs[name] for name in set(theirs) - counted} == {
        name: ours[name] for name in set(ours) - counted
    }
    assert [order["link"] for order in theirs["orders"]].count("late") == 1


def test_a_missing_file_restores_nothing(tmp_path: Path) -> None:
    assert restore(_world(), tmp_path / "none.json") is False


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"version": 99}')

    with pytest.raises(ValueError, match="not a state file"):
        restore(_world(), path)


def test_a_restored_world_never_repeats_a_random_id(tmp_path: Path) -> None:
    world, path = _world(), tmp_path / "state.json"
    world.change(ids="random")
    first = {world.place_by_hand("1", link="a", quantity="1") for _ in range(10)}
    save(world, path)
    other = _world()
    other.change(ids="random")
    restore(other, path)

    again = {other.place_by_hand("1", link="a", quantity="1") for _ in range(10)}

    assert len(other.orders) == 20
    assert not first & again


def test_the_shipped_catalogue_is_clean_and_has_every_type() -> None:
    rows = shipped_catalogue()

    assert 350 <= len(rows) <= 450
    assert CATALOGUE.stat().st_size < 200_000
    assert len({row["service"] for row in rows}) == len(rows)
    assert {fold(row["type"]) for row in rows} == set(FORMS)
    assert all(0 < Decimal(row["rate"]) < 200 for row in rows)
    assert all(0 < int(row["min"]) <= int(row["max"]) for row in rows)
    assert all(isinstance(row[flag], bool) for row in rows for flag in ("refill", "cancel"))
    assert 20 <= len({row["category"] for row in rows}) <= 40


def test_every_service_of_the_catalogue_can_be_ordered() -> None:
    world = World(key=KEY, balance=Decimal(10**9))
    everything = {
        "link": "https://example.com/a",
        "keywords": "a",
        "hashtags": "a",
        "hashtag": "a",
        "username": "ann",
        "media": "a",
        "answer_number": "1",
        "groups": "a",
        "delay": "0",
        "country": "US",
        "device": "1",
        "type_of_traffic": "3",
    }
    for row in shipped_catalogue():
        many = "\n".join(f"line {number}" for number in range(int(row["min"])))
        amounts = {"quantity": row["min"], "comments": many, "usernames": many}
        form = everything | amounts | {"min": row["min"], "max": row["max"]}
        answer = world.answer({"key": KEY, "action": "add", "service": str(row["service"]), **form})
        assert "order" in answer, (row, answer)
