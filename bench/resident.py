"""How much memory processes hold, as Linux counts it."""

from collections.abc import Callable
from pathlib import Path

MB = 1024 * 1024


def peak_growth(run: Callable[[], object]) -> float:
    """By how many MB this process was larger at the worst moment of `run` than before it."""
    # Makes the largest size so far the present one.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _kilobytes(Path("/proc/self/status"), "VmHWM")
    run()
    return (_kilobytes(Path("/proc/self/status"), "VmHWM") - before) / 1024


def held_by_trees(*roots: int) -> float:
    """MB that these processes and all below them hold: pages that several share count in parts.

    That is PSS; the sum over all processes of a machine is what they really take of it.
    """
    pids = {pid for root in roots for pid in _tree(root)}
    return sum(_kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in pids) / 1024


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text("ascii").split())
    return found


def _kilobytes(file: Path, name: str) -> float:
    for line in file.read_text("ascii").splitlines():
        if line.startswith(f"{name}:"):
            return float(line.split()[1])
    raise LookupError(f"{file} has no line {name}")
