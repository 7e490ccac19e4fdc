"""A figure, and how two ways of doing the same thing are timed fairly.

Every figure is a ratio: ours against the same rows, calls or bytes without our code, in turns in one
run. A busy or slow machine changes both sides, so the ratio stands where a time would not.
"""

import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

# What a child process of `python -m bench` is told: whether it is a quick run, and where a migrated
# SQLite database is, to be copied.
QUICK = "BENCH_QUICK"
SQLITE = "BENCH_SQLITE"


@dataclass(frozen=True)
class Figure:
    """One line of the result.

    `ours` and `limit` are in `unit`; `ratio` is ours / limit and is to be at most `target`, or at
    least `target` when `at_least` is set. `n` is how many rows, orders or calls were measured.
    """

    name: str
    ours: float
    limit: float
    target: float
    unit: str
    n: int
    at_least: bool = False

    @property
    def ratio(self) -> float:
        return self.ours / self.limit if self.limit else float("inf")

    @property
    def met(self) -> bool:
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target

    def line(self) -> str:
        """This figure as one line of JSON."""
        shown = asdict(self) | {"ratio": self.ratio, "met": self.met}
        rounded = {
            name: float(f"{value:.4g}") if isinstance(value, float) else value
            for name, value in shown.items()
        }
        return json.dumps(rounded)


def report(figure: Figure) -> None:
    """Print the figure where `python -m bench` reads it."""
    print(figure.line(), flush=True)


def say(text: str) -> None:
    """Tell the person at the screen how far it is, without disturbing the figures."""
    print(text, file=sys.stderr, flush=True)


def is_quick() -> bool:
    return os.environ.get(QUICK) == "1"


def sized(full: int, quick: int) -> int:
    """How many rows or rounds: the full number, or the smaller one of `--quick`."""
    return quick if is_quick() else full


def sqlite_copy(template: Path, folder: Path) -> str:
    """The URL of a copy of the SQLite database, in the folder."""
    path = folder / "panel.sqlite3"
    shutil.copyfile(template, path)
    return f"sqlite:///{path}"


def migrated_sqlite(folder: Path) -> str:
    """The URL of a fresh, migrated SQLite database in the folder."""
    return sqlite_copy(Path(os.environ[SQLITE]), folder)


def timed(run: Callable[[], object]) -> float:
    """Seconds of wall time that one call took."""
    begins = time.perf_counter()
    run()
    return time.perf_counter() - begins


def in_turns(*ways: Callable[[], float], rounds: int) -> Sequence[float]:
    """The median seconds of each way, run one after the other in every round.

    A way returns its own seconds, so that it may prepare and clean up outside of them (`timed`).
    The first round warms caches and is not counted.
    """
    taken: list[list[float]] = [[] for _ in ways]
    for turn in range(rounds + 1):
        for seconds, way in zip(taken, ways, strict=True):
            took = way()
            if turn:
                seconds.append(took)
    return [statistics.median(seconds) for seconds in taken]


class Laps:
    """How long each step took, for the person who waits for all of them."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._last = clock()
        self._took: dict[str, float] = {}

    def end(self, name: str) -> None:
        """The step that began with the end of the one before is over."""
        now = self._clock()
        self._took[name] = now - self._last
        self._last = now

    def __str__(self) -> str:
        each = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self._took.items())
        return f"{each}; together {sum(self._took.values()):.0f} s"
