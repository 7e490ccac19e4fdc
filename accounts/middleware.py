"""What follows from who is signed in: language, time zone, and the second factor of staff."""

import zoneinfo
from collections.abc import Callable

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
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


class StaffTwoFactorMiddleware:
    """Lets staff into the admin with a second factor only, and to its set-up until they have one.

    The second factor itself is asked for at sign-in, of everybody who has one.
    """

    def __init__(self, get_response: Callable[[PageRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: PageRequest) -> HttpResponse:
        if not self._lacks_factor(request):
            return self.get_response(request)
        messages.info(request, _("Staff need a second factor: please set it up first."))
        return redirect("mfa_activate_totp")

    def _lacks_factor(self, request: PageRequest) -> bool:
        if not settings.STAFF_TWO_FACTOR or not request.path.startswith(reverse("admin:index")):
            return False
        if not (request.user.is_authenticated and request.user.is_staff):
            return False
        return not Authenticator.objects.filter(user=request.user).exists()
