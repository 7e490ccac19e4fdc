"""Copies of the database that were proved to be good, and the way back from one.

A copy is proved by restoring it into a scratch database and letting `check_ledger` add up all its
money there. SQLite is copied with its online backup, PostgreSQL with pg_dump: both while the panel
works. A panel that is restored from a copy has forgotten what it sent since, so a restore always
ends in `after_restore`, which holds such orders back.
"""

import os
import re
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import psycopg
from django.conf import settings
from django.db import connection
from psycopg import sql
from psycopg.conninfo import make_conninfo

_HOUR = 3600
_SUFFIXES = {"sqlite": ".sqlite3", "postgresql": ".pgdump"}
# What a newer release than the copy's has made is not in it, and would be in the way: of the tables
# that it refers to, and of the migrations that make it again. An extension and what belongs to it,
# which may be somebody else's, stay.
_EMPTY = """
DO $$ DECLARE ours oid := to_regnamespace(quote_ident({schema})); found text; BEGIN
    FOR found IN SELECT oid::regclass FROM pg_class
        WHERE relkind IN ('r', 'p') AND relnamespace = ours AND NOT EXISTS (
            SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
    LOOP EXECUTE 'DROP TABLE IF EXISTS ' || found || ' CASCADE'; END LOOP;
    FOR found IN SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = ours AND NOT EXISTS (
            SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
    LOOP EXECUTE 'DROP ROUTINE IF EXISTS ' || found || ' CASCADE'; END LOOP;
    IF ours IS NULL THEN EXECUTE format('CREATE SCHEMA %I', {schema}); END IF;
END $$
"""
# In the list of what is in a copy.
_OUR_SCHEMA = re.compile(r" TABLE (\S+) orders_order ")
_EXTENSION = re.compile(r" EXTENSION - (\S+) ")


class BackupFailed(Exception):
    """No usable copy, or nothing restored; the message says why."""


def suffix() -> str:
    """How the name of a copy of this kind of database ends."""
    return _SUFFIXES[connection.vendor]


