"""Queries of the ORM whose SQL is made once, for the few paths that run for every order.

Making SQL costs Django more than the database needs to answer. Here a queryset says what is asked, as
everywhere, with a `Slot` where a value comes later; its SQL is kept for each thread, because what
Django compiles belongs to that thread's connection. Values and rows go through the same fields
and converters as the ORM's own.
"""

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Model, QuerySet, Value
from django.db.models.expressions import DatabaseDefault
from django.db.models.query import get_related_populators
from django.db.models.sql import UpdateQuery
from django.db.transaction import TransactionManagementError

M = TypeVar("M", bound=Model)
T = TypeVar("T")
Row = tuple[Any, ...]
Said = tuple[str, list[Any]]


class Slot(Value):
    """A value that is given when the query runs, under this name and as this field stores it."""

    def __init__(self, name: str, output_field: Any) -> None:
        super().__init__(name, output_field=output_field)

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:  # noqa: ARG002
        return "%s", (self,)

    def as_sqlite(self, compiler: Any, connection: Any, **_more: Any) -> tuple[str, Any]:
        return self.as_sql(compiler, connection)

    def stored(self, values: Mapping[str, Any], connection: Any) -> Any:
        """What the database driver is handed for the value of this name."""
        field: Any = self.output_field
        return field.get_db_prep_value(values[self.value], connection, prepared=False)


class Literal(Value):
    """A word that stands in the SQL itself, as an index's condition does.

    A plan that is kept is made before its parameters are known, and then a partial index can only be
    used when the statement says its condition word for word.
    """

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:  # noqa: ARG002
        if not re.fullmatch(r"[a-z_]+", self.value):
            raise ValueError(f"{self.value!r} is no plain word")
        return f"'{self.value}'", ()


class PerThread(Generic[T]):
    """What is made once per thread, and anew should the thread get another connection."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._kept = threading.local()

    def get(self, connection: Any) -> T:
        kept = self._kept
        if getattr(kept, "connection", None) is not connection:
            kept.made = self._make(connection)
            kept.connection = connection
        made: T = kept.made
        return made


def kept_cursor(connection: Any) -> Any:
    """A cursor by which PostgreSQL keeps the plan of what it is asked again and again.

    Django's own sends the values inside the SQL, so that every order would be planned anew.
    `prepare_threshold` is unset where a pooler can't keep plans (PREPARED_STATEMENTS=0).
    """
    if connection.vendor != "postgresql":
        return connection.cursor()
    from wallet.planned import PlannedCursor  # noqa: PLC0415 - psycopg only where it is used

    connection.ensure_connection()
    raw = connection.connection
    if raw.prepare_threshold is None:
        return connection.cursor()
    usual, raw.cursor_factory = raw.cursor_factory, PlannedCursor
    try:
        return connection.cursor()
    finally:
        raw.cursor_factory = usual


def filled(params: Iterable[Any], values: Mapping[str, Any], connection: Any) -> list[Any]:
    """The parameters with a value in each slot."""
    return [each.stored(values, connection) if isinstance(each, Slot) else each for each in params]


class Instances(Generic[M]):
    """A SELECT whose rows are wanted as instances, with what `select_related` and `annotate` add."""

    def __init__(self, build: Callable[[], QuerySet[M, M]]) -> None:
        self._build = build
        self._compiled = PerThread(self._compile)

    def __call__(self, **values: Any) -> list[M]:
        """The instances, with a value for every slot."""
        connection = connections[DEFAULT_DB_ALIAS]
        select = self._compiled.get(connection)
        return [select.instance(row) for row in select.run(connection, values)]

    def _compile(self, connection: Any) -> "_Select":
        return _Select(self._build(), connection)


class _Select:
    """One thread's compiled SELECT."""

    def __init__(self, queryset: QuerySet[Any, Any], connection: Any) -> None:
        query: Any = queryset.query
        self._locks = query.select_for_update
        self._compiler = compiler = query.get_compiler(connection=connection)
        self._sql, self._params = compiler.as_sql()
        self._converters = compiler.get_converters([each[0] for each in compiler.select])
        if compiler.klass_info:
            picked = compiler.klass_info["select_fields"]
            self._model = compiler.klass_info["model"]
            self._own = slice(picked[0], picked[-1] + 1)
            self._names = [each[0].target.attname for each in compiler.select[self._own]]
            self._related = get_related_populators(  # type: ignore[call-arg] # stubs of Django 6
                compiler.klass_info, compiler.select, DEFAULT_DB_ALIAS
            )

    def run(self, connection: Any, values: Mapping[str, Any]) -> list[Row]:
        if self._locks and not connection.in_atomic_block:
            raise TransactionManagementError("a lock needs a transaction")
        with kept_cursor(connection) as cursor:
            cursor.execute(self._sql, filled(self._params, values, connection))
            rows: list[Row] = cursor.fetchall()
        if not self._converters:
            return rows
        return [tuple(row) for row in self._compiler.apply_converters(rows, self._converters)]

    def instance(self, row: Row) -> Any:
        made = self._model.from_db(DEFAULT_DB_ALIAS, self._names, row[self._own])
        for related in self._related:
            related.populate(row, made)
        for name, at in self._compiler.annotation_col_map.items():
            setattr(made, name, row[at])
        return made


