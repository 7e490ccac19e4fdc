"""The cursor of kept queries on PostgreSQL; not imported where the database is another."""

from dataclasses import dataclass
from typing import Any

from django.db.backends.postgresql.base import ServerBindingCursor
from psycopg import ClientCursor
from psycopg.errors import FeatureNotSupported
from psycopg.pq import TransactionStatus


@dataclass(frozen=True)
class _Said:
    """The statement with its values in it, made only when somebody logs it."""

    connection: Any
    statement: Any
    params: Any

    @property
    def query(self) -> bytes:
        return ClientCursor(self.connection).mogrify(self.statement, self.params).encode()


class PlannedCursor(ServerBindingCursor):
    """Sends values apart from the SQL, so that psycopg prepares what is asked often enough."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        """As psycopg's; psycopg forgets what a prepared statement said, and Django logs it.

        A migration that changes a column's type makes a kept plan useless, and psycopg goes on asking
        for it: then this connection keeps none any more.
        """
        try:
            return super().execute(query, params, **options)  # type: ignore[misc]
        except FeatureNotSupported:
            kept_by: Any = self.connection  # type: ignore[attr-defined]
            kept_by.prepare_threshold = None
            if kept_by.info.transaction_status != TransactionStatus.IDLE:
                raise
            return super().execute(query, params, **options)  # type: ignore[misc]
        finally:
            self._query: Any = _Said(self.connection, query, params)  # type: ignore[attr-defined]
