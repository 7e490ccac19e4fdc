"""What every order or every message passes, written by hand because it is passed so often.

The mark and the acceptance are one statement each, and so one round trip. Only PostgreSQL knows
statements that change several tables; on SQLite, where a round trip costs nothing,
`claims.mark_by_rows` and `fulfilment.accept_by_rows` do the same. Each statement is a transaction of
its own: when its function returns, it is committed.
"""

from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from wallet.prepared import kept_cursor

# The fence: the order must still be claimed, and by this very attempt. Nothing else is written
# unless it is, and all of it fails when an earlier attempt may have reached the provider.
_MARK = """
WITH mine AS (
    UPDATE orders_order
    SET dispatch = 'sending',
        lease_until = STATEMENT_TIMESTAMP() + %(lease)s,
        sent_at = STATEMENT_TIMESTAMP()
    WHERE id = %(order)s AND dispatch = 'claimed' AND attempt_no = %(number)s
    RETURNING id
), tried AS (
    UPDATE orders_attempt
    SET outcome = 'sending', sending_at = STATEMENT_TIMESTAMP()
    FROM mine
    WHERE orders_attempt.id = %(attempt)s::bigint
)
INSERT INTO orders_event (order_id, at, code, "values")
SELECT id, %(at)s, 'sending', jsonb_build_object('attempt', %(number)s::int) FROM mine
"""

_ACCEPT = """
WITH mine AS (
    UPDATE orders_order
    SET dispatch = 'accepted',
        lease_until = NULL,
        waiting_for = '',
        attention = '',
        upstream_id = %(upstream)s
    WHERE id = %(order)s AND dispatch = 'sending' AND attempt_no = %(number)s
    RETURNING id, provider_id
), followed AS (
    INSERT INTO orders_poll (order_id, provider_id, due_at)
    SELECT id, provider_id, STATEMENT_TIMESTAMP() + %(first_poll)s FROM mine
    ON CONFLICT (order_id) DO UPDATE
    SET provider_id = EXCLUDED.provider_id, due_at = EXCLUDED.due_at
), tried AS (
    UPDATE orders_attempt
    SET outcome = 'accepted',
        upstream_id = %(upstream)s,
        answer = %(answer)s,
        finished_at = STATEMENT_TIMESTAMP()
    FROM mine
    WHERE orders_attempt.id = %(attempt)s::bigint
)
INSERT INTO orders_event (order_id, at, code, "values")
SELECT id, %(at)s, 'accepted', jsonb_build_object('attempt', %(number)s::int) FROM mine
"""

_WAITED_FOR = "SELECT provider_id FROM orders_order WHERE id = %s AND dispatch = 'queued'"


def provider_waited_for(order_id: int) -> int | None:
    """The provider of an order that is not on its way yet; None of any other. On any database."""
    with kept_cursor(connection) as cursor:
        cursor.execute(_WAITED_FOR, [order_id])
        row = cursor.fetchone()
    return int(row[0]) if row else None


def are_known() -> bool:
    """Whether this database knows the mark and the acceptance."""
    return connection.vendor == "postgresql"


def mark(*, order_id: int, attempt_id: int, attempt_no: int, lease: timedelta) -> bool:
    """Mark a claimed order; False when it is no longer this attempt's.

    Raises IntegrityError when an earlier attempt may have reached the provider.
    """
    return _run(_MARK, order=order_id, attempt=attempt_id, number=attempt_no, lease=lease)


def accept(
    *,
    order_id: int,
    attempt_id: int,
    attempt_no: int,
    upstream_id: str,
    answer: str,
    first_poll: timedelta,
) -> bool:
    """Note the provider's ID for a marked order; False when it is no longer this attempt's.

    Raises IntegrityError when another order of the provider has the ID.
    """
    return _run(
        _ACCEPT,
        order=order_id,
        attempt=attempt_id,
        number=attempt_no,
        upstream=upstream_id,
        answer=answer,
        first_poll=first_poll,
    )


def _run(statement: str, **values: int | str | timedelta) -> bool:
    # PostgreSQL keeps the plans: to make one takes it longer than to follow it.
    with kept_cursor(connection) as cursor:
        given: dict[str, Any] = {**values, "at": timezone.now()}
        cursor.execute(statement, given)
        return bool(cursor.rowcount)
