"""Keeps a process small and its garbage collector quick once it has started."""

import ctypes
import gc


def settle() -> None:
    """Call it when everything is loaded, and before processes are forked.

    What is there now stays: the collector need not look at it again, which would cost a pause that
    grows with it and would make forked processes copy every page. What was only used for starting
    is given back to the system.
    """
    gc.collect()
    gc.freeze()
    # Other C libraries than glibc have no such function, and no such need.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
