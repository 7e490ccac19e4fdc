"""The admin's menu, for one request."""

from typing import Any

from django.http import HttpRequest

from panel.attention import badge
from panel.unfold import NEEDS_ATTENTION, menu


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The menu, with a number beside what needs attention; without one when nothing does.

    The theme draws a badge for an empty number too, so the entry has none then.
    """
    groups = menu()
    waiting = badge(request)
    for group in groups:
        for item in group["items"]:
            if waiting and item["title"] == NEEDS_ATTENTION:
                item["badge"] = waiting
    return groups
