"""Keeps Python's collector of circles away from many new objects that hold none."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_resting = 0
_was_enabled = False


@contextmanager
def resting() -> Iterator[None]:
    """Let the collector rest; for work of a fraction of a second, with no waiting in it.

    Thousands of rows are made of objects that each end with their last reference, and the
    collector would look at all of them again and again while they become more: a third of a sync.
    It is the process's only one, so the last of several threads to leave wakes it up.
    """
    global _resting, _was_enabled  # noqa: PLW0603 - there is one collector
    with _lock:
        if not _resting:
            _was_enabled = gc.isenabled()
            gc.disable()
        _resting += 1
    try:
        yield
    finally:
        with _lock:
            _resting -= 1
            if not _resting and _was_enabled:
                gc.enable()
