"""What stands for sale under which heading, read once for a page: lists are cut and counted by it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import NamedTuple

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, NullIf
from django.db.models.lookups import IContains

from catalog.models import Category, Provider, Service, ServiceQuerySet
from catalog.platforms import PLATFORMS, Platform, named_in
from catalog.version import version

# As the indexes `service_sold_in_category` and `service_sold_by_price` have it.
_SOLD = Q(is_sold=True, is_present=True, is_held=False, refusal="")


def on_sale() -> QuerySet[Service]:
    """What a customer can order now, with its category."""
    return ServiceQuerySet(Service).on_sale().select_related("category")


def is_named(word: str) -> Q:
    """Whether the name that customers see has this in it, in capitals or not.

    PostgreSQL answers it by the index `service_by_part_of_name`, which has this very expression.
    """
    return Q(IContains(Coalesce(NullIf("own_name", Value("")), "name"), word))


def is_named_among_few(word: str) -> Q:
    """The same, for services that are found by something else: no index is gone through for it."""
    return Q(own_name="", name__icontains=word) | Q(own_name__icontains=word)


class Heading(NamedTuple):
    """A category as the pages name it; there may be thousands, so no more of them is read."""

    pk: int
    title: str


@dataclass(frozen=True)
class Shelves:
    """The visible categories with something on sale, in order, and how many services each has."""

    rows: tuple[tuple[Heading, int], ...]

    @cached_property
    def categories(self) -> list[Heading]:
        return [category for category, _ in self.rows]

    @cached_property
    def count(self) -> int:
        """How many services stand on them."""
        return sum(count for _, count in self.rows)

    @cached_property
    def platforms(self) -> list[Platform]:
        """The platforms that the categories name, in the table's order."""
        named = frozenset().union(*self.named.values())
        return [platform for platform in PLATFORMS if platform.key in named]

    @cached_property
    def named(self) -> dict[int, frozenset[str]]:
        """The keys of the platforms that each category names."""
        return {each.pk: named_in(each.title) for each in self.categories}

    @cached_property
    def _folded(self) -> list[tuple[int, str]]:
        return [(each.pk, each.title.casefold()) for each in self.categories]

    def of(self, category: int) -> "Shelves":
        return Shelves(tuple(row for row in self.rows if row[0].pk == category))

    def saying(self, word: str) -> list[int]:
        """The categories that have this in their title, in capitals or not."""
        folded = word.casefold()
        return [pk for pk, title in self._folded if folded in title]

    def with_counts(self, counts: Mapping[int, int]) -> "Shelves":
        """These shelves with so many services by category, without the empty ones."""
        rows = ((each, counts.get(each.pk, 0)) for each, _ in self.rows)
        return Shelves(tuple(row for row in rows if row[1]))

    def first(self, most: int) -> list[int]:
        """The first categories, until so many services stand in them."""
        before = accumulate((count for _, count in self.rows), initial=0)
        return [
            each.pk for (each, _), passed in zip(self.rows, before, strict=False) if passed < most
        ]


def shelves() -> Shelves:
    """What is on sale by category: counted once, then kept until something on sale has changed.

    Each process keeps its own. The state is asked for first, so what changes while it is counted is
    another state, and counted again.
    """
    state = version()
    return _of_state(state) if state else _counted()


@lru_cache(maxsize=1)
def _of_state(state: str) -> Shelves:  # noqa: ARG001 - what it is kept by
    return _counted()


def _counted() -> Shelves:
    """What is on sale by category, in one query that reads an index and the categories."""
    # The index answers it alone: nothing else of a service may be asked for.
    sold = Service.objects.filter(_SOLD, category=OuterRef("pk"), provider__in=_enabled())
    alone = sold.order_by().values("category").annotate(count=Count("*")).values("count")
    visible = Category.objects.filter(is_visible=True).annotate(sold=Subquery(alone))
    rows = visible.values_list("pk", "own_name", "name", "sold")
    return Shelves(tuple((Heading(pk, own or name), sold) for pk, own, name, sold in rows if sold))


def _enabled() -> QuerySet[Provider, int]:
    return Provider.objects.filter(is_enabled=True).values_list("pk", flat=True)


def for_platform(platform: Platform, stock: Shelves) -> tuple[Q, Shelves]:
    """Which services are for this platform, and the shelves they stand on.

    A category that names platforms decides for all of its services. In one that names none, each
    service's own name does.
    """
    mine = {pk for pk, keys in stock.named.items() if platform.key in keys}
    by_name = Q()
    for word in platform.words:
        by_name |= is_named(word)
    by_name &= Q(category_id__in=[pk for pk, keys in stock.named.items() if not keys])
    counted = on_sale().filter(by_name).order_by().values_list("category_id")
    counts = {each.pk: count for each, count in stock.rows if each.pk in mine}
    counts |= dict(counted.annotate(count=Count("*")))
    return Q(category_id__in=mine) | by_name, stock.with_counts(counts)


class Counted:
    """Services for a paginator, of which it is known how many there are."""

    def __init__(self, services: QuerySet[Service], count: int) -> None:
        self._services = services
        self._count = count

    def count(self) -> int:
        return self._count

    __len__ = count

    def __getitem__(self, page: slice) -> QuerySet[Service]:
        return self._services[page]


class Shelved:
    """Services in the catalogue's order, for a paginator: only the shelves of a page are read.

    `services` are all that `shelves` count.
    """

    def __init__(self, services: QuerySet[Service], shelves: Shelves) -> None:
        self._services = services
        self._shelves = shelves

    def count(self) -> int:
        return self._shelves.count

    __len__ = count

    def __getitem__(self, page: slice) -> QuerySet[Service]:
        passed = skipped = 0
        chosen: list[int] = []
        for category, count in self._shelves.rows:
            if passed + count <= page.start:
                skipped += count
            elif passed < page.stop:
                chosen.append(category.pk)
            passed += count
        found = self._services.filter(category_id__in=chosen)
        return found[page.start - skipped : page.stop - skipped]
