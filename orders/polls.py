"""Which orders are followed, and when each is asked about next: what writes and removes their rows.

A row is written in the transaction that makes its order followed and removed in the one that ends it.
Locks of rows come last: whoever holds an order may wait for its row, and a part's holder for its
parent's row; whoever holds rows and not their orders waits for nothing.
"""

from collections.abc import Collection
from datetime import datetime

from django.db import connection, transaction
from django.db.models import BooleanField, F, Func, Q, Subquery
from django.db.models.expressions import Combinable

from orders.poll_models import Poll, PollQuerySet


class _Array(Subquery):
    template = "(ARRAY(%(subquery)s))"


def among(polls: PollQuerySet) -> Q:
    """The rows, of orders or of polls, whose keys are those of these polls.

    As an array they are found, and locked, once, and each is looked up in an index; a subquery
    would be planned as a join, and among some ten thousand orders that is a read of all of them.
    """
    keys = polls.values("pk")
    if connection.vendor != "postgresql":
        return Q(pk__in=keys)
    are_keys = {"template": "%(expressions)s", "arg_joiner": " = ANY "}
    return Q(Func(F("pk"), _Array(keys), output_field=BooleanField(), **are_keys))


def follow(*, order_id: int, provider_id: int, due_at: datetime | Combinable) -> None:
    """Have an order asked about from `due_at` on. The caller has just written that it is followed.

    A row that should not be there is set right: it must not keep an answer from being written.
    """
    row = Poll(order_id=order_id, provider_id=provider_id, due_at=due_at)
    Poll.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["order"],
        update_fields=["provider", "due_at"],
    )


def look_soon(order_id: int, now: datetime) -> None:
    """Have the order asked about in the next run, if it is followed."""
    Poll.objects.filter(pk=order_id, due_at__gt=now).update(due_at=now)


@transaction.atomic
def put_off(order_ids: Collection[int], until: datetime) -> None:
    """Have these orders asked about at `until`; those that somebody is at are left to them."""
    free = Poll.objects.filter(pk__in=order_ids).free()
    Poll.objects.filter(among(free)).update(due_at=until)


def forget(order_ids: Collection[int]) -> None:
    """Ask no more about these orders, which the caller holds and has just ended."""
    if order_ids:
        Poll.objects.filter(pk__in=order_ids).delete()


@transaction.atomic
def let_go(order_ids: Collection[int]) -> None:
    """Ask no more about these orders, whoever holds them; one that somebody is at is met again."""
    if order_ids:
        free = Poll.objects.filter(pk__in=order_ids).free()
        Poll.objects.filter(among(free)).delete()
