"""How many orders of each status a customer has: exact while they are few, and never a full count."""

from dataclasses import dataclass

from django.db import connection

from orders.models import Order
from orders.states import Status
from wallet.templatetags.money import number

# Beyond this the page says "1,000+": nobody reads on, and counting further would grow with the list.
MOST = 1000


@dataclass(frozen=True)
class Tally:
    """A number of orders; `is_more` when there are more than were counted."""

    count: int
    is_more: bool = False

    def __str__(self) -> str:
        return f"{number(self.count)}+" if self.is_more else number(self.count)


def tallies(customer_id: int) -> dict[str, Tally]:
    """By status, in one statement that reads at most 1,001 entries of an index for each."""
    # The ORM can't limit the parts of a union on SQLite.
    table = connection.ops.quote_name(Order._meta.db_table)
    one = (
        f"SELECT %s, count(*) FROM (SELECT 1 FROM {table} WHERE customer_id = %s "  # noqa: S608 - our own name
        "AND status = %s AND parent_id IS NULL LIMIT %s) AS few"
    )
    wanted = [(status, customer_id, status, MOST + 1) for status in Status.values]
    with connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join([one] * len(wanted)), [value for each in wanted for value in each]
        )
        return {status: tally(count) for status, count in cursor.fetchall()}


def tally(count: int) -> Tally:
    """A count that stops above 1,000."""
    return Tally(min(count, MOST), count > MOST)


def total(parts: dict[str, Tally]) -> Tally:
    """All of them together."""
    most = max((part for part in parts.values()), key=lambda part: part.is_more, default=Tally(0))
    if most.is_more:
        return most
    return tally(sum(part.count for part in parts.values()))
