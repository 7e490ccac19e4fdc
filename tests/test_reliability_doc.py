"""docs/reliability.md names every fault, and every test it names exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "reliability.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| ([FS]\d\d) \| (.*) \|$", TEXT, re.MULTILINE))
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)


@cache
def names_in(path: str) -> frozenset[str]:
    """The names of a file's functions."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_every_test_that_is_named_exists(path: str, name: str) -> None:
    assert name in names_in(path)


def test_every_fault_has_its_row() -> None:
    faults = [f"F{number:02}" for number in range(1, 47)]
    security = [f"S{number:02}" for number in range(1, 14)]

    assert list(ROWS) == [*faults, *security]


@pytest.mark.parametrize("row", sorted(ROWS))
def test_every_row_names_a_test_or_says_why_it_has_none(row: str) -> None:
    says = ROWS[row]

    assert "::test_" in says or "later release" in says


def test_every_guard_has_its_twin() -> None:
    table = TEXT[TEXT.index("| guard | twin") : TEXT.index("### Faults")]
    guards = [line for line in table.splitlines()[2:] if line.startswith("|")]

    assert len(guards) > 10
    assert all("::test_" in guard for guard in guards)


def test_what_is_said_of_the_long_run_is_a_run_that_found_nothing() -> None:
    figures = dict(re.findall(r"^\| ([a-z ]+) \| ([\d,]+)", TEXT, re.MULTILINE))

    assert int(figures["orders"].replace(",", "")) >= 10_000
    assert int(figures["kills"]) >= 500
    assert figures["duplicates"] == figures["lost"] == figures["violations"] == "0"
