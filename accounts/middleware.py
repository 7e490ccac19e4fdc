"""What follows from who is signed in: language, time zone, and for how long staff stay so."""

import time
import zoneinfo
from collections.abc import Callable

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpResponse
from django.utils import timezone, translation
from django.utils.translation import gettext as _

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


class StaffSession:
    """Signs staff out at the latest STAFF_SESSION_HOURS after they signed in, and when they were away.

    Both times stand in the session itself, so no clock of a browser and no cookie can stretch them.
    """

    def __init__(self, get_response: Callable[[PageRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: PageRequest) -> HttpResponse:
        if request.user.is_authenticated and request.user.is_staff:
            self._check(request, int(time.time()))
        return self.get_response(request)

    def _check(self, request: PageRequest, now: int) -> None:
        session = request.session
        began, seen = session.get(_BEGAN, now), session.get(_SEEN, now)
        if is_over(began=began, seen=seen, now=now):
            # The request goes on as a stranger's: whoever needs staff asks to sign in.
            logout(request)
            messages.info(request, _("Staff sessions end after a while: please sign in again."))
            return
        if _BEGAN not in session:
            session[_BEGAN] = now
        # One write a minute is exact enough.
        if _SEEN not in session or now - seen >= _NOTED_EVERY:
            session[_SEEN] = now


def is_over(*, began: int, seen: int, now: int) -> bool:
    """Whether a staff session that began and was last used then (in seconds) has ended by now."""
    is_old = now - began >= settings.STAFF_SESSION_HOURS * 3600
    idle = settings.STAFF_IDLE_MINUTES * 60
    return is_old or bool(idle and now - seen >= idle)


_BEGAN, _SEEN = "staff_began", "staff_seen"
_NOTED_EVERY = 60
