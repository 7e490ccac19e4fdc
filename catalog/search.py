"""Finds services for customers, over the whole catalogue."""

from django.db.models import Case, Exists, IntegerField, OuterRef, Q, QuerySet, Value, When

from catalog.models import Category, Service, ServiceQuerySet

_MOST_WORDS = 6
_LONGEST = 100
_LONGEST_ID = 18


def on_sale() -> QuerySet[Service]:
    """What a customer can order now, with its category."""
    return ServiceQuerySet(Service).on_sale().select_related("category")


def search(text: str, category: int | None = None) -> QuerySet[Service]:
    """Services on sale with every word of `text` in their name or category, or with that number.

    The service whose number was typed comes first.
    """
    found = on_sale()
    if category is not None:
        found = found.filter(category_id=category)
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


def categories(limit: int) -> list[Category]:
    """The first categories that have something on sale."""
    sold = ServiceQuerySet(Service).on_sale().filter(category=OuterRef("pk"))
    return list(Category.objects.filter(Exists(sold), is_visible=True)[:limit])
