"""Run the simulator by itself: python -m upstream.simulator --port 9100."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import FrameType

from upstream.simulator.server import Simulator
from upstream.simulator.services import CATALOGUE, load_services
from upstream.simulator.settings import Settings
from upstream.simulator.state import restore, save
from upstream.simulator.world import World

_SAVE_SECONDS = 3.0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m upstream.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=9100, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--services", type=Path, default=CATALOGUE, help="JSON list of services")
    parser.add_argument("--key", default="simulator-key", help="API key it accepts")
    parser.add_argument("--balance", type=_money, default=Decimal(1000), help="of the account")
    parser.add_argument("--currency", default="USD")
    parser.add_argument("--pace", type=float, default=30.0, help="seconds of an order's life")
    parser.add_argument("--minute", type=float, default=60.0, help="seconds of a drip-feed minute")
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds per answer")
    parser.add_argument(
        "--weights",
        type=_weights,
        default={"Completed": 1.0},
        help="outcomes by chance, such as Completed=90,Partial=5,Canceled=5",
    )
    parser.add_argument(
        "--neighbours",
        type=int,
        default=0,
        help="at most this many IDs go to other customers around each of ours",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, help="file that keeps the orders across restarts")
    return parser


def _money(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount") from None


def _weights(text: str) -> dict[str, float]:
    pairs = (part.partition("=") for part in text.split(","))
    return {name.strip(): float(weight) for name, _, weight in pairs}


def _world(options: argparse.Namespace) -> World:
    settings = Settings(
        pace=options.pace,
        latency_ms=options.latency,
        currency=options.currency,
        minute_seconds=options.minute,
        weights=options.weights,
        neighbours_per_order=options.neighbours,
    )
    world = World(
        load_services(options.services),
        key=options.key,
        balance=options.balance,
        settings=settings,
        seed=options.seed,
    )
    if options.state:
        restore(world, options.state)
    return world


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C; 2 when it cannot start."""
    options = _arguments().parse_args(arguments)
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    try:
        world = _world(options)
        simulator = Simulator(world=world, host=options.host, port=options.port)
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        simulator.start()
    except (OSError, ValueError) as reason:
        print(f"simulator: {reason}", file=sys.stderr)
        return 2
    print(f"Simulated provider: {simulator.url}", flush=True)
    pause = _SAVE_SECONDS
    while not ended.wait(pause):
        begun = time.monotonic()
        _keep(world, options.state)
        # A large world takes long to write; it may cost a twentieth of the time, no more.
        pause = max(_SAVE_SECONDS, 20 * (time.monotonic() - begun))
    simulator.stop()
    _keep(world, options.state)
    return 0


def _keep(world: World, state: Path | None) -> None:
    if state:
        save(world, state)


if __name__ == "__main__":
    sys.exit(main())
