"""Tables of full size, filled by the database itself: rows made one by one take far longer."""

from collections.abc import Mapping

from django.db import connection, models


def multiply(row: models.Model, count: int, changes: Mapping[str, str]) -> None:
    """Copy a saved row `count` times; `changes` are SQL expressions of the copy's number `n`."""
    fields = [field for field in row._meta.concrete_fields if not field.primary_key]
    columns = [str(field.column) for field in fields]
    assert changes.keys() <= set(columns)
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join(changes.get(name, f'"{name}"') for name in columns)
    table = f'"{row._meta.db_table}"'
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers"
            f" WHERE n < {count}) INSERT INTO {table} ({names})"
            f" SELECT {values} FROM {table}, numbers WHERE id = {int(row.pk)}"
        )
        if connection.vendor == "postgresql":
            # As autovacuum would soon; else the pages are planned for tables that were empty.
            # Ours alone: what all databases of the server share would stay locked until this test
            # ends, and a test beside it on another database would wait for it.
            ours = connection.introspection.django_table_names(only_existing=True)
            cursor.execute("ANALYZE " + ", ".join(f'"{name}"' for name in ours))


def new_uuid() -> str:
    """The expression for a new UUID on this database."""
    if connection.vendor == "postgresql":
        return "gen_random_uuid()"
    return "lower(hex(randomblob(16)))"
