"""Keeps a process small and its garbage collector quick once it has started."""

import ctypes
import gc

_M_ARENA_MAX = -8
# Python's threads allocate one at a time, so they need no heaps of their own.
_ARENAS = 2


def settle() -> None:
    """Call it when everything is loaded, and before processes are forked.

    What is there now stays: the collector need not look at it again, which would cost a pause that
    grows with it and would make forked processes copy every page. What was only used for starting
    is given back to the system. Threads that start from now on share two heaps: by itself glibc
    gives each of them one, and what is free in one is of no use to the others.
    """
    gc.collect()
    gc.freeze()
    libc = ctypes.CDLL(None)
    # Other C libraries than glibc have no such functions, and no such need.
    if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim"):
        libc.mallopt(_M_ARENA_MAX, _ARENAS)
        libc.malloc_trim(0)