class Update:
    """An UPDATE of the rows of a queryset; `sets` gives each changed field its value or slot."""

    def __init__(self, build: Callable[[], QuerySet[Any, Any]], **sets: Any) -> None:
        self._build = build
        self._sets = sets
        self._compiled = PerThread(self._compile)

    def __call__(self, **values: Any) -> int:
        """How many rows were changed, with a value for every slot."""
        connection = connections[DEFAULT_DB_ALIAS]
        sql, params = self.said(connection, values)
        with kept_cursor(connection) as cursor:
            cursor.execute(sql, params)
            return int(cursor.rowcount)

    def said(self, connection: Any, values: Mapping[str, Any]) -> Said:
        """The statement, with a value for every slot."""
        sql, params = self._compiled.get(connection)
        return sql, filled(params, values, connection)

    def _compile(self, connection: Any) -> tuple[str, Sequence[Any]]:
        query: Any = self._build().query.chain(UpdateQuery)
        query.add_update_values(self._sets)
        query.annotations = {}
        sql, params = query.get_compiler(connection=connection).as_sql()
        return str(sql), params


class Insert(Generic[M]):
    """Writes new instances as `bulk_create` does, in one statement whatever their number."""

    def __init__(self, model: type[M]) -> None:
        self._model = model
        self._compiled = PerThread(self._compile)

    def on(self, connection: Any) -> "Inserts":
        """This thread's compiled statement."""
        return self._compiled.get(connection)

    def __call__(self, rows: Sequence[M]) -> None:
        """Insert them and set what the database made: the primary key and its own defaults."""
        connection = connections[DEFAULT_DB_ALIAS]
        compiled = self._compiled.get(connection)
        for start in range(0, len(rows), compiled.most):
            compiled.run(connection, rows[start : start + compiled.most])

    def _compile(self, connection: Any) -> "Inserts":
        return Inserts(self._model, connection)


@dataclass(frozen=True)
class _Returned:
    """A column that the database answers with."""

    name: str
    converters: Sequence[Callable[..., Any]]
    expression: Any


