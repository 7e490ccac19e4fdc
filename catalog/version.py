"""Whether what is on sale has changed, told by one query."""

import hashlib
from typing import Any

from django.db import models
from django.db.models import Count, Func, Max, Subquery, Sum

from catalog.models import Category, Service


class _WithinTheHour(Func):
    """A moment's microseconds within its hour: small enough to be summed over any catalogue."""

    output_field = models.BigIntegerField()
    template = (
        "(EXTRACT(MINUTE FROM %(expressions)s)::bigint * 60000000"
        " + EXTRACT(MICROSECONDS FROM %(expressions)s)::bigint)"
    )

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # Kept as "2026-01-31 12:34:56.789012", without the fraction when it is 0.
        return self.as_sql(
            compiler,
            connection,
            template="(CAST(substr(%(expressions)s, 15, 2) AS INTEGER) * 60000000"
            " + CAST(substr(%(expressions)s, 18, 2) AS INTEGER) * 1000000"
            " + CAST(substr(%(expressions)s, 21) AS INTEGER))",
            **context,
        )


def version() -> str:
    """A text that is another one after every change of what is on sale, and only then.

    The number of services and the sum of their times of change, not the latest time alone: a
    sync that began earlier may be committed after someone's change.
    """
    categories = Category.objects.order_by().annotate(all=models.Value(1)).values("all")
    headings = categories.annotate(sum=Sum(_WithinTheHour("changed_at"))).values("sum")
    facts = Service.objects.on_sale().aggregate(
        count=Count("pk"),
        latest=Max("changed_at"),
        sum=Sum(_WithinTheHour("changed_at")),
        ids=Sum("pk"),
        headings=Max(Subquery(headings)),
    )
    return hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()[:32]
