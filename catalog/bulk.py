"""Writes many rows by one statement, which the ORM can't: 10,000 services in a handful of queries.

The rows travel as one JSON text, so the number of parameters doesn't grow with them; PostgreSQL
and SQLite both unpack it. Only the columns that are named are written.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import islice
from typing import Any

from django.db import connection
from django.db.models import (
    BigAutoField,
    BigIntegerField,
    BooleanField,
    CharField,
    DateTimeField,
    Field,
    ForeignKey,
    IntegerField,
    JSONField,
    Model,
    TextField,
)

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
    # The same in every row, so they travel once.
    defaults = [_prepared(field)(field.pre_save(blank, add=True)) for field in rest]
    constants = "".join(f", {_typed('%s', field)}" for field in rest)
    sql = (
        f"INSERT INTO {_quoted(model._meta.db_table)} "  # noqa: S608 - names of our own columns
        f"({', '.join(map(_column, [*given, *rest]))}) SELECT fresh.*{constants} "
        f"FROM ({_unpacked(given)}) AS fresh WHERE true ON CONFLICT DO NOTHING"
    )
    for chunk in _chunks(rows):
        _execute(sql, given, chunk, before=defaults)


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
    picked = (f"{_typed(f'(value ->> {at})', field)} AS c{at}" for at, field in enumerate(fields))
    return f"SELECT {', '.join(picked)} FROM jsonb_array_elements(%s::jsonb)"  # noqa: S608 - names of our own types


def _typed(value: str, field: AnyField) -> str:
    """The value as the column's type without its length: varchar(5) would cut the text in silence."""
    if connection.vendor == "sqlite":
        return value
    return f"{value}::{re.sub(r'[(].*?[)]', '', field.rel_db_type(connection) or 'text')}"


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk


def _prepared(field: AnyField) -> Callable[[Any], Any]:
    """What makes of a value what the JSON text (or a parameter) holds."""
    if isinstance(field, JSONField):
        return partial(json.dumps, ensure_ascii=False)
    if type(_target(field)) in _AS_THEY_ARE:
        return _same
    # Decimals and times become text, which both databases turn into the column's type again.
    prepare = partial(field.get_db_prep_save, connection=connection)
    return _times_as_text(prepare) if isinstance(field, DateTimeField) else prepare


# Django would look at each of thousands of values and change none of them. Only these very classes:
# one that is derived from them may encrypt.
_AS_THEY_ARE = {
    BigAutoField,
    BigIntegerField,
    BooleanField,
    CharField,
    IntegerField,
    TextField,
}


def _times_as_text(prepare: Callable[[Any], Any]) -> Callable[[Any], str | None]:
    """Many rows have few different times."""

    @lru_cache(maxsize=64)
    def text(value: Any) -> str | None:
        return None if value is None else str(prepare(value))

    return text


def _target(field: AnyField) -> Any:
    return field.target_field if isinstance(field, ForeignKey) else field


def _same(value: Any) -> Any:
    return value


def _execute(
    sql: str, fields: Sequence[AnyField], rows: Sequence[Row], *, before: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    columns = zip(*rows, strict=True)
    prepared = [
        values if (prepare := _prepared(field)) is _same else map(prepare, values)
        for field, values in zip(fields, columns, strict=True)
    ]
    text = json.dumps(list(zip(*prepared, strict=True)), ensure_ascii=False, default=str)
    with connection.cursor() as cursor:
        cursor.execute(sql, [*before, text])
        return cursor.fetchall() if cursor.description else []
