"""What follows from who is signed in: language, time zone, and the second factor of staff."""

import zoneinfo
from collections.abc import Callable

from django.conf import settings
from django.http import HttpResponse
from django.utils import timezone, translation

from accounts.requests import PageRequest


class PersonalLocaleMiddleware:
    """Puts the account's language and time zone before what the browser asks for."""

    def __init__(self, get_response: Callable[[PageRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: PageRequest) -> HttpResponse:
        if not request.user.is_authenticated:
            return self.get_response(request)
        if request.user.language in dict(settings.LANGUAGES):
            translation.activate(request.user.language)
            request.LANGUAGE_CODE = translation.get_language() or settings.LANGUAGE_CODE
        with timezone.override(zone(request.user.time_zone)):
            return self.get_response(request)


def zone(name: str) -> zoneinfo.ZoneInfo | None:
    """The time zone of that name; None, which means the site's, when there is none."""
    if not name:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return None  # the system's list lost a name that was chosen once
