"""The categories of a select."""

from collections.abc import Iterable
from functools import lru_cache

from django import template
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import Truncator

from catalog.shelves import Heading

register = template.Library()

_LONGEST = 48


@register.simple_tag
def heading_options(headings: Iterable[Heading], chosen: int | None) -> SafeString:
    """An option for each; they are made once for the same headings."""
    options = _options(tuple(headings))
    # A quote in a title is escaped, so that only an option's own value is found.
    value = f' value="{chosen}"'
    return mark_safe(options.replace(value, f"{value} selected", 1))  # noqa: S308 - as made below


# A page has one catalogue's, or those of the moment before.
@lru_cache(maxsize=2)
def _options(headings: tuple[Heading, ...]) -> SafeString:
    return format_html_join(
        "\n", '<option value="{}">{}</option>', ((each.pk, _short(each.title)) for each in headings)
    )


def _short(title: str) -> str:
    return title if len(title) <= _LONGEST else Truncator(title).chars(_LONGEST, truncate="…")
