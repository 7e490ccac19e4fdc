"""Finds services for customers, over the whole catalogue."""

from django.db.models import Case, Exists, IntegerField, OuterRef, Q, QuerySet, Value, When

from catalog.models import Category, Service, ServiceQuerySet
from catalog.platforms import PLATFORMS, Platform, named_in

_MOST_WORDS = 6
_LONGEST = 100
_LONGEST_ID = 18


def on_sale() -> QuerySet[Service]:
    """What a customer can order now, with its category."""
    return ServiceQuerySet(Service).on_sale().select_related("category")


def search(
    text: str, category: int | None = None, platform: Platform | None = None
) -> QuerySet[Service]:
    """Services on sale with every word of `text` in their name or category, or with that number.

    The service whose number was typed comes first.
    """
    found = on_sale()
    if category is not None:
        found = found.filter(category_id=category)
    if platform is not None:
        found = found.filter(_names(platform))
    # PostgreSQL stores no NUL and refuses to compare with one.
    text = text.replace("\x00", "").strip()[:_LONGEST]
    words = Q()
    for word in text.split()[:_MOST_WORDS]:
        words &= (
            Q(own_name__icontains=word)
            | Q(own_name="", name__icontains=word)
            | Q(category__own_name__icontains=word)
            | Q(category__own_name="", category__name__icontains=word)
        )
    number = text.removeprefix("#")
    if not (number.isascii() and number.isdigit() and len(number) <= _LONGEST_ID):
        return found.filter(words)
    is_it = Case(When(pk=int(number), then=Value(0)), default=Value(1), output_field=IntegerField())
    return found.filter(words | Q(pk=int(number))).order_by(is_it, *(Service._meta.ordering or ()))


def _names(platform: Platform) -> Q:
    named = Q()
    for word in platform.words:
        named |= (
            Q(own_name__icontains=word)
            | Q(own_name="", name__icontains=word)
            | Q(category__own_name__icontains=word)
            | Q(category__own_name="", category__name__icontains=word)
        )
    return named


def platforms() -> list[Platform]:
    """The platforms that visible categories with something on sale name, in the table's order."""
    sold = ServiceQuerySet(Service).on_sale().filter(category=OuterRef("pk"))
    shown = Category.objects.filter(Exists(sold), is_visible=True)
    named: set[str] = set()
    for own_name, name in shown.values_list("own_name", "name"):
        named |= named_in(own_name or name)
    return [platform for platform in PLATFORMS if platform.key in named]


def categories(limit: int) -> list[Category]:
    """The first categories that have something on sale."""
    sold = ServiceQuerySet(Service).on_sale().filter(category=OuterRef("pk"))
    return list(Category.objects.filter(Exists(sold), is_visible=True)[:limit])
