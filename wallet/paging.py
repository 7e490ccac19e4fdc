"""Pages of a long list by key: as fast at the millionth row as at the first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import Model, Q, QuerySet
from django.http import QueryDict

PAGE_SIZE = 50
_LONGEST_KEY = 18

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Rows newest first; `older` and `newer` are the queries of the neighbouring pages, or empty."""

    rows: list[Row]
    older: str
    newer: str


def key(text: str | None) -> int | None:
    """The row number in a query parameter, if it is one."""
    if not text or not text.isascii() or not text.isdigit() or len(text) > _LONGEST_KEY:
        return None
    return int(text)


def page_of(
    rows: QuerySet[Any], query: QueryDict, size: int = PAGE_SIZE, meant: Sequence[Q] | None = None
) -> Page[Any]:
    """The page that `?before=` or `?after=` names; the newest rows without either.

    With `meant`, the rows that fit any of its conditions: each is asked for by itself, so that each
    is answered by its own index, and none of them is read further than the page needs.
    """
    before, after = key(query.get("before")), key(query.get("after"))
    if after is not None:
        found = _first(rows.filter(pk__gt=after), "pk", size + 1, meant)
        has_newer, shown = len(found) > size, found[:size][::-1]
        return _page(shown, query, has_older=True, has_newer=has_newer)
    if before is not None:
        rows = rows.filter(pk__lt=before)
    found = _first(rows, "-pk", size + 1, meant)
    return _page(found[:size], query, has_older=len(found) > size, has_newer=before is not None)


def _first(rows: QuerySet[Any], order: str, count: int, meant: Sequence[Q] | None) -> list[Any]:
    rows = rows.order_by(order)
    if meant is None:
        return list(rows[:count])
    keys = {
        pk
        for condition in meant
        for pk in rows.filter(condition).values_list("pk", flat=True)[:count]
    }
    nearest = sorted(keys, reverse=order.startswith("-"))[:count]
    return list(rows.filter(pk__in=nearest)) if nearest else []


def _page(shown: list[Any], query: QueryDict, *, has_older: bool, has_newer: bool) -> Page[Any]:
    def neighbour(name: str, row: Any) -> str:
        changed = query.copy()
        for other in ("before", "after"):
            changed.pop(other, None)
        changed[name] = str(row.pk)
        return f"?{changed.urlencode()}"

    return Page(
        rows=shown,
        older=neighbour("before", shown[-1]) if shown and has_older else "",
        newer=neighbour("after", shown[0]) if shown and has_newer else "",
    )
