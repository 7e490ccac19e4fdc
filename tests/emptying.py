"""Empties the database after a test that commits, at the price of the rows that it wrote.

Django's own way empties every table and makes all permissions anew: on PostgreSQL that takes longer
than most of these tests.
"""

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.sql import emit_post_migrate_signal
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.test import TransactionTestCase

# What `migrate` writes; it is put back only when a test has changed it.
_STOCK = {ContentType._meta.db_table, Permission._meta.db_table}
# Triggers refuse to have the ledger's rows deleted.
_LEDGER = "wallet_entry"


def empty_instead_of_flushing() -> None:
    """Have every test that commits end this way; call it when the database is new."""
    wanted = stock()

    def end(_test: TransactionTestCase) -> None:
        empty_database()
        restock(wanted)

    TransactionTestCase._fixture_teardown = end  # type: ignore[attr-defined]


def stock() -> set[tuple[str, ...]]:
    """Every permission, by what it is named after."""
    columns = "content_type__app_label", "content_type__model", "codename", "name"
    return set(Permission.objects.values_list(*columns))


def restock(wanted: set[tuple[str, ...]]) -> None:
    """Make the permissions anew if a test has changed them."""
    if stock() != wanted:
        ContentType.objects.all().delete()
        emit_post_migrate_signal(verbosity=0, interactive=False, db=DEFAULT_DB_ALIAS)


def empty_database() -> None:
    """Delete the rows of all tables but of those that `migrate` fills.

    On PostgreSQL it ends the sessions that a failed test has left in the middle of a transaction:
    the tests after it must not fail for that.
    """
    connection.close_if_unusable_or_obsolete()
    try:
        _delete_rows()
    except OperationalError:
        if connection.vendor != "postgresql":
            raise
        _end_other_sessions()
        _delete_rows()


def _delete_rows() -> None:
    tables = sorted(set(connection.introspection.django_table_names()) - _STOCK)
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Wait for who is still writing, as TRUNCATE would.
            cursor.execute(f"LOCK TABLE {', '.join(tables)} IN SHARE ROW EXCLUSIVE MODE")
        full = _with_rows(cursor, tables)
        if _LEDGER in full:
            _delete_ledger(cursor)
        for table in full:
            cursor.execute(f"DELETE FROM {table}")


def _with_rows(cursor: CursorWrapper, tables: list[str]) -> list[str]:
    asked = (f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {table})" for table in tables)
    cursor.execute(" UNION ALL ".join(asked))
    return [name for (name,) in cursor.fetchall()]


def _delete_ledger(cursor: CursorWrapper) -> None:
    if connection.vendor == "postgresql":
        cursor.execute(
            f"ALTER TABLE {_LEDGER} DISABLE TRIGGER USER; DELETE FROM {_LEDGER};"
            f" ALTER TABLE {_LEDGER} ENABLE TRIGGER USER"
        )
        return
    cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    triggers = cursor.fetchall()
    for name, _ in triggers:
        cursor.execute(f'DROP TRIGGER "{name}"')
    cursor.execute(f"DELETE FROM {_LEDGER}")
    for _, definition in triggers:
        cursor.execute(definition)


def _end_other_sessions() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
