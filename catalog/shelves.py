"""What stands for sale under which heading, read once for a page: lists are cut and counted by it."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce, NullIf
from django.db.models.lookups import IContains

from catalog.models import Category, Provider, Service, ServiceQuerySet
from catalog.platforms import PLATFORMS, Platform, named_in

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


class Heading(NamedTuple):
    """A category as the pages name it; there may be thousands, so no more of them is read."""

    pk: int
    title: str


@dataclass(frozen=True)
class Shelves:
    """The visible categories with something on sale, in order, and how many services each has."""

    rows: tuple[tuple[Heading, int], ...]

    @property
    def categories(self) -> list[Heading]:
        return [category for category, _ in self.rows]

    @property
    def count(self) -> int:
        """How many services stand on them."""
        return sum(count for _, count in self.rows)

    @property
    def platforms(self) -> list[Platform]:
        """The platforms that the categories name, in the table's order."""
        named: set[str] = set()
        for category, _ in self.rows:
            named |= named_in(category.title)
        return [platform for platform in PLATFORMS if platform.key in named]

    def of(self, category: int) -> "Shelves":
        return Shelves(tuple(row for row in self.rows if row[0].pk == category))

    def saying(self, word: str) -> list[int]:
        """The categories that have this in their title, in capitals or not."""
        folded = word.casefold()
        return [each.pk for each in self.categories if folded in each.title.casefold()]

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
    """What is on sale by category, in two queries that read an index and the categories."""
    # An index answers it alone: nothing else of a service may be asked for.
    sold = dict(
        Service.objects.filter(_SOLD, provider__in=_enabled())
        .order_by()
        .values_list("category_id")
        .annotate(count=Count("*"))
    )
    visible = _headings(Category.objects.filter(is_visible=True))
    return Shelves(tuple((each, sold[each.pk]) for each in visible if each.pk in sold))


def first_categories(most: int) -> list[Heading]:
    """The first visible categories with something on sale; no more of the catalogue is read."""
    sold = Service.objects.filter(_SOLD, category=OuterRef("pk"), provider__in=_enabled())
    return _headings(Category.objects.filter(Exists(sold), is_visible=True)[:most])


def _headings(categories: QuerySet[Category]) -> list[Heading]:
    return [
        Heading(pk, own or name)
        for pk, own, name in categories.values_list("pk", "own_name", "name")
    ]


def _enabled() -> QuerySet[Provider, int]:
    return Provider.objects.filter(is_enabled=True).values_list("pk", flat=True)


def for_platform(platform: Platform, stock: Shelves) -> tuple[Q, Shelves]:
    """Which services are for this platform, and the shelves they stand on.

    A category that names platforms decides for all of its services. In one that names none, each
    service's own name does.
    """
    named = {category.pk: named_in(category.title) for category in stock.categories}
    mine = {pk for pk, keys in named.items() if platform.key in keys}
    by_name = Q()
    for word in platform.words:
        by_name |= is_named(word)
    by_name &= Q(category_id__in=[pk for pk, keys in named.items() if not keys])
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
