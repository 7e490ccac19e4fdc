"""Reads what is stored of a provider's catalogue, in the form in which it is compared."""

from collections.abc import Iterable
from decimal import Decimal

from django.conf import settings
from django.db.models import QuerySet

from catalog.bulk import insert_rows
from catalog.compare import Heading, Known, Stored, Terms
from catalog.models import Category, Provider, Service
from catalog.rows import Facts

# The category's name is stored as a key.
FACT_COLUMNS = Facts._fields[1:]


def terms_of(provider: Provider) -> Terms:
    """The exchange rate and the markups of provider and site."""
    markup = provider.markup_percent
    return Terms(
        exchange_rate=Decimal(provider.exchange_rate),
        markups=(None if markup is None else Decimal(markup), settings.MARKUP_PERCENT),
    )


def read_stored(provider_id: int, among: QuerySet[Service] | None = None) -> Stored:
    """A provider's services (those of `among`, if given) and their categories, in one query."""
    rows = Service.objects.all() if among is None else among
    services: dict[str, Known] = {}
    categories: dict[str, Heading] = {}
    columns = ["upstream_id", "pk", "price_rate", "pinned_rate", "markup_percent", "is_present"]
    columns += ["category_id", "category__markup_percent", "category__name", *FACT_COLUMNS]
    chosen = rows.filter(provider_id=provider_id).order_by().values_list(*columns)
    for upstream_id, pk, price, pinned, own, is_present, category, markup, *facts in chosen:
        services[upstream_id] = Known(pk, Facts(*facts), price, pinned, own, is_present)
        categories[facts[0]] = Heading(category, markup)
    return Stored(services, categories)


def add_categories(stored: Stored, names: Iterable[str]) -> None:
    """Make the categories that nobody named before, and note all of them in `stored`."""
    missing = set(names) - stored.categories.keys()
    if not missing:
        return
    _note(stored, missing)
    # In one order everywhere, so that two syncs that make the same ones can't block each other.
    new = sorted(missing - stored.categories.keys())
    if new:
        insert_rows(Category, ["name"], [(name,) for name in new])
        _note(stored, new)


def _note(stored: Stored, names: Iterable[str]) -> None:
    for category in Category.objects.filter(name__in=names):
        stored.categories[category.name] = Heading(category.pk, category.markup_percent)
