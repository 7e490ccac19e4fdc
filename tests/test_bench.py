"""The frame of `make bench`: what a figure is, how ways take turns, what the command says."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest

from bench.__main__ import NAMES, main, table
from bench.harness import QUICK, SQLITE, Figure, Laps, in_turns, migrated_sqlite, report, sized
from bench.resident import held_by_trees, peak_growth
from tests.processes import PYTHON, ROOT, clean_environment


def figure(ours: float, limit: float, target: float, *, at_least: bool = False) -> Figure:
    return Figure("rows", ours, limit, target, "s", 10_000, at_least=at_least)


@pytest.mark.parametrize(
    ("ours", "limit", "target", "at_least", "met"),
    [
        (3.0, 1.0, 3.0, False, True),
        (3.1, 1.0, 3.0, False, False),
        (0.85, 1.0, 0.85, True, True),
        (0.84, 1.0, 0.85, True, False),
        (1.0, 0.0, 3.0, False, False),
    ],
)
def test_a_figure_is_a_ratio_that_meets_its_target_or_not(
    ours: float, limit: float, target: float, at_least: bool, met: bool
) -> None:
    assert figure(ours, limit, target, at_least=at_least).met is met


def test_a_figure_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    report(figure(2.34567, 1.0, 3.0))

    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "name": "rows", "ours": 2.346, "limit": 1.0, "target": 3.0, "unit": "s", "n": 10_000,
        "at_least": False, "ratio": 2.346, "met": True,
    }  # fmt: skip


def test_ways_take_turns_and_the_first_round_warms_up() -> None:
    took, order = {"a": [90.0, 1.0, 2.0, 9.0], "b": [90.0, 5.0, 4.0, 3.0]}, []

    def way(name: str) -> float:
        order.append(name)
        return took[name].pop(0)

    assert in_turns(lambda: way("a"), lambda: way("b"), rounds=3) == [2.0, 4.0]
    assert order == ["a", "b"] * 4


def test_quick_runs_are_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(QUICK, "0")
    assert sized(10_000, 2_000) == 10_000
    monkeypatch.setenv(QUICK, "1")
    assert sized(10_000, 2_000) == 2_000


def test_the_table_names_what_missed_its_target() -> None:
    lines = [
        json.loads(each.line()) for each in (figure(2, 1, 3), figure(0.5, 1, 0.85, at_least=True))
    ]

    heading, met, missed = table(lines).splitlines()

    assert heading.split() == ["figure", "ours", "limit", "unit", "ratio", "target"]
    assert met.split() == ["rows", "2", "1", "s", "2.00", "≤", "3", "met"]
    assert missed.split() == ["rows", "0.5", "1", "s", "0.50", "≥", "0.85", "MISSED"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "no such benchmark: nonsense"),
        (["--sqlite", "scale"], "needs PostgreSQL: scale"),
    ],
)
def test_what_can_not_be_measured_is_an_error(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_without_a_server_it_says_which_variable_names_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BENCH_DATABASE_URL", "postgres://nobody@127.0.0.1:9/none")

    with pytest.raises(SystemExit, match="BENCH_DATABASE_URL names it, or --sqlite"):
        main(["catalogue"])


def test_memory_is_told_at_its_worst_moment_and_with_all_below_a_process() -> None:
    def hold_and_let_go() -> None:
        assert len(bytearray(40 * 1024 * 1024)) > 0

    hold_and_let_go()
    assert 39 <= peak_growth(hold_and_let_go) < 60

    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', %r])"
    hold = "held = bytearray(30 * 1024 * 1024); print('held', flush=True); input()"
    with subprocess.Popen(
        [PYTHON, "-c", child % hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert held_by_trees(process.pid) >= 30
        process.communicate("\n")


def test_a_library_counts_once_whoever_else_has_loaded_it() -> None:
    hold = [PYTHON, "-c", "import ssl, sqlite3; print('loaded', flush=True); input()"]

    with _started(hold) as one:
        alone = held_by_trees(one)
        with _started(hold) as another:
            assert held_by_trees(one) == pytest.approx(alone, abs=0.5)
            assert held_by_trees(one, another) < 2 * alone - 3


@contextmanager
def _started(command: list[str]) -> Iterator[int]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate(b"\n")


def test_the_person_who_waits_is_told_what_took_how_long() -> None:
    moments = iter([100.0, 107.0, 130.4, 131.0])
    laps = Laps(lambda: next(moments))

    for name in ("migrating", "placing", "reports"):
        laps.end(name)

    assert str(laps) == "migrating 7 s, placing 23 s, reports 1 s; together 31 s"


def test_a_copy_of_the_migrated_database_leaves_the_original_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original = tmp_path / "original"
    original.write_bytes(b"migrated")
    monkeypatch.setenv(SQLITE, str(original))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()

    url = migrated_sqlite(tmp_path / "one")
    (tmp_path / "one" / "panel.sqlite3").write_bytes(b"changed")

    assert url == f"sqlite:///{tmp_path}/one/panel.sqlite3"
    migrated_sqlite(tmp_path / "two")
    assert (tmp_path / "two" / "panel.sqlite3").read_bytes() == b"migrated"


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_is_a_module_with_a_main(name: str) -> None:
    assert callable(import_module(f"bench.{name}").main)


def test_every_module_that_has_a_main_is_a_benchmark() -> None:
    has_main = re.compile(r"^def main\(\) -> None:", re.MULTILINE)
    found = {
        path.stem for path in (ROOT / "bench").glob("*.py") if has_main.search(path.read_text())
    }

    assert found == set(NAMES)


@pytest.mark.timeout(300)
def test_a_benchmark_runs_in_a_process_and_a_database_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "figures.jsonl"
    ended = subprocess.run(
        [PYTHON, "-m", "bench", "--quick", "--sqlite", "--out", str(out), "catalogue"],
        cwd=ROOT,
        env=clean_environment({"DATABASE_URL": "sqlite:////nonexistent/never-opened"}),
        capture_output=True,
        text=True,
        check=False,
    )

    assert "failed" not in ended.stderr, ended.stderr
    found = {each["name"]: each for each in map(json.loads, out.read_text("utf-8").splitlines())}
    assert set(found) == {
        "first sync", "first sync: peak memory over idle", "first sync: queries",
        "nothing changed, identical bytes", "nothing changed, in another order",
        "nothing changed: queries", "100 changed", "100 changed: queries",
        "first sync, twice as many services",
    }  # fmt: skip
    # Counts are the same on every machine, seconds are not.
    assert all(each["met"] for name, each in found.items() if name.endswith("queries"))
    assert all(each["ours"] > 0 and each["limit"] > 0 for each in found.values())
    assert ended.returncode == int(not all(each["met"] for each in found.values()))
    assert "first sync: queries" in ended.stdout.rpartition("figure")[2]
    assert re.search(
        r"^migrating \d+ s, catalogue \d+ s; together \d+ s$", ended.stderr, re.MULTILINE
    )


def test_every_benchmark_is_explained() -> None:
    explained = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")

    assert [name for name in NAMES if f"`{name}`" not in explained] == []
