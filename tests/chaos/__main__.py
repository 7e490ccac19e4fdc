"""Chaos: everything is killed at random while orders are placed; afterwards all must add up.

python -m tests.chaos [--minutes M | --seconds S] [--seed N] [--rate ORDERS_PER_SECOND]
                      [--kills PER_MINUTE] [--faults SHARE] [--settle SECONDS] [--sqlite]
                      [--keep FOLDER]

Brings its own providers (a simulator each), Redis and PostgreSQL on free ports of loopback; with
--sqlite one embedded process. Lost answers are searched for all the while; when nothing is sent any
more the search gets SECONDS to come to its ends. Prints its seed first and its figures last, and ends with 1 when the
oracle of tests.faults.oracle finds anything.
"""

import argparse
import os
import re
import secrets
import signal
import sys
import tempfile
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

from tests.chaos.plan import KEY, PROVIDERS, SERVICES, Plan
from tests.faults.servers import OwnRedis, own_postgres, own_redis
from tests.processes import PYTHON, free_port, manage, started


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=2.0)
    length.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--rate", type=float, default=7.0, help="orders per second")
    parser.add_argument(
        "--orders",
        type=int,
        default=0,
        help="go on until there are so many, and then order no more",
    )
    parser.add_argument("--least-kills", type=int, default=0, help="and so many kills")
    parser.add_argument("--kills", type=float, default=24.0, help="per minute")
    parser.add_argument("--faults", type=float, default=0.1, help="share of requests hit")
    parser.add_argument("--settle", type=float, default=240.0, help="seconds for the search")
    parser.add_argument("--sqlite", action="store_true", help="embedded, without Redis")
    parser.add_argument("--keep", type=Path, help="write the logs to this folder and leave them")
    return parser.parse_args()


def _environment(folder: Path, database: str, redis: OwnRedis | None) -> None:
    """This process and all it starts share one panel."""
    port = free_port()
    os.environ.update(
        DJANGO_SETTINGS_MODULE="panel.settings",
        DATABASE_URL=database,
        REDIS_URL=redis.url if redis else "",
        VAR_DIR=str(folder / "var"),
        SECRET_KEY="only-for-chaos-" + "x" * 40,
        SITE_URL=f"http://127.0.0.1:{port}",
        PORT=str(port),
        UPSTREAM_API_URL="",
        UPSTREAM_API_KEY="",
        ALLOW_PRIVATE_UPSTREAM="1",
        UPSTREAM_CONNECT_TIMEOUT="1",
        UPSTREAM_READ_TIMEOUT="2",
        UPSTREAM_TOTAL_TIMEOUT="3",
        POLL_YOUNG_SECONDS="20",
        LOG_LEVEL="WARNING",
    )


def _simulator(folder: Path, seed: int) -> list[str]:
    services = folder / "services.json"
    services.write_text(SERVICES, encoding="utf-8")
    return [
        PYTHON, "-m", "upstream.simulator", "--port", "0", "--key", KEY, "--seed", str(seed),
        "--services", str(services), "--balance", "100000000", "--pace", "30", "--neighbours", "2",
        "--latency", "30", "--weights", "Completed=85,Partial=8,Canceled=5,Fail=2",
    ]  # fmt: skip


def main() -> int:
    options = _arguments()
    # Told to end, it ends what it started.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(3))
    plan = Plan(
        seconds=options.seconds or options.minutes * 60,
        seed=options.seed,
        rate=options.rate,
        kills_per_minute=options.kills,
        faults=options.faults,
        orders=options.orders,
        kills=options.least_kills,
        settle=options.settle,
    )
    engine = "sqlite" if options.sqlite else "postgresql"
    print(f"chaos: seed {plan.seed}, {plan.seconds:.0f} s, {engine}", flush=True)
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        simulators = [
            stack.enter_context(
                started(
                    _simulator(folder, plan.seed + number),
                    environment={},
                    log=folder / f"simulator{number}.log",
                )
            )
            for number in range(PROVIDERS)
        ]
        providers = [
            re.findall(r"http://\S+", each.wait_until_said("/api/v2"))[0] for each in simulators
        ]
        redis = None
        database = f"sqlite:///{folder / 'panel.sqlite3'}"
        if not options.sqlite:
            redis = stack.enter_context(own_redis(folder))
            database = stack.enter_context(own_postgres()).create("chaos")
        _environment(folder, database, redis)
        migrated = manage("migrate", "--no-input", environment=dict(os.environ))
        if migrated.returncode:
            raise SystemExit(migrated.stderr)
        # Only now, when the environment names the database, Django may read its settings.
        import_module("django").setup()
        run = import_module("tests.chaos.run")
        return int(
            run.run(plan, folder=folder, simulators=simulators, providers=providers, redis=redis)
        )


if __name__ == "__main__":
    sys.exit(main())
