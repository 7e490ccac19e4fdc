"""Writes many rows by one statement, which the ORM can't: 10,000 services in a handful of queries.

The rows travel as one JSON text, so the number of parameters doesn't grow with them; PostgreSQL
and SQLite both unpack it. Only the columns that are named are written.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from django.db import connection
from django.db.models import Field, JSONField, Model

CHUNK = 2_000

Row = Sequence[Any]


def insert_rows(model: type[Model], columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Insert rows of values for `columns` (attribute names); other columns take their defaults.

    A row that a unique constraint forbids, because it is there already, is left out.
    """
    given = [_field(model, column) for column in columns]
    rest = [
        field
        for field in model._meta.concrete_fields
        if field not in given and not field.primary_key
    ]
    blank = model()
    defaults = [field.pre_save(blank, add=True) for field in rest]
    fields = [*given, *rest]
    sql = (
        f"INSERT INTO {_quoted(model._meta.db_table)} ({', '.join(map(_column, fields))}) "  # noqa: S608 - names of our own columns
        f"SELECT * FROM ({_unpacked(fields)}) AS fresh WHERE true ON CONFLICT DO NOTHING"
    )
    for chunk in _chunks(rows):
        _execute(sql, fields, ([*row, *defaults] for row in chunk))


def update_rows(
    model: type[Model], columns: Sequence[str], rows: Iterable[Row], *, unmoved: Sequence[str] = ()
) -> set[int]:
    """Set `columns` of existing rows; gives the primary keys of those that were written.

    Each row is its primary key, then what the columns of `unmoved` held when it was read (a row
    that somebody moved since is left alone), then the new values of `columns`.
    """
    key = model._meta.pk
    assert key is not None  # noqa: S101 - every model has one; this tells the type checker
    fields = [key, *(_field(model, column) for column in (*unmoved, *columns))]
    table, first = _quoted(model._meta.db_table), len(unmoved) + 1
    same = " AND ".join(
        f"{table}.{_column(field)} = fresh.c{at}" for at, field in enumerate(fields[:first])
    )
    sets = ", ".join(
        f"{_column(field)} = fresh.c{at}" for at, field in enumerate(fields[first:], first)
    )
    sql = (
        f"UPDATE {table} SET {sets} FROM ({_unpacked(fields)}) AS fresh "  # noqa: S608 - names of our own columns
        f"WHERE {same} RETURNING {table}.{_column(key)}"
    )
    return {pk for chunk in _chunks(rows) for (pk,) in _execute(sql, fields, chunk)}


AnyField = Field[Any, Any]


def _field(model: type[Model], attname: str) -> AnyField:
    return next(field for field in model._meta.concrete_fields if field.attname == attname)


def _quoted(name: str) -> str:
    return str(connection.ops.quote_name(name))


def _column(field: AnyField) -> str:
    return _quoted(str(field.column))


def _unpacked(fields: Sequence[AnyField]) -> str:
    """A SELECT that turns the JSON parameter, a list of lists, into typed columns c0, c1, …"""
    if connection.vendor == "sqlite":
        picked = (f"json_extract(value, '$[{at}]') AS c{at}" for at in range(len(fields)))
        return f"SELECT {', '.join(picked)} FROM json_each(%s)"  # noqa: S608 - no text of others
    picked = (f"(value ->> {at})::{_cast(field)} AS c{at}" for at, field in enumerate(fields))
    return f"SELECT {', '.join(picked)} FROM jsonb_array_elements(%s::jsonb)"  # noqa: S608 - names of our own types


def _cast(field: AnyField) -> str:
    """The column's type without its length: a cast to varchar(5) would cut the text in silence."""
    return re.sub(r"\(.*?\)", "", field.rel_db_type(connection) or "text")


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk


def _prepared(field: AnyField, value: Any) -> Any:
    # As text, which both databases turn into the column's type again.
    if isinstance(field, JSONField):
        return json.dumps(value, ensure_ascii=False)
    return field.get_db_prep_save(value, connection)


def _execute(sql: str, fields: Sequence[AnyField], rows: Iterable[Row]) -> list[tuple[Any, ...]]:
    prepared = [
        [_prepared(field, value) for field, value in zip(fields, row, strict=True)] for row in rows
    ]
    with connection.cursor() as cursor:
        # Decimals and times travel as text and become exact values of the column's type.
        cursor.execute(sql, [json.dumps(prepared, ensure_ascii=False, default=str)])
        return cursor.fetchall() if cursor.description else []
