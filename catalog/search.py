"""Finds services by words and numbers, at a price that hardly grows with the catalogue.

What a category's title says is known from the shelves, so only a service's own name is left to the
database, and of that no more is read than a page shows.
"""

from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

from django.db.models import Case, Q, QuerySet, Value, When

from catalog.models import Service
from catalog.shelves import Shelved, Shelves, is_named, is_named_among_few, on_sale

# A search is counted, and shown, up to so many: who found more types another word.
MOST_FOUND = 1_000
_MOST_WORDS = 6
_LONGEST = 100
_LONGEST_ID = 18
# How many services are read for each one shown, before all are.
_STRETCH = 10


@dataclass(frozen=True)
class Words:
    """A text as services are looked for with it; false when nothing was typed."""

    words: tuple[str, ...]
    number: int | None

    def __bool__(self) -> bool:
        return bool(self.words)

    def whole(self, stock: Shelves) -> set[int]:
        """The categories with every word in their title."""
        saying = [set(stock.saying(word)) for word in self.words]
        return set.intersection(*saying) if saying else set()

    def condition(
        self,
        stock: Shelves,
        besides: Set[int] = frozenset(),
        named: Callable[[str], Q] = is_named,
    ) -> Q:
        """Every word is in the service's name or its category's, or the number is the service's.

        For services that don't stand in the categories `besides`.
        """
        found = Q()
        for word in self.words:
            # A number is compared before a name is looked through: the order is kept by the database.
            found &= Q(category_id__in=set(stock.saying(word)) - besides) | named(word)
        return found if self.number is None else found | Q(pk=self.number)


def words_of(text: str) -> Words:
    """What somebody typed, cut to what is looked for."""
    # PostgreSQL stores no NUL and refuses to compare with one.
    text = text.replace("\x00", "").strip()[:_LONGEST]
    number = text.removeprefix("#")
    is_number = number.isascii() and number.isdigit() and len(number) <= _LONGEST_ID
    return Words(tuple(text.split()[:_MOST_WORDS]), int(number) if is_number else None)


class Found:
    """What words find among `services`, for a paginator.

    `services` are all that `stock` counts, and `among` tells them from others on sale. Beyond a
    thousand it counts, and shows, no more; but a category whose title has every word is known to
    match whole, however large it is.
    """

    def __init__(
        self,
        services: QuerySet[Service],
        words: Words,
        stock: Shelves,
        *,
        among: Q | None = None,
        sort: Sequence[str] = (),
    ) -> None:
        self._words, self._stock, self._sort = words, stock, sort
        self._whole = set() if words.number is not None else words.whole(stock)
        self._services, self._found = services, services.filter(words.condition(stock))
        # Without what the shown services are joined with to be priced.
        self._plain = on_sale().select_related(None).order_by().filter(among or Q())

    @cached_property
    def _by_name(self) -> dict[int, int]:
        """Categories by key of any that their own names, not whole categories, have found."""
        condition = self._words.condition(self._stock, besides=self._whole)
        rows = self._plain.filter(condition).exclude(category_id__in=self._whole)
        return dict(rows.values_list("pk", "category_id")[: MOST_FOUND + 1])

    @property
    def is_more(self) -> bool:
        """Whether there are more than were counted."""
        return len(self._by_name) > MOST_FOUND

    @cached_property
    def _shelves(self) -> Shelves:
        counts = Counter(self._by_name.values())
        counts.update({each.pk: n for each, n in self._stock.rows if each.pk in self._whole})
        return self._stock.with_counts(counts)

    def count(self) -> int:
        return MOST_FOUND if self.is_more else self._shelves.count

    __len__ = count

    def __getitem__(self, page: slice) -> QuerySet[Service]:
        if self._sort or self._words.number is not None:
            is_few = not (self.is_more or self._whole)
            rows = self._services.filter(pk__in=self._by_name) if is_few else self._found
            return in_order(rows, self._words, self._sort)[page]
        if self._is_worth_a_look:
            first = self._stock.first(_STRETCH * page.stop)
            condition = self._words.condition(self._stock, named=is_named_among_few)
            near = self._services.filter(condition, category_id__in=first)[page]
            is_all = len(first) == len(self._stock.rows)
            if is_all or len(near) == page.stop - page.start:
                return near
        return self._found[page] if self.is_more else Shelved(self._found, self._shelves)[page]

    @property
    def _is_worth_a_look(self) -> bool:
        """Whether enough may stand on the first shelves: what is found often is soon found.

        A heading that says every word may be anywhere; then, and when a paginator has counted them
        anyway, the number tells.
        """
        return self.is_more if self._whole or "_by_name" in vars(self) else True


def in_order(
    services: QuerySet[Service], words: Words, sort: Sequence[str] = ()
) -> QuerySet[Service]:
    """The service whose number was typed, then the others in the order of `sort`, or the catalogue's."""
    order = sort or Service._meta.ordering or ()
    if words.number is None:
        return services.order_by(*order)
    is_it = Case(When(pk=words.number, then=Value(0)), default=Value(1))
    return services.order_by(is_it, *order)
