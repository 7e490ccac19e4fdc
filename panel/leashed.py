"""Runs a module as long as standard input stays open: python -m panel.leashed MODULE [ARGUMENT…].

A parent that holds the other end of the pipe takes this process with it, even when it is killed.
"""

import os
import runpy
import signal
import sys
import threading


def _end_with_parent() -> None:
    # A raw read: a buffered reader in a daemon thread would abort the interpreter at its exit.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    threading.Thread(target=_end_with_parent, name="leash", daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
