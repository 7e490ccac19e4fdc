"""Whether what is on sale has changed, told by one query that reads a row or two."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import Exists

from catalog.models import CustomerPrice, GroupMember, StockMark


def version() -> str:
    """A text that is another one after every change of what is on sale, at the list prices.

    Empty when nobody knows: nothing may be kept for that state.
    """
    return _together(StockMark.objects.values_list("mark", flat=True))


def version_for(customer_id: int | None) -> tuple[str, bool]:
    """The version, and whether this customer may pay other prices than the list's; one query."""
    if customer_id is None:
        return version(), False
    own = CustomerPrice.objects.filter(customer_id=customer_id)
    group = GroupMember.objects.filter(customer_id=customer_id)
    rows = StockMark.objects.annotate(has_terms=Exists(own) | Exists(group))
    found = list(rows.values_list("mark", "has_terms"))
    # Without a mark there is no row to tell it: then they may.
    return _together(mark for mark, _ in found), all(has_terms for _, has_terms in found)


def _together(marks: Iterable[UUID]) -> str:
    return "-".join(sorted(mark.hex for mark in marks))