class Inserts:
    """One thread's compiled INSERT."""

    def __init__(self, model: type[Model], connection: Any) -> None:
        meta: Any = model._meta
        fields = [field for field in meta.local_concrete_fields if not field.primary_key]
        # What the database makes is named in no statement.
        self._left_out = [field for field in fields if field.has_db_default()]
        self._fields = [field for field in fields if not field.has_db_default()]
        self._types = [_type_of(field, connection) for field in self._fields]
        quoted = connection.ops.quote_name
        columns = ", ".join(quoted(field.column) for field in self._fields)
        self._into = f"INSERT INTO {quoted(meta.db_table)}"
        self._head = f"{self._into} ({columns})"
        self._places = f"({', '.join(['%s'] * len(self._fields))})"
        self.tail, _ = connection.ops.return_insert_columns(meta.db_returning_fields)
        self._returned = [
            _Returned(
                field.attname,
                [*connection.ops.get_db_converters(_col(field)), *field.get_db_converters(connection)],
                _col(field),
            )
            for field in meta.db_returning_fields
        ]  # fmt: skip
        self._has_arrays = connection.vendor == "postgresql"
        self._places_of_one = [
            (field, quoted(field.column), f"%s::{kind}" if self._has_arrays else "%s")
            for field, kind in zip(self._fields, self._types, strict=True)
        ]
        self.most = 10_000 if self._has_arrays else _most_values(connection) // len(self._fields)

    def run(self, connection: Any, rows: Sequence[Any]) -> None:
        self._check(rows)
        if self._has_arrays and len(rows) > 1:
            source, params = self._in_arrays(connection, rows)
        else:
            source = f"VALUES {', '.join([self._places] * len(rows))}"
            params = [
                field.get_db_prep_save(field.pre_save(row, True), connection)
                for row in rows
                for field in self._fields
            ]
        with kept_cursor(connection) as cursor:
            cursor.execute(f"{self._head} {source} {self.tail}", params)
            answers = cursor.fetchall()
        for row, answer in zip(rows, answers, strict=True):
            self.take(connection, row, answer)

    def one(self, connection: Any, row: Any, given: Mapping[str, str] | None = None) -> Said:
        """An INSERT of one row as a SELECT that may go on with FROM or WHERE, and its parameters.

        `given` says what stands in a column instead of the row's value. Columns without a value are
        left out: no column has a default that isn't NULL, and the statement is shorter.
        """
        self._check([row])
        columns, picked, params = [], [], []
        for field, column, cast in self._places_of_one:
            if given and field.column in given:
                picked.append(given[field.column])
            else:
                value = field.get_db_prep_save(field.pre_save(row, True), connection)
                if value is None:
                    continue
                picked.append(cast)
                params.append(value)
            columns.append(column)
        return f"{self._into} ({', '.join(columns)}) SELECT {', '.join(picked)}", params

    def _check(self, rows: Sequence[Any]) -> None:
        """Nobody may say what the database makes."""
        for field in self._left_out:
            if not all(isinstance(getattr(row, field.attname), DatabaseDefault) for row in rows):
                raise ValueError(f"{field.attname} is given by the database")

    def _in_arrays(self, connection: Any, rows: Sequence[Any]) -> tuple[str, list[Any]]:
        """A column whose value is the same in all rows travels once, another one as an array."""
        picked, arrays, once, many = [], [], [], []
        for at, (field, kind) in enumerate(zip(self._fields, self._types, strict=True)):
            values = [field.pre_save(row, True) for row in rows]
            if _is_one(values):
                picked.append(f"%s::{kind}")
                once.append(field.get_db_prep_save(values[0], connection))
            else:
                picked.append(f"fresh.c{at}")
                arrays.append((f"%s::{kind}[]", f"c{at}"))
                many.append([field.get_db_prep_save(value, connection) for value in values])
        if not arrays:
            source = f"SELECT {', '.join(picked)} FROM generate_series(1, %s)"  # noqa: S608 - our own names
            return source, [*once, len(rows)]
        given, names = (", ".join(each) for each in zip(*arrays, strict=True))
        source = f"SELECT {', '.join(picked)} FROM UNNEST({given}) AS fresh({names})"  # noqa: S608 - our own names
        return source, [*once, *many]

    def take(self, connection: Any, row: Any, answer: Row) -> None:
        """Set what the database made for this row."""
        for column, value in zip(self._returned, answer, strict=True):
            made = value
            for convert in column.converters:
                made = convert(made, column.expression, connection)
            setattr(row, column.name, made)
        row._state.adding = False
        row._state.db = DEFAULT_DB_ALIAS


def _most_values(connection: Any) -> int:
    """How many values this SQLite takes in a statement; Django keeps to what one of 2009 took."""
    import sqlite3  # noqa: PLC0415 - a Python for PostgreSQL may be built without it

    connection.ensure_connection()
    return int(connection.connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER))


def _is_one(values: Sequence[Any]) -> bool:
    """Whether all are the same, in type too: 1 is True and 1.0 in Python."""
    first = values[0]
    return all(
        value is first or (type(value) is type(first) and value == first) for value in values
    ) and not isinstance(first, dict | list)


def _type_of(field: Any, connection: Any) -> str:
    """The column's type without its length: a cast to varchar(5) would cut a text in silence."""
    return re.sub(r"[(].*?[)]", "", field.rel_db_type(connection) or "text")


def _col(field: Any) -> Any:
    return field.get_col(field.model._meta.db_table)
