"""The number of each request, and the admin's own content policy."""

from collections.abc import Callable
from typing import Any

from csp.constants import NONCE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts import trace
from accounts.factors import has_required_factor

# Unfold's Alpine evaluates attributes and its templates carry style elements and attributes.
_ADMIN = {
    "script-src": [SELF, NONCE, UNSAFE_EVAL],
    "style-src": [SELF, UNSAFE_INLINE],
}


class RequestNumber:
    """Gives each request a number, for its log lines and for the answer; a proxy's own is kept."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # A visitor's word is not taken: it could give the number of somebody else's request.
        given = request.headers.get("X-Request-ID", "") if settings.BEHIND_PROXY else ""
        number = trace.safe_id(given)
        request.number = number  # type: ignore[attr-defined]
        with trace.request_context(number):
            response = self.get_response(request)
        response["X-Request-ID"] = number
        return response


class AdminContentPolicy:
    """Relax scripts and styles for the admin alone; customers' pages keep the strict policy."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response: Any = self.get_response(request)
        if request.path.startswith(reverse("admin:index")):
            response._csp_replace = _ADMIN
        return response  # type: ignore[no-any-return]


class StaffTwoFactor:
    """Keep the admin from staff without a second factor, and lead them to where they set it up."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(reverse("admin:index")):
            return self.get_response(request)
        user = request.user
        if not (user.is_authenticated and user.is_staff) or has_required_factor(user):
            return self.get_response(request)
        messages.warning(request, _("Staff sign in with two factors: set up an app first."))
        return redirect("mfa_activate_totp")
