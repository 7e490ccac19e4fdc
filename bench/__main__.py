"""`make bench`: every benchmark in a process and a database of its own; JSON lines, then a table.

python -m bench [--quick] [--sqlite] [--out FILE] [NAME …]; the names are the modules listed below.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from redis import Redis

from bench.harness import QUICK, SQLITE, Laps, say, sqlite_copy
from panel.schedule import POLL, SUBMIT
from tests.processes import ROOT, clean_environment

NAMES = ["catalogue", "pages", "placing", "forwarding", "following", "scale", "reports", "memory"]
# These need what SQLite or one process does not have.
POSTGRES_ONLY = {"forwarding", "following", "scale"}
POSTGRES = "postgres://postgres@127.0.0.1:5432/postgres"
REDIS = "redis://127.0.0.1:6379/15"
# Before the keys of the queues.
_PREFIX = "bench:"


def main(arguments: Sequence[str]) -> int:
    """0 when every figure met its target, 1 when one did not or a benchmark failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller numbers, about two minutes")
    parser.add_argument("--sqlite", action="store_true", help="the embedded default")
    parser.add_argument("--out", type=Path, help="also write the JSON lines to this file")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    impossible = {name for name in options.names if not _is_possible(name, options.sqlite)}
    if impossible:
        parser.error(f"needs PostgreSQL: {', '.join(sorted(impossible))}")
    names = [name for name in options.names or NAMES if _is_possible(name, options.sqlite)]
    lines: list[str] = []
    failed: list[str] = []
    laps = Laps()
    with ExitStack() as stack:
        sqlite, template = stack.enter_context(_templates(options.sqlite))
        laps.end("migrating")
        for name in names:
            with _database(sqlite if template is None else template) as database:
                found, code = _run(name, database=database, sqlite=sqlite, quick=options.quick)
            lines += found
            if code:
                failed.append(name)
            laps.end(name)
    if options.out:
        options.out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    print(table([json.loads(line) for line in lines]), flush=True)
    say(str(laps))
    for name in failed:
        print(f"The benchmark {name} failed; what it said is above.", file=sys.stderr)
    return int(bool(failed) or not all(json.loads(line)["met"] for line in lines))


def _is_possible(name: str, sqlite: bool) -> bool:
    return not (sqlite and name in POSTGRES_ONLY)


def _run(name: str, *, database: str, sqlite: Path, quick: bool) -> tuple[list[str], int]:
    """Run one benchmark; its lines, and its exit code."""
    say(f"== {name}")
    if not database.startswith("sqlite"):
        _forget_wakeups()
    environment = clean_environment(
        {
            "DATABASE_URL": database,
            "REDIS_URL": "" if database.startswith("sqlite") else _redis(),
            "REDIS_PREFIX": _PREFIX,
            "ALLOW_PRIVATE_UPSTREAM": "1",
            "LOG_LEVEL": "ERROR",
            "DJANGO_SETTINGS_MODULE": "panel.settings",
            QUICK: "1" if quick else "0",
            SQLITE: str(sqlite),
        }
    )
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.Popen(
            [sys.executable, "-m", "bench.child", name],
            cwd=ROOT,
            env=environment | {"VAR_DIR": folder, "SECRET_KEY": uuid.uuid4().hex * 2},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("{"):
                lines.append(line.strip())
            print(line, end="", flush=True)
        return lines, child.wait()


def _forget_wakeups() -> None:
    """Orders that another benchmark placed have left messages, which a worker would take first."""
    with Redis.from_url(_redis()) as redis:
        redis.delete(*(f"{_PREFIX}{queue}" for queue in (SUBMIT, POLL)))


def _redis() -> str:
    return os.environ.get("BENCH_REDIS_URL", REDIS)


@contextmanager
def _templates(is_sqlite: bool) -> Iterator[tuple[Path, str | None]]:
    """What databases are copied from: a migrated SQLite file, and one on PostgreSQL by its name."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "panel.sqlite3"
        url = f"sqlite:///{file}"
        if is_sqlite:
            _migrate(url)
            yield file, None
            return
        with _migrated(url) as name:
            yield file, name


@contextmanager
def _migrated(*beside: str) -> Iterator[str]:
    """The name of a migrated database; those of the URLs are migrated at the same time."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    _execute(f'CREATE DATABASE "{name}"')
    try:
        _migrate(_url(name), *beside)
        yield name
    finally:
        _execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@contextmanager
def _database(template: str | Path) -> Iterator[str]:
    """The URL of a fresh copy that is gone afterwards."""
    if isinstance(template, Path):
        with tempfile.TemporaryDirectory() as folder:
            yield sqlite_copy(template, Path(folder))
        return
    name = f"bench_{uuid.uuid4().hex[:12]}"
    _execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield _url(name)
    finally:
        _execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _migrate(*urls: str) -> None:
    """Migrate them all at once: it is Python that takes the time, and nothing is measured yet."""
    running = [
        subprocess.Popen(
            [sys.executable, "manage.py", "migrate", "-v", "0"],
            cwd=ROOT,
            env=clean_environment({"DATABASE_URL": url, "SECRET_KEY": uuid.uuid4().hex * 2}),
        )
        for url in urls
    ]
    ended = [process.wait() for process in running]
    if any(ended):
        sys.exit("A database could not be migrated; the reason is above.")


def _server() -> str:
    return os.environ.get("BENCH_DATABASE_URL", POSTGRES)


def _url(name: str) -> str:
    return urlunsplit(urlsplit(_server())._replace(path=f"/{name}"))


def _execute(statement: str) -> None:
    try:
        with psycopg.connect(_server(), autocommit=True) as connection:
            connection.execute(statement.encode())
    except psycopg.OperationalError as error:
        sys.exit(f"PostgreSQL does not answer ({error}); BENCH_DATABASE_URL names it, or --sqlite")


def table(figures: Sequence[dict[str, object]]) -> str:
    """The figures for people: what it is, the ratio, what it should be."""
    rows = [("figure", "ours", "limit", "unit", "ratio", "target", "")]
    for each in figures:
        sign = "≥" if each["at_least"] else "≤"
        rows.append(
            (
                str(each["name"]),
                f"{each['ours']:g}",
                f"{each['limit']:g}",
                str(each["unit"]),
                f"{each['ratio']:.2f}",
                f"{sign} {each['target']:g}",
                "met" if each["met"] else "MISSED",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 3, 6) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
