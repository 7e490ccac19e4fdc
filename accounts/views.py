from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import translation
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST

from accounts.forms import KeyForm, MailForm, SettingsForm
from accounts.keys import NewKey, create_key, revoke_key, rotate_key
from accounts.requests import CustomerRequest, PageRequest
from accounts.sessions import end_others, end_session, sessions_of
from accounts.terms import terms_text, terms_version

_YEAR = 365 * 24 * 3600
MOST_KEYS = 20


@login_required
def account_settings(request: CustomerRequest) -> HttpResponse:
    """Name, language and time zone, and the way to password, e-mail and two-factor."""
    form = SettingsForm(request.POST or None, instance=request.user)
    if request.method == "POST" and form.is_valid():
        user = form.save()
        if user.language:
            translation.activate(user.language)
        messages.success(request, _("Saved."))
        return redirect("accounts:settings")
    return render(request, "accounts/settings.html", {"form": form})


@login_required
def mails(request: CustomerRequest) -> HttpResponse:
    """Which mails to get."""
    form = MailForm(request.POST or None, instance=request.user)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, _("Saved."))
        return redirect("accounts:mails")
    return render(request, "accounts/mails.html", {"form": form})


@login_required
def sessions(request: CustomerRequest) -> HttpResponse:
    """Where the person is signed in, and a button to end each of it."""
    # Of staff who look at a customer's pages it is their own session, and none of the customer's.
    is_own = not hasattr(request, "looked_at_by")
    current = (request.session.session_key or "") if is_own else ""
    if request.method == "POST":
        _end_sessions(request, current)
        return redirect("accounts:sessions")
    return render(
        request, "accounts/sessions.html", {"sessions": sessions_of(request.user, current)}
    )


def _end_sessions(request: CustomerRequest, current: str) -> None:
    number = request.POST.get("session", "")
    if number == "others":
        end_others(request.user, current)
    elif not end_session(request.user, _number(number)):
        messages.error(request, _("That session has already ended."))
        return
    messages.success(request, _("Signed out there."))


def terms(request: PageRequest) -> HttpResponse:
    """The terms of use, for everybody."""
    text = terms_text()
    if not text:
        raise Http404
    return render(request, "accounts/terms.html", {"text": text, "version": terms_version(text)})


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_variables()
def keys(request: CustomerRequest) -> HttpResponse:
    """The customer's API keys: make, rotate, revoke. A new key is shown on this very answer."""
    if request.method != "POST":
        return _keys_page(request, KeyForm())
    if request.POST.get("do") == "create":
        return _create_key(request)
    own = request.user.api_keys.filter(revoked_at=None)
    key = get_object_or_404(own, pk=_number(request.POST.get("key", "")))
    if request.POST.get("do") == "rotate":
        return _keys_page(request, KeyForm(), made=rotate_key(key))
    revoke_key(key)
    messages.success(request, _("The key is revoked."))
    return redirect("accounts:keys")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


@sensitive_variables()
def _create_key(request: CustomerRequest) -> HttpResponse:
    form = KeyForm(request.POST)
    if not form.is_valid():
        return _keys_page(request, form)
    if request.user.api_keys.filter(revoked_at=None).count() >= MOST_KEYS:
        form.add_error(None, _("Revoke a key first: you have %(number)s.") % {"number": MOST_KEYS})
        return _keys_page(request, form)
    made = create_key(user=request.user, **form.cleaned_data)
    return _keys_page(request, KeyForm(), made=made)


@sensitive_variables()
def _keys_page(
    request: CustomerRequest, form: KeyForm, *, made: NewKey | None = None
) -> HttpResponse:
    context = {"form": form, "made": made, "keys": request.user.api_keys.filter(revoked_at=None)}
    return render(request, "accounts/keys.html", context, status=422 if form.errors else 200)


def _back(request: PageRequest) -> HttpResponseRedirect:
    """To the page the button was on, as long as it is one of ours."""
    target = request.POST.get("next") or request.headers.get("referer", "")
    if not url_has_allowed_host_and_scheme(
        target, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        target = "/"
    return HttpResponseRedirect(target)


@require_POST
def theme(request: PageRequest) -> HttpResponse:
    """Switch between light and dark for browsers without scripts; panel.js does it in place."""
    response = _back(request)
    chosen = "light" if request.COOKIES.get("theme") == "dark" else "dark"
    response.set_cookie("theme", chosen, max_age=_YEAR, samesite="Lax", secure=request.is_secure())
    return response


@require_POST
def language(request: PageRequest) -> HttpResponse:
    """Choose the language of this browser and, when signed in, of the account."""
    response = _back(request)
    chosen = request.POST.get("language", "")
    if chosen not in dict(settings.LANGUAGES):
        return response
    if request.user.is_authenticated and request.user.language != chosen:
        request.user.language = chosen
        request.user.save(update_fields=["language"])
    response.set_cookie(
        settings.LANGUAGE_COOKIE_NAME,
        chosen,
        max_age=_YEAR,
        samesite="Lax",
        secure=request.is_secure(),
    )
    return response
