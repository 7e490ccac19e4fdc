"""The price list, and the services a customer keeps at hand."""

from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from accounts.requests import CustomerRequest, PageRequest
from catalog.models import Favourite, Service
from catalog.platforms import BY_KEY
from catalog.search import categories, on_sale, platforms, search
from wallet.paging import PAGE_SIZE, key

# A select of more would weigh more than the rest of the page; the search finds the others.
MOST_CATEGORIES = 150
MOST_FAVOURITES = 200
_SORTS = {"price": ["price_rate", "pk"], "-price": ["-price_rate", "pk"]}


@require_GET
def services(request: PageRequest) -> HttpResponse:
    """The price list: searched, filtered and cut into pages by the server."""
    if not (request.user.is_authenticated or settings.PUBLIC_CATALOG):
        return redirect_to_login(request.get_full_path())
    favourites = _favourites(request)
    found = _found(request, favourites)
    sort = request.GET.get("sort", "")
    if sort in _SORTS:
        found = found.order_by(*_SORTS[sort])
    page = Paginator(found, PAGE_SIZE).get_page(request.GET.get("page"))
    context: dict[str, Any] = {
        "page": page,
        "text": request.GET.get("q", ""),
        "category": key(request.GET.get("category")),
        "categories": categories(MOST_CATEGORIES),
        "platform": request.GET.get("platform", ""),
        "platforms": platforms(),
        "favourites": favourites,
        "only_favourites": "favourites" in request.GET,
        "sort": sort if sort in _SORTS else "",
        "is_grouped": sort not in _SORTS,
    }
    return render(request, "catalog/services.html", context)


def _found(request: PageRequest, favourites: set[int]) -> QuerySet[Service]:
    platform = BY_KEY.get(request.GET.get("platform", ""))
    text, category = request.GET.get("q", ""), key(request.GET.get("category"))
    found = search(text, category, platform)
    return found.filter(pk__in=favourites) if "favourites" in request.GET else found


def _favourites(request: PageRequest) -> set[int]:
    if not request.user.is_authenticated:
        return set()
    mine = Favourite.objects.filter(user_id=request.user.pk)
    return set(mine.values_list("service_id", flat=True)[:MOST_FAVOURITES])


@login_required
@require_POST
def favourite(request: CustomerRequest) -> HttpResponse:
    """Keep a service at hand, or no longer."""
    number = key(request.POST.get("service"))
    service = on_sale().filter(pk=number).first() if number else None
    if service is None:
        raise Http404
    is_kept = _toggle(request.user.pk, service.pk)
    if request.htmx:
        context = {"service": service, "favourites": {service.pk} if is_kept else set()}
        return render(request, "catalog/parts/star.html", context)
    target = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}):
        target = "/services/"
    return redirect(f"{target}#s{service.pk}")


def _toggle(user_id: int, service_id: int) -> bool:
    """Whether it is a favourite now."""
    if Favourite.objects.filter(user_id=user_id, service_id=service_id).delete()[0]:
        return False
    if Favourite.objects.filter(user_id=user_id).count() >= MOST_FAVOURITES:
        return False
    Favourite.objects.get_or_create(user_id=user_id, service_id=service_id)
    return True
