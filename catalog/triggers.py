"""Database triggers that mark every change of what is for sale, whatever code makes it.

A change takes away the marks that it sees and leaves a new one, which nobody had before. It waits
for nobody: a mark that another transaction is just taking away it leaves to that one. So there are
as many marks as changes were committed at once, mostly one, and together they are never the same
again: of two changes the later one to be committed has either not seen the other's mark, and then
both stay, or has seen it and leaves its own instead.
"""

from typing import Any

from wallet.triggers import carry_out

# Of a provider only this decides about what is on sale; the rest of its row changes all the time.
_WATCHED = {
    "catalog_service": "",
    "catalog_category": "",
    "catalog_provider": " OF is_enabled",
}

# SQLite has no triggers by statement, and these two take half a microsecond for each row.
_SQLITE = [
    f"""
    CREATE TRIGGER IF NOT EXISTS {table}_marks_{verb.split()[0].lower()} AFTER {verb} ON {table}
    BEGIN
        DELETE FROM catalog_stockmark;
        INSERT INTO catalog_stockmark VALUES (lower(hex(randomblob(16))));
    END
    """  # noqa: S608 - names of our own tables
    for table, columns in _WATCHED.items()
    for verb in ("INSERT", f"UPDATE{columns}", "DELETE")
]

_POSTGRESQL = [
    """
    CREATE OR REPLACE FUNCTION catalog_mark_stock() RETURNS trigger AS $$
    BEGIN
        DELETE FROM catalog_stockmark
        WHERE mark IN (SELECT mark FROM catalog_stockmark FOR UPDATE SKIP LOCKED);
        INSERT INTO catalog_stockmark VALUES (gen_random_uuid());
        RETURN NULL;
    END $$ LANGUAGE plpgsql
    """,
    *(
        f"""
        CREATE OR REPLACE TRIGGER {table}_marks
        AFTER INSERT OR UPDATE{columns} OR DELETE OR TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION catalog_mark_stock()
        """
        for table, columns in _WATCHED.items()
    ),
]

# What was changed while there were no triggers is seen by this.
_NEW_MARK = "INSERT INTO catalog_stockmark VALUES ({})"
_STATEMENTS = {
    "sqlite": [*_SQLITE, _NEW_MARK.format("lower(hex(randomblob(16)))")],
    "postgresql": [*_POSTGRESQL, _NEW_MARK.format("gen_random_uuid()")],
}


def install_triggers(*, using: str = "default", **_signal: Any) -> None:
    """Create the triggers that are missing, and leave a mark; harmless to repeat."""
    carry_out(using, "catalog_stockmark", _STATEMENTS)
