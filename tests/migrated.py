"""A new SQLite database, migrated once for each state of the code and copied wherever one is wanted.

Sixty migrations take seconds of a processor; tests that are not about them start from a copy.
"""

import hashlib
import os
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

from django.conf import settings

from tests.processes import ROOT, manage

_APPS = ("accounts", "catalog", "orders", "panel", "wallet")


def put_migrated_sqlite(path: Path) -> None:
    """Replace whatever is at the path with a database as `migrate` leaves a new one."""
    remove_sqlite(path)
    path.write_bytes(_template().read_bytes())


def remove_sqlite(path: Path) -> None:
    """Remove a database and what lies beside it; a journal left behind would be read into the next."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


@cache
def _template() -> Path:
    """The file to copy; made when the code or the packages are others than last time."""
    folder = settings.VAR_DIR / "migrated"
    template = folder / f"{_state_of_the_code()}.sqlite3"
    if not template.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.sqlite3"):
            if old != template:
                old.unlink(missing_ok=True)
        _make(template)
    return template


def _state_of_the_code() -> str:
    digest = hashlib.sha256((ROOT / "requirements.txt").read_bytes())
    for app in _APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            if "tests" not in path.parts:
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _make(template: Path) -> None:
    with tempfile.TemporaryDirectory(dir=template.parent) as name:
        folder = Path(name)
        migrated = manage(
            "migrate", "--no-input",
            environment={"VAR_DIR": name, "DATABASE_URL": f"sqlite:///{name}/new.sqlite3"},
        )  # fmt: skip
        assert migrated.returncode == 0, migrated.stderr
        # The copy has no journal beside it, and is there whole or not at all.
        with (
            closing(sqlite3.connect(folder / "new.sqlite3")) as new,
            closing(sqlite3.connect(folder / "copy.sqlite3")) as copy,
        ):
            new.backup(copy)
        os.replace(folder / "copy.sqlite3", template)  # noqa: PTH105 - also over another's