def back_up(folder: Path, now: datetime) -> Path:
    """Make a copy in `folder`, prove it and return its path.

    Raises BackupFailed; then no file of that name is left, so that whatever is there was proved.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = folder / f"panel-{now:%Y%m%dT%H%M%SZ}{suffix()}"
    if target.exists():
        raise BackupFailed(f"{target} exists")
    unproved = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        # Nobody else's before the first byte: what fills it keeps the mode.
        unproved.touch(mode=0o600)
        _copy(unproved)
        prove(unproved)
        unproved.replace(target)
    finally:
        unproved.unlink(missing_ok=True)
    return target


def prune(folder: Path, keep: int) -> list[Path]:
    """Remove all but the newest `keep` copies of this kind and return the removed ones."""
    copies = sorted(folder.glob(f"panel-*{suffix()}"))
    old = copies[:-keep] if keep else []
    for path in old:
        path.unlink()
    return old


def prove(copy: Path) -> None:
    """Restore the copy into a scratch database and check its ledger; raises BackupFailed."""
    with _scratch() as url:
        _load(copy, url)
        _check_ledger(url)


def restore(copy: Path) -> None:
    """Replace this installation's database by the copy; raises BackupFailed.

    The copy is proved first, so what is there is only given up for something good. On PostgreSQL
    the replacement is one transaction, and all tables and functions of the panel's schema go, also
    those that the copy doesn't have; other schemas stay as they are. Nothing else may use the database
    meanwhile.
    """
    prove(copy)
    connection.close()
    if connection.vendor == "sqlite":
        _replace_sqlite(copy, Path(_name()))
        return
    listed = _postgres("pg_restore", "--list", str(copy))
    ours = _OUR_SCHEMA.search(listed)
    if ours is None:
        raise BackupFailed(f"{copy} has no tables of a panel")
    schema = sql.Literal(ours[1]).as_string(None)
    # They belong to no schema, so that they are in no script of one.
    extensions = [sql.Identifier(name).as_string(None) for name in _EXTENSION.findall(listed)]
    wanted = [f"CREATE EXTENSION IF NOT EXISTS {name}" for name in extensions]
    with TemporaryDirectory(prefix="panel-restore-") as folder:
        script = f"{folder}/copy.sql"
        _postgres(
            "pg_restore", "--clean", "--if-exists", "--no-owner", "--no-comments",
            "--no-publications", "--schema", ours[1], "--file", script, str(copy),
        )  # fmt: skip
        _postgres(
            "psql", "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1",
            "--dbname", _name(), "--command", _EMPTY.format(schema=schema),
            *(f"--command={each}" for each in wanted), "--file", script,
        )  # fmt: skip


def _name() -> str:
    return str(connection.settings_dict["NAME"])


def _copy(target: Path) -> None:
    if connection.vendor == "sqlite":
        _copy_sqlite(Path(_name()), target)
        return
    _postgres("pg_dump", "--format=custom", "--no-owner", "--file", str(target), _name())


def _copy_sqlite(source: Path, target: Path) -> None:
    if not source.is_file():
        raise BackupFailed(f"{source} is not there")
    try:
        # The online backup is a single transaction's view, whoever writes meanwhile.
        with (
            closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)) as origin,
            closing(sqlite3.connect(target)) as copy,
        ):
            origin.backup(copy)
            # One file without companions; the panel turns its own on again at the next start.
            copy.execute("PRAGMA journal_mode=DELETE")
            [(verdict,)] = copy.execute("PRAGMA quick_check").fetchall()
    except sqlite3.Error as exc:
        raise BackupFailed(f"{source} can't be copied: {exc}") from None
    if verdict != "ok":
        raise BackupFailed(f"{target} is damaged: {verdict}")


def _replace_sqlite(copy: Path, target: Path) -> None:
    """Put a copy in the place of a file that may be damaged, without its log of later changes."""
    new = target.with_name(f"{target.name}.restored")
    new.touch(mode=0o600)
    _copy_sqlite(copy, new)
    for companion in ("-wal", "-shm"):
        target.with_name(target.name + companion).unlink(missing_ok=True)
    new.replace(target)


@contextmanager
def _scratch() -> Iterator[str]:
    """An empty database for a proof, gone afterwards; yields its address."""
    if connection.vendor == "sqlite":
        with TemporaryDirectory(prefix="panel-proof-") as folder:
            yield f"sqlite:///{folder}/proof.sqlite3"
        return
    name = f"panel_proof_{secrets.token_hex(6)}"
    try:
        with closing(psycopg.connect(make_conninfo(**_connection()), autocommit=True)) as server:
            server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            try:
                yield _url(name)
            finally:
                drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
                server.execute(drop)
    except psycopg.Error as exc:
        raise BackupFailed(
            f"no scratch database for the proof ({type(exc).__name__}); the role needs CREATEDB"
        ) from None


def _load(copy: Path, url: str) -> None:
    if connection.vendor == "sqlite":
        _copy_sqlite(copy, Path(url.removeprefix("sqlite:///")))
        return
    name = url.rpartition("/")[2]
    _postgres("pg_restore", "--no-owner", "--exit-on-error", "--dbname", name, str(copy))


def _check_ledger(url: str) -> None:
    """In processes of their own: this one is bound to the real database."""
    # A copy that an older release made has its tables, and is read by this one's.
    for command in (["migrate", "--no-input", "-v", "0"], ["check_ledger"]):
        _run(
            [sys.executable, "manage.py", *command],
            # Empty, so that DATABASE_URL counts; no log of the proof in the middle of ours.
            {"DATABASE_URL": url, "DATABASE_URL_FILE": "", "LOG_LEVEL": "ERROR"},
        )


def _connection() -> dict[str, str]:
    """Where the server is, as libpq calls it; empty values are left out."""
    row = connection.settings_dict
    given = {"host": row["HOST"], "port": row["PORT"], "user": row["USER"],
             "password": row["PASSWORD"], "dbname": row["NAME"]}  # fmt: skip
    return {name: str(value) for name, value in given.items() if value}


def _url(name: str) -> str:
    row = connection.settings_dict
    user = quote(str(row["USER"]), safe="")
    password = f":{quote(str(row['PASSWORD']), safe='')}" if row["PASSWORD"] else ""
    port = f":{row['PORT']}" if row["PORT"] else ""
    return f"postgres://{user}{password}@{quote(str(row['HOST']), safe='.-')}{port}/{name}"


def _postgres(program: str, *arguments: str) -> str:
    # By the environment: a password among the arguments could be read by everyone on the machine.
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    given = {names[key]: value for key, value in _connection().items() if key in names}
    return _run([program, *arguments], given)


def _run(command: list[str], environment: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - programs and arguments of our own
            command, env={**os.environ, **environment}, cwd=settings.BASE_DIR,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_HOUR, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise BackupFailed(f"{command[0]} is not installed (postgresql-client)") from None
    except subprocess.TimeoutExpired:
        raise BackupFailed(f"{command[0]} took longer than an hour") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1000:]
        raise BackupFailed(f"{' '.join(command[:3])} failed: {said}")
    return done.stdout
