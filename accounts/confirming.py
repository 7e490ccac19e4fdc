"""What can't be taken back by a click needs a sign-in or a password that is minutes old."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from allauth.account.authentication import get_authentication_records
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.models import User

# Dialogs: asked before they are shown, so that nothing typed is lost.
_DIALOGS = {"wallet_account_adjust", "orders_order_resend_unknown", "accounts_user_delete_account"}
# Forms that hold a key or a password: asked when they are sent; what was typed is typed again,
# because it is not for the session.
_FORMS = {"catalog_provider_add", "catalog_provider_change", "auth_user_password_change"}


class ConfirmFirst:
    """Leads staff to confirming who they are, before money made of nothing, a key or a second send."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, _view: Any, _args: Any, _kwargs: Any
    ) -> HttpResponse | None:
        found = request.resolver_match
        if found is None or found.namespace != "admin" or not is_high_value(found, request.method):
            return None
        if not isinstance(request.user, User) or was_recent(request, time.time()):
            return None
        messages.info(request, _("Please confirm that it is you; then do it again."))
        return _ask(request)


def is_high_value(found: Any, method: str | None) -> bool:
    """Whether this address asks for a confirmation under this method."""
    return found.url_name in _DIALOGS or (found.url_name in _FORMS and method == "POST")


def was_recent(request: HttpRequest, now: float) -> bool:
    """Whether this session signed in or confirmed within STAFF_CONFIRM_MINUTES."""
    limit = settings.STAFF_CONFIRM_MINUTES * 60
    if not limit:
        return True
    records = get_authentication_records(request, request.user)
    return bool(records) and now - float(records[-1]["at"]) < limit


def _ask(request: HttpRequest) -> HttpResponse:
    # A dialog is a fragment of its object's page: that is where to go on.
    page = request.path
    if request.resolver_match and request.resolver_match.url_name in _DIALOGS:
        page = f"{page.rstrip('/').rpartition('/')[0]}/change/"
    target = f"{reverse('account_reauthenticate')}?{urlencode({'next': page})}"
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": target})
    return HttpResponseRedirect(target)
