"""Database triggers that keep the ledger append-only, whatever code runs against it."""

from collections.abc import Mapping, Sequence
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
    """Create the ledger's triggers that are missing; harmless to repeat."""
    carry_out(using, "wallet_entry", {"sqlite": _SQLITE, "postgresql": _POSTGRESQL})


def carry_out(using: str, table: str, statements: Mapping[str, Sequence[str]]) -> None:
    """Carry out the statements for this kind of database, if the table is there.

    It is not when `migrate … zero` has just removed it.
    """
    connection = connections[using]
    if table not in connection.introspection.table_names():
        return
    with connection.cursor() as cursor:
        for statement in statements[connection.vendor]:
            cursor.execute(statement)
