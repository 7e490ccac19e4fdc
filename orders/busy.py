"""Telling a lock that was not got in time from a database that is away."""

import sqlite3

from django.db import OperationalError

# PostgreSQL: lock_not_available, deadlock_detected, serialization_failure.
_POSTGRES = {"55P03", "40P01", "40001"}
_SQLITE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


class Busy(Exception):
    """Nothing was done, because others were in the way for too long; it may be tried again."""


def is_lock_timeout(error: OperationalError) -> bool:
    """Whether the transaction failed for a lock alone: then the database has undone all of it."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.OperationalError):
        # The low byte of SQLite's extended codes is the plain one.
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _SQLITE
    return getattr(cause, "sqlstate", None) in _POSTGRES
