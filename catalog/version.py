"""Whether what is on sale has changed, told by one query."""

import hashlib
from typing import Any

from django.db import models
from django.db.models import Count, F, Func, Max, Q, QuerySet, Subquery, Sum, Value

from catalog.models import Category, CustomerPrice, GroupMember, Provider, Service


class _Fraction(Func):
    """A moment's microseconds within its minute: small enough to be summed over any catalogue."""

    output_field = models.BigIntegerField()
    template = "date_part('microseconds', %(expressions)s)::bigint"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # Kept as "2026-01-31 12:34:56.789012", without the fraction when it is 0.
        return self.as_sql(
            compiler,
            connection,
            template="(CAST(substr(%(expressions)s, 18, 2) AS INTEGER) * 1000000"
            " + CAST(substr(%(expressions)s, 21) AS INTEGER))",
            **context,
        )


_SELLABLE = Q(is_sold=True, is_present=True, is_held=False, refusal="")


def version() -> str:
    """A text that is another one after every change of what is on sale, at the list prices."""
    return version_for(None)[0]


def version_for(customer_id: int | None) -> tuple[str, bool]:
    """The version, and whether this customer may pay other prices than the list's; one query.

    It is a text that is another one after every change of what is on sale.

    Besides the latest time of change it has the sum of all: a sync that began earlier may be
    committed after someone's change, with a time that is not the latest.
    """
    visible = Category.objects.filter(is_visible=True)
    enabled = Provider.objects.filter(is_enabled=True)
    terms = {} if customer_id is None else _terms_of(customer_id)
    facts = Service.objects.aggregate(
        **terms,
        sellable=Count("pk", filter=_SELLABLE),
        latest=Max("changed_at"),
        times=Sum(_Fraction("changed_at")),
        headings=_one(visible, Count("pk")),
        headings_latest=_one(Category.objects.all(), Max("changed_at")),
        headings_times=_one(visible, Sum(_Fraction("changed_at"))),
        providers=_one(enabled, Sum("pk")),
        # The same sum of other providers has another sum of squares.
        providers_square=_one(enabled, Sum(F("pk") * F("pk"))),
    )
    has_terms = [facts.pop(name) is not None for name in terms]
    digest = hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()[:32]
    return digest, any(has_terms)


def _terms_of(customer_id: int) -> dict[str, Max]:
    own = CustomerPrice.objects.filter(customer_id=customer_id)
    group = GroupMember.objects.filter(customer_id=customer_id)
    return {"own_price": _one(own, Max("pk")), "group": _one(group, Max("pk"))}


def _one(rows: QuerySet[Any], figure: Any) -> Max:
    """A figure over other rows, as a part of the same query."""
    alone = rows.order_by().annotate(all=Value(1)).values("all").annotate(figure=figure)
    return Max(Subquery(alone.values("figure")))
