"""The pages on which a customer says what they paid."""

import uuid

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import FileResponse, Http404, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from accounts.factors import has_required_factor
from accounts.models import User
from accounts.requests import CustomerRequest
from wallet.errors import TooManyRequests
from wallet.forms import TopUpForm
from wallet.models import TopUpMethod, TopUpRequest
from wallet.paging import key
from wallet.proofs import TYPES
from wallet.topups import file_request


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def add(request: CustomerRequest) -> HttpResponse:
    """Choose a way to pay, read how, and say what was paid."""
    methods = list(TopUpMethod.objects.filter(is_offered=True))
    if not methods:
        return redirect("wallet:overview")
    chosen = key(request.POST.get("method") or request.GET.get("method"))
    method = next((each for each in methods if each.pk == chosen), methods[0])
    form = TopUpForm(method, request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid() and _file(request, form):
        messages.success(
            request, _("Thank you. Your balance changes as soon as we have found the payment.")
        )
        return redirect("wallet:overview")
    token = request.POST.get("token") or uuid.uuid4()
    context = {"methods": methods, "method": method, "form": form, "token": token}
    return render(request, "wallet/add.html", context)


def _file(request: CustomerRequest, form: TopUpForm) -> TopUpRequest | None:
    try:
        return file_request(
            user=request.user,
            method=form.method,
            amount=form.cleaned_data["amount"],
            reference=form.cleaned_data["reference"],
            client_token=uuid.UUID(request.POST.get("token", "")),
            proof=form.cleaned_data["proof"],
        )
    except TooManyRequests:
        form.add_error(
            None, _("We are still checking your earlier payments. Please wait for them.")
        )
    except ValueError:
        form.add_error(None, _("Please send the form again."))
    return None


def _may_see_all(user: User) -> bool:
    """Whoever sees receipts in the admin: this page is outside, and asks what the admin asks."""
    is_let_in = user.is_staff and has_required_factor(user)
    return is_let_in and user.has_perm("wallet.view_topuprequest")


@login_required
@require_GET
def proof(request: CustomerRequest, pk: int) -> HttpResponseBase:
    """The picture of a receipt, to keep: for its owner and for staff, never shown in place."""
    found = get_object_or_404(TopUpRequest.objects.exclude(proof=""), pk=pk)
    is_owner = TopUpRequest.objects.filter(pk=pk, account__user_id=request.user.pk).exists()
    if not is_owner and not _may_see_all(request.user):
        raise Http404
    kind = str(found.proof.name).rpartition(".")[2]
    try:
        content = found.proof.open()
    except FileNotFoundError:
        raise Http404 from None
    return FileResponse(
        content,
        as_attachment=True,
        filename=f"receipt-{found.pk}.{kind}",
        content_type=TYPES.get(kind, "application/octet-stream"),
        headers={
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cache-Control": "private, no-store",
        },
    )
