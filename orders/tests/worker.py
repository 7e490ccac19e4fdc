"""A worker process for tests: forwards orders, and dies or halts at a chosen point.

python -m orders.tests.worker COMMAND [ID …]

Commands: forward ID, run_due, sweep, withdraw ID, bulk ID. The environment variable STOP_AT names a point of
POINTS; STOP_HOW is "exit" (as a crash, nothing is cleaned up) or "stop" (SIGSTOP, to be continued).
The product knows nothing of this: the points are made by wrapping its functions here.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import django

CRASHED = 86


def stop() -> None:
    """Crash or halt here; a worker that was halted is not halted again."""
    if not os.environ.pop("STOP_AT", ""):
        return
    if os.environ.get("STOP_HOW") == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
        return
    os._exit(CRASHED)


def _before(module: Any, name: str) -> None:
    function = getattr(module, name)

    def stopping(*args: Any, **options: Any) -> Any:
        stop()
        return function(*args, **options)

    setattr(module, name, stopping)


def _after(module: Any, name: str) -> None:
    function = getattr(module, name)

    def stopping(*args: Any, **options: Any) -> Any:
        result = function(*args, **options)
        stop()
        return result

    setattr(module, name, stopping)


def _inside(module: Any, name: str) -> None:
    from django.db import transaction  # noqa: PLC0415 - needs django.setup()

    function = getattr(module, name)

    def stopping(*args: Any, **options: Any) -> Any:
        with transaction.atomic():
            result = function(*args, **options)
            stop()
        return result

    setattr(module, name, stopping)


def _points() -> dict[str, Callable[[], None]]:
    from orders import claims, fulfilment, runs, verdicts  # noqa: PLC0415 - needs django.setup()
    from upstream import transport  # noqa: PLC0415

    return {
        # Inside the claim's transaction: the last thing it does is to describe the claim.
        "before_claim_commits": lambda: _before(claims, "Claim"),
        "after_claim": lambda: _after(claims, "claim"),
        # The hook is called when the connection stands.
        "before_mark": lambda: _before(claims, "mark"),
        "after_mark": lambda: _after(claims, "mark"),
        "after_send": lambda: _before(transport._Dialling, "getresponse"),
        "after_answer": lambda: _before(verdicts, "judge"),
        "before_verdict": lambda: _before(fulfilment, "write_verdict"),
        # Everything of the verdict is written, and nothing of it is committed.
        "in_verdict": lambda: _inside(fulfilment, "_accept"),
        "after_verdict": lambda: _after(fulfilment, "write_verdict"),
        # A bulk action: the row's work is done and not committed; committed; asked and not written.
        "in_bulk_row": lambda: _after(runs, "_say"),
        "after_bulk_row": lambda: _after(runs, "_do"),
        "after_bulk_answers": lambda: _after(runs, "check_many"),
    }


POINTS = (
    "before_claim_commits",
    "after_claim",
    "before_mark",
    "after_mark",
    "after_send",
    "after_answer",
    "before_verdict",
    "in_verdict",
    "after_verdict",
)


def main(command: str, *arguments: str) -> None:
    """Run one command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "panel.settings")
    django.setup()
    from orders import fulfilment, runs, services  # noqa: PLC0415 - needs django.setup()

    if point := os.environ.get("STOP_AT"):
        _points()[point]()
    if command == "forward":
        fulfilment.forward(int(arguments[0]))
    elif command == "run_due":
        fulfilment.run_due()
    elif command == "sweep":
        fulfilment.sweep(wake=lambda _: True, ask=lambda _: True)
    elif command == "withdraw":
        services.withdraw(int(arguments[0]), actor=None)
    elif command == "bulk":
        runs.work_on(int(arguments[0]))
    else:
        raise SystemExit(f"no command {command}")


if __name__ == "__main__":
    main(*sys.argv[1:])
