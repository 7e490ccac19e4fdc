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
        f"INSERT INTO {_quoted(model._meta.db_table)} ({_list(fields)}) "  # noqa: S608 - names of our own columns
        f"SELECT {_list(fields)} FROM ({_unpacked(fields)}) AS fresh WHERE true "
        f"ON CONFLICT DO NOTHING"
    )
    for chunk in _chunks(rows):
        _execute(sql, fields, ([*row, *defaults] for row in chunk))


def update_rows(model: type[Model], columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Set `columns` of existing rows; each row starts with its primary key, then their values."""
    key = model._meta.pk
    assert key is not None  # noqa: S101 - every model has one; this tells the type checker
    changed = [_field(model, column) for column in columns]
    fields = [key, *changed]
    assignments = ", ".join(f"{_column(field)} = fresh.{_column(field)}" for field in changed)
    table = _quoted(model._meta.db_table)
    sql = (
        f"UPDATE {table} SET {assignments} FROM ({_unpacked(fields)}) AS fresh "  # noqa: S608 - names of our own columns
        f"WHERE {table}.{_column(key)} = fresh.{_column(key)}"
    )
    for chunk in _chunks(rows):
        _execute(sql, fields, chunk)


AnyField = Field[Any, Any]


def _field(model: type[Model], attname: str) -> AnyField:
    return next(field for field in model._meta.concrete_fields if field.attname == attname)


def _quoted(name: str) -> str:
    return str(connection.ops.quote_name(name))


def _column(field: AnyField) -> str:
    return _quoted(str(field.column))


def _list(fields: Sequence[AnyField]) -> str:
    return ", ".join(_column(field) for field in fields)


def _unpacked(fields: Sequence[AnyField]) -> str:
    """A SELECT that turns the JSON parameter, a list of lists, back into typed columns."""
    if connection.vendor == "sqlite":
        picked = (f"json_extract(value, '$[{at}]') AS {_column(f)}" for at, f in enumerate(fields))
        return f"SELECT {', '.join(picked)} FROM json_each(%s)"  # noqa: S608 - names of our own columns
    picked = (
        f"(value ->> {at})::{_cast(field)} AS {_column(field)}" for at, field in enumerate(fields)
    )
    return f"SELECT {', '.join(picked)} FROM jsonb_array_elements(%s::jsonb)"  # noqa: S608 - names of our own columns


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


def _execute(sql: str, fields: Sequence[AnyField], rows: Iterable[Row]) -> None:
    prepared = [
        [_prepared(field, value) for field, value in zip(fields, row, strict=True)] for row in rows
    ]
    with connection.cursor() as cursor:
        # Decimals and times travel as text and become exact values of the column's type.
        cursor.execute(sql, [json.dumps(prepared, ensure_ascii=False, default=str)])
