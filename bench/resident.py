"""How much memory processes hold, as Linux counts it."""

from collections import Counter
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
    """MB that these processes and all below them hold, as if nothing else ran on the machine.

    Memory that is shared after a fork counts in parts (PSS). What is mapped from files, programs and
    libraries, counts once: whoever else runs the same Python, as this benchmark itself does, would
    make it less.
    """
    pids = {pid for root in roots for pid in _tree(root)}
    anonymous = sum(
        _kilobytes(Path(f"/proc/{pid}/smaps_rollup"), name)
        for pid in pids
        for name in ("Pss_Anon", "Pss_Shmem")
    )
    mapped: Counter[str] = Counter()
    for pid in pids:
        mapped |= _mapped(pid)
    return (anonymous + mapped.total()) / 1024


def _mapped(pid: int) -> Counter[str]:
    """Resident kB of each part of a file that a process maps, without what it wrote there."""
    found: Counter[str] = Counter()
    part = ""
    for line in Path(f"/proc/{pid}/smaps").read_text("utf-8", "replace").splitlines():
        name, *values = line.split()
        if not name.endswith(":"):
            _, offset, device, inode = values[:4]
            part = f"{device} {inode} {offset}" if inode != "0" else ""
        elif part and name == "Rss:":
            found[part] += int(values[0])
        elif part and name == "Anonymous:":
            found[part] -= int(values[0])
    return found


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
