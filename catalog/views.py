from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render

from accounts.requests import CustomerRequest
from catalog.rates import for_customer, priced
from catalog.search import categories, search
from wallet.paging import PAGE_SIZE, key

# A select of more would weigh more than the rest of the page; the search finds the others.
MOST_CATEGORIES = 150
_SORTS = {"price": ["price_rate", "pk"], "-price": ["-price_rate", "pk"]}


@login_required
def services(request: CustomerRequest) -> HttpResponse:
    """The price list: searched, filtered and cut into pages by the server."""
    text, category = request.GET.get("q", ""), key(request.GET.get("category"))
    found = for_customer(search(text, category), request.user.pk)
    sort = request.GET.get("sort", "")
    if sort in _SORTS:
        found = found.order_by(*_SORTS[sort])
    page = Paginator(found, PAGE_SIZE).get_page(request.GET.get("page"))
    page.object_list = priced(page.object_list, request.user)
    context = {
        "page": page,
        "text": text,
        "category": category,
        "categories": categories(MOST_CATEGORIES),
        "sort": sort if sort in _SORTS else "",
        "is_grouped": sort not in _SORTS,
    }
    return render(request, "catalog/services.html", context)
