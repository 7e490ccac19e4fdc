"""The price list, and the services a customer keeps at hand."""

from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from accounts.requests import CustomerRequest, PageRequest
from catalog.models import Favourite
from catalog.platforms import BY_KEY
from catalog.rates import for_customer, priced
from catalog.search import Found, in_order, words_of
from catalog.shelves import Counted, Shelved, Shelves, for_platform, on_sale, shelves
from wallet.paging import PAGE_SIZE, key

# A select of more would weigh more than the rest of the page; the search finds the others.
MOST_CATEGORIES = 150
MOST_FAVOURITES = 200
# As the index `service_sold_by_price` has them, read forwards and backwards.
_SORTS = {"price": ("price_rate", "pk"), "-price": ("-price_rate", "-pk")}


@require_GET
def services(request: PageRequest) -> HttpResponse:
    """The price list: searched, filtered and cut into pages by the server."""
    if not (request.user.is_authenticated or settings.PUBLIC_CATALOG):
        return redirect_to_login(request.get_full_path())
    favourites = _favourites(request)
    sort, stock = request.GET.get("sort", ""), shelves()
    arranged = _arranged(request, favourites, stock)
    page = Paginator(arranged, PAGE_SIZE).get_page(request.GET.get("page"))
    page.object_list = priced(page.object_list, request.user.pk)
    context: dict[str, Any] = {
        "page": page,
        "is_more": isinstance(arranged, Found) and arranged.is_more,
        "text": request.GET.get("q", ""),
        "category": key(request.GET.get("category")),
        "categories": stock.categories[:MOST_CATEGORIES],
        "platform": request.GET.get("platform", ""),
        "platforms": stock.platforms,
        "favourites": favourites,
        "only_favourites": "favourites" in request.GET,
        "sort": sort if sort in _SORTS else "",
        "is_grouped": sort not in _SORTS,
    }
    return render(request, "catalog/services.html", context)


def _arranged(request: PageRequest, favourites: set[int], stock: Shelves) -> Any:
    """What a paginator cuts: as found by words, by price, or else by shelves."""
    among, category = Q(), key(request.GET.get("category"))
    if category is not None:
        among, stock = Q(category_id=category), stock.of(category)
    if platform := BY_KEY.get(request.GET.get("platform", "")):
        named, stock = for_platform(platform, stock)
        among &= named
    services = on_sale().filter(among)
    if request.user.is_authenticated:
        services = for_customer(services, request.user.pk)
    words, sort = words_of(request.GET.get("q", "")), _SORTS.get(request.GET.get("sort", ""), ())
    if "favourites" in request.GET:
        mine = services.filter(words.condition(stock), pk__in=favourites)
        return in_order(mine, words, sort)
    if words:
        return Found(services, words, stock, among=among, sort=sort)
    if sort:
        return Counted(services.order_by(*sort), stock.count)
    return Shelved(services, stock)


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
    # Not `redirect`, which takes a word for the name of a page.
    return HttpResponseRedirect(f"{target}#s{service.pk}")


def _toggle(user_id: int, service_id: int) -> bool:
    """Whether it is a favourite now."""
    if Favourite.objects.filter(user_id=user_id, service_id=service_id).delete()[0]:
        return False
    if Favourite.objects.filter(user_id=user_id).count() >= MOST_FAVOURITES:
        return False
    Favourite.objects.get_or_create(user_id=user_id, service_id=service_id)
    return True
