"""Writes that belong together as one statement, so that a server is asked once.

PostgreSQL changes several tables in one statement: each write is a part of a WITH, and the rows of a
later one come from an earlier one, so there are none where that did nothing. SQLite knows no such
statement, and no way to a server either: there it is one after the other. Statements are made of the
same queries and fields as those of `wallet.prepared`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Model, QuerySet

from wallet.prepared import Insert, PerThread, Row, Said, Update, filled, kept_cursor

M = TypeVar("M", bound=Model)
N = TypeVar("N", bound=Model)


def is_possible(connection: Any) -> bool:
    """Whether this database knows statements that change several tables."""
    return bool(connection.vendor == "postgresql")


class InsertUnless(Generic[M, N]):
    """One new instance and one of another model that names it; neither when a queryset finds a row."""

    def __init__(
        self,
        first: Insert[M],
        second: Insert[N],
        *,
        naming: str,
        unless: Sequence[Callable[[], QuerySet[Any, Any]]],
    ) -> None:
        self.first = first
        self.second = second
        self.naming = naming
        self._unless = unless
        self._guard = PerThread(self._compile)

    def of(self, row: M, line: N, **values: Any) -> "Pending[M, N]":
        """These two, to be written; with a value for every slot of the querysets."""
        return Pending(self, row, line, values)

    def said(self, connection: Any, row: M, values: Mapping[str, Any]) -> Said:
        """The INSERT of the first, with what keeps it from being done twice."""
        inserts = self.first.on(connection)
        sql, params = inserts.one(connection, row)
        guard, more = self.guard(connection, values)
        return f"{sql} WHERE {guard} {inserts.tail}", [*params, *more]

    def guard(self, connection: Any, values: Mapping[str, Any]) -> Said:
        """The condition that no queryset finds a row."""
        guard, slots = self._guard.get(connection)
        return guard, filled(slots, values, connection)

    def _compile(self, connection: Any) -> Said:
        # Each by itself: joined by OR they would be one search, and no index serves both.
        guards, given = [], []
        for build in self._unless:
            found: Any = build().order_by().values("pk").query
            sql, params = found.get_compiler(connection=connection).as_sql()
            guards.append(f"NOT EXISTS ({sql})")
            given += params
        return " AND ".join(guards), given


@dataclass(frozen=True)
class Pending(Generic[M, N]):
    """What an `InsertUnless` is about to write: alone by `write`, or as the parts of another statement."""

    how: InsertUnless[M, N]
    row: M
    line: N
    values: Mapping[str, Any]

    def write(self) -> bool:
        """Write it one after the other; whether anything was written."""
        connection = connections[DEFAULT_DB_ALIAS]
        sql, params = self.how.said(connection, self.row, self.values)
        with kept_cursor(connection) as cursor:
            cursor.execute(sql, params)
            answer = cursor.fetchone()
        if answer is None:
            return False
        self.take(connection, answer)
        self.how.second([self.line])
        return True

    def parts(self, connection: Any, source: str = "") -> Said:
        """A WITH's parts: `made` has the new row's columns that the database made, or no row.

        With a `source` there is one for each of its rows: whoever made those has asked the guard.
        """
        if source:
            inserts = self.how.first.on(connection)
            sql, params = inserts.one(connection, self.row)
            sql = f"{sql} FROM {source} {inserts.tail}"
        else:
            sql, params = self.how.said(connection, self.row, self.values)
        then, more = self.how.second.on(connection).one(
            connection, self.line, {f"{self.how.naming}_id": "made.id"}
        )
        return f"made AS ({sql}), told AS ({then} FROM made)", [*params, *more]

    def take(self, connection: Any, answer: Row) -> None:
        """Set what the database made."""
        self.how.first.on(connection).take(connection, self.row, answer)
        setattr(self.line, self.how.naming, self.row)


class UpdateAndInsert(Generic[M]):
    """An UPDATE and, if it changed a row, one new instance."""

    def __init__(self, update: Update, insert: Insert[M]) -> None:
        self._update = update
        self._insert = insert

    def __call__(self, row: M, **values: Any) -> bool:
        """Whether both were written, with a value for every slot of the UPDATE."""
        connection = connections[DEFAULT_DB_ALIAS]
        if not is_possible(connection):
            if changed := bool(self._update(**values)):
                self._insert([row])
            return changed
        inserts = self._insert.on(connection)
        update, params = self._update.said(connection, values)
        insert, more = inserts.one(connection, row)
        sql = f"WITH changed AS ({update} RETURNING 1) {insert} FROM changed {inserts.tail}"
        with kept_cursor(connection) as cursor:
            cursor.execute(sql, [*params, *more])
            answer = cursor.fetchone()
        if answer is not None:
            inserts.take(connection, row, answer)
        return answer is not None

    def before(
        self, pending: Pending[Any, Any], row: M, given: Mapping[str, str], **values: Any
    ) -> bool:
        """The UPDATE and, if it changed a row, the pending rows and this one: as one statement.

        `given` says in SQL what stands in a column of the new instance, from the columns of `made`
        and of `changed`, which is the updated row; the instance is told. False when nothing was
        written. Only where it `is_possible`.
        """
        connection = connections[DEFAULT_DB_ALIAS]
        inserts = self._insert.on(connection)
        update, params = self._update.said(connection, values)
        guard, more = pending.how.guard(connection, pending.values)
        parts, rest = pending.parts(connection, source="changed")
        insert, last = inserts.one(connection, row, given)
        # The guard stands where it keeps everything from being written.
        changed = f"{update} AND {guard} RETURNING *"
        added = f"{insert} FROM made, changed {inserts.tail}"
        told = f"SELECT {', '.join(given.values())}, added.id, made.* FROM changed, made, added"  # noqa: S608 - our own names
        sql = f"WITH changed AS ({changed}), {parts}, added AS ({added}) {told}"
        with kept_cursor(connection) as cursor:
            cursor.execute(sql, [*params, *more, *rest, *last])
            answer = cursor.fetchone()
        if answer is None:
            return False
        columns = len(given)
        for name, value in zip(given, answer, strict=False):
            setattr(row, name, value)
        inserts.take(connection, row, answer[columns : columns + 1])
        pending.take(connection, answer[columns + 1 :])
        return True

    def after(
        self, pending: Pending[Any, Any], row: M, given: Mapping[str, str], **values: Any
    ) -> tuple[bool, bool]:
        """The pending rows and these as one statement: whether those were written, and these.

        `given` says in SQL what stands in a column of the new instance, from the columns of `made`.
        Only where it `is_possible`.
        """
        connection = connections[DEFAULT_DB_ALIAS]
        inserts = self._insert.on(connection)
        parts, params = pending.parts(connection)
        update, more = self._update.said(connection, values)
        insert, last = inserts.one(connection, row, given)
        changed = f"{update} AND EXISTS (SELECT 1 FROM made) RETURNING 1"  # noqa: S608 - our own names
        added = f"{insert} FROM made, changed {inserts.tail}"
        told = "SELECT added.id, made.* FROM made LEFT JOIN added ON TRUE"
        sql = f"WITH {parts}, changed AS ({changed}), added AS ({added}) {told}"
        with kept_cursor(connection) as cursor:
            cursor.execute(sql, [*params, *more, *last])
            answer = cursor.fetchone()
        if answer is None:
            return False, False
        pending.take(connection, answer[1:])
        if answer[0] is not None:
            inserts.take(connection, row, answer[:1])
        return True, answer[0] is not None
