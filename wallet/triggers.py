"""Database triggers that keep the ledger append-only, whatever code runs against it."""

from typing import Any

from django.db import connections

_SQLITE = [
    f"""
    CREATE TRIGGER IF NOT EXISTS wallet_entry_no_{verb} BEFORE {verb} ON wallet_entry
    BEGIN SELECT RAISE(ABORT, 'ledger entries are never changed'); END
    """
    for verb in ("update", "delete")
]

_POSTGRESQL = [
    """
    CREATE OR REPLACE FUNCTION wallet_entry_refuse_change() RETURNS trigger AS $$
    BEGIN RAISE EXCEPTION 'ledger entries are never changed' USING ERRCODE = 'integrity_constraint_violation';
    END $$ LANGUAGE plpgsql
    """,
    """
    CREATE OR REPLACE TRIGGER wallet_entry_no_change BEFORE UPDATE OR DELETE ON wallet_entry
    FOR EACH ROW EXECUTE FUNCTION wallet_entry_refuse_change()
    """,
    """
    CREATE OR REPLACE TRIGGER wallet_entry_no_truncate BEFORE TRUNCATE ON wallet_entry
    FOR EACH STATEMENT EXECUTE FUNCTION wallet_entry_refuse_change()
    """,
]


def install_triggers(*, using: str = "default", **_signal: Any) -> None:
    """Create the triggers that are missing; harmless to repeat."""
    connection = connections[using]
    if "wallet_entry" not in connection.introspection.table_names():
        return  # `migrate wallet zero` has just removed the table
    with connection.cursor() as cursor:
        for statement in _SQLITE if connection.vendor == "sqlite" else _POSTGRESQL:
            cursor.execute(statement)
