from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render

from accounts.requests import CustomerRequest
from wallet.models import Entry
from wallet.paging import page_of


@login_required
def overview(request: CustomerRequest) -> HttpResponse:
    """The balance, how to add funds, and every movement of money."""
    entries = Entry.objects.filter(account__user_id=request.user.pk)
    kind = request.GET.get("type", "")
    if kind in Entry.Kind.values:
        entries = entries.filter(kind=kind)
    context = {
        "page": page_of(entries, request.GET),
        "kinds": Entry.Kind.choices,
        "kind": kind if kind in Entry.Kind.values else "",
        "instructions": settings.TOP_UP_INSTRUCTIONS,
    }
    return render(request, "wallet/overview.html", context)
