"""The customers' pages about API v2: the document, its OpenAPI description, and callbacks."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_safe

from accounts.requests import CustomerRequest
from orders import api_docs
from orders.callbacks import (
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    InvalidAddress,
    new_secret,
    set_callback,
)
from orders.models import Callback

_SHOWN_DELIVERIES = 20


def _address() -> str:
    return f"{settings.SITE_URL}/api/v2"


@require_safe
def document(request: HttpRequest) -> HttpResponse:
    """What the API offers, in the layout in which panels write it down."""
    context = {
        "url": _address(),
        "before": [(call, api_docs.table(call)) for call in api_docs.BEFORE_ADD],
        "adds": [(call.order_type, api_docs.table(call)) for call in api_docs.ADDS],
        "added": api_docs.ADDS[0],
        "after": [(call, api_docs.table(call)) for call in api_docs.AFTER_ADD],
        "examples": api_docs.examples(_address()),
        "timestamp_header": TIMESTAMP_HEADER,
        "signature_header": SIGNATURE_HEADER,
    }
    return render(request, "orders/api.html", context)


@require_safe
def openapi(_request: HttpRequest) -> HttpResponse:
    """The same for programs, in English."""
    with translation.override("en"):
        return JsonResponse(api_docs.openapi(_address(), settings.SITE_NAME))


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_variables()
def callbacks(request: CustomerRequest) -> HttpResponse:
    """Name the address that is told about changes, and see what it last answered."""
    callback = Callback.objects.filter(customer=request.user).first()
    if request.method == "POST":
        return _change(request, callback)
    return _page(request, callback)


@sensitive_variables()
def _change(request: CustomerRequest, callback: Callback | None) -> HttpResponse:
    wanted = request.POST.get("do", "")
    if wanted == "save":
        return _save(request, callback)
    if callback is not None and wanted == "secret":
        callback.secret = new_secret()
        callback.save(update_fields=["secret"])
        return _page(request, callback, secret=callback.secret)
    if callback is not None and wanted == "stop":
        callback.is_active = False
        callback.save(update_fields=["is_active"])
        messages.success(request, _("Nothing is sent any more."))
    return redirect("api:callbacks")


@sensitive_variables()
def _save(request: CustomerRequest, callback: Callback | None) -> HttpResponse:
    url = request.POST.get("url", "").strip()
    try:
        saved = set_callback(request.user, url)
    except InvalidAddress as exc:
        return _page(request, callback, url=url, problem=str(exc))
    if callback is None:
        # Shown this once.
        return _page(request, saved, secret=saved.secret)
    messages.success(request, _("Saved."))
    return redirect("api:callbacks")


@sensitive_variables()
def _page(
    request: CustomerRequest,
    callback: Callback | None,
    *,
    url: str | None = None,
    problem: str = "",
    secret: str = "",
) -> HttpResponse:
    kept = callback.url if callback else ""
    sent = callback.deliveries.all()[:_SHOWN_DELIVERIES] if callback else []
    context = {
        "callback": callback,
        "url": kept if url is None else url,
        "problem": problem,
        "secret": secret,
        "deliveries": sent,
        "timestamp_header": TIMESTAMP_HEADER,
        "signature_header": SIGNATURE_HEADER,
    }
    return render(request, "orders/callbacks.html", context, status=422 if problem else 200)
