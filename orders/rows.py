"""Updating many orders to values of their own in one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, models

from orders.models import Order


@dataclass(frozen=True)
class Row:
    """New values for one order; written only while its status is still `unless_moved_from`."""

    pk: int
    unless_moved_from: str
    values: Sequence[Any]


def update_rows(fields: Sequence[str], rows: Sequence[Row]) -> set[int]:
    """Set `fields` of each order to its row's values; gives the IDs that were written.

    One UPDATE … FROM (VALUES …): a tenth of the time of one statement per order, and an order
    that somebody moved since it was read is left alone. Never used for money of the site.
    """
    if not rows:
        return set()
    parameters = [value for row in rows for value in _stored(fields, row)]
    with connection.cursor() as cursor:
        cursor.execute(_statement(fields, len(rows)), parameters)
        return {pk for (pk,) in cursor.fetchall()}


def _field(name: str) -> models.Field[Any, Any]:
    field = Order._meta.get_field(name)
    if not isinstance(field, models.Field):
        raise TypeError(f"{name} is no column")
    return field


def _stored(fields: Sequence[str], row: Row) -> list[Any]:
    values = [
        _field(name).get_db_prep_save(value, connection)
        for name, value in zip(fields, row.values, strict=True)
    ]
    return [row.pk, row.unless_moved_from, *values]


def _statement(fields: Sequence[str], count: int) -> str:
    quote = connection.ops.quote_name
    sets = ", ".join(
        f"{quote(str(_field(name).column))} = {_typed(name, number)}"
        for number, name in enumerate(fields, start=3)
    )
    row = "(" + ", ".join(["%s"] * (len(fields) + 2)) + ")"
    values = ", ".join([row] * count)
    # Every part is a name of our own model; the values are parameters.
    return (
        f"UPDATE {quote(Order._meta.db_table)} SET {sets} FROM (VALUES {values}) AS new "  # noqa: S608
        "WHERE id = new.column1 AND status = new.column2 RETURNING id"
    )


def _typed(name: str, number: int) -> str:
    """A column of VALUES; PostgreSQL takes one that holds only NULLs for text unless told."""
    if connection.vendor != "postgresql":
        return f"new.column{number}"
    return f"CAST(new.column{number} AS {_field(name).db_type(connection)})"
