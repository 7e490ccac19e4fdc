"""Reads what is stored of a provider's catalogue, in the form in which it is compared."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from django.db.models import QuerySet

from catalog.bulk import insert_rows
from catalog.compare import Heading, Known, Stored, Terms, Thresholds
from catalog.models import Category, Provider, Service
from catalog.pricing import NO_RULE, Rule
from catalog.rows import Facts

# The category's name is stored as a key.
FACT_COLUMNS = Facts._fields[1:]


# What of a provider's list its settings may keep a sync from overwriting.
_FIELDS_OF = {
    "sync_names": ("name",),
    "sync_descriptions": ("description",),
    "sync_categories": ("category",),
    "sync_limits": ("min_quantity", "max_quantity"),
    "sync_flags": ("refill", "cancel", "dripfeed"),
}
_RULE = ("markup_percent", "markup_fixed", "margin_min", "rounding_step")
_UNRULED = (None, None, None, None)


def terms_of(provider: Provider) -> Terms:
    """What this provider's prices are made with, and how its list is taken over."""
    kept = (fields for setting, fields in _FIELDS_OF.items() if not getattr(provider, setting))
    return Terms(
        exchange_rate=Decimal(provider.exchange_rate),
        rules=(_exact(provider.rule), provider.site_rule),
        thresholds=Thresholds(
            cost_up=None if provider.hold_cost_up is None else Decimal(provider.hold_cost_up),
            vanishing=Decimal(provider.hold_vanishing),
            retyped=provider.hold_retyped,
            renamed=provider.hold_renamed,
            below_cost=provider.hold_below_cost,
        ),
        kept=frozenset(name for fields in kept for name in fields),
    )


def _exact(rule: Rule) -> Rule:
    # An instance that was just made still holds what it was given, such as a whole number.
    return Rule(*(None if value is None else Decimal(value) for value in rule))


def read_stored(provider_id: int, among: QuerySet[Service] | None = None) -> Stored:
    """A provider's services (those of `among`, if given) and their categories, in one query."""
    rows = Service.objects.all() if among is None else among
    services: dict[str, Known] = {}
    categories: dict[str, Heading] = {}
    columns = ["upstream_id", "pk", "price_rate", "pinned_rate", "is_present", "is_held"]
    columns += [
        "set_aside",
        "keeps_category",
        "category_id",
        *_RULE,
        *(f"category__{name}" for name in _RULE),
    ]
    columns += ["category__name", *FACT_COLUMNS]
    chosen = rows.filter(provider_id=provider_id).order_by().values_list(*columns)
    for upstream_id, pk, price, pinned, present, held, aside, stays, category, *rest in chosen:
        rule, facts = _rule(rest[:4]), Facts(*rest[8:])
        services[upstream_id] = Known(pk, facts, price, pinned, present, held, aside, stays, rule)
        if facts.category not in categories:
            categories[facts.category] = Heading(category, _rule(rest[4:8]))
    return Stored(services, categories)


def _rule(values: Sequence[Decimal | None]) -> Rule:
    return NO_RULE if tuple(values) == _UNRULED else Rule(*values)


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
        stored.categories[category.name] = Heading(category.pk, category.rule)
