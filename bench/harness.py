"""A figure, and how two ways of doing the same thing are timed fairly.

Every figure is a ratio: ours against the same rows, calls or bytes without our code, in turns in one
run. A busy or slow machine changes both sides, so the ratio stands where a time would not.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

# What a child process of `python -m bench` is told.
QUICK = "BENCH_QUICK"


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
