"""The customer's order pages: following what was ordered."""

import datetime as dt
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from accounts.requests import CustomerRequest, PageRequest
from catalog.models import Service
from orders.errors import NotPossible
from orders.export import csv_lines
from orders.forms import parameter_lines
from orders.models import Order, Request
from orders.refills import refill_refusal
from orders.requests import cancel_order, cancel_refusal, request_refill
from orders.states import Status
from orders.tallies import tallies, total
from orders.timeline import lines
from wallet.days import ONE_DAY, day_of, midnight
from wallet.models import Entry
from wallet.paging import PAGE_SIZE, key, page_of
from wallet.spreadsheet import download

# In an order's address when it has just been placed; its page says so for a while.
JUST_PLACED = "placed"
_JUST = dt.timedelta(minutes=10)
_LONGEST_SEARCH = 200
_MOST_CHILDREN = 100


def _own(request: CustomerRequest) -> QuerySet[Order]:
    """The customer's own orders; a foreign one is not found."""
    return Order.objects.of(request.user.pk).select_related("service")


# So many services are looked up each by itself, which its index answers in order; more together.
_ALONE = 3


def _services(customer_id: int, text: str, number: int | None) -> list[int]:
    """Services that the customer has ordered, with this number or the text in their name."""
    found = Q(name__icontains=text) | Q(own_name__icontains=text)
    if number is not None:
        found |= Q(pk=number)
    ordered = Order.objects.of(customer_id).filter(service=OuterRef("pk"))
    return list(Service.objects.filter(found, Exists(ordered)).values_list("pk", flat=True))


@dataclass(frozen=True)
class Filter:
    """What of the customer's orders is looked at; an unreadable value counts as not given."""

    status: str
    text: str
    since: dt.date | None
    until: dt.date | None

    @classmethod
    def read(cls, query: QueryDict) -> "Filter":
        status = query.get("status", "")
        return cls(
            status=status if status in Status.values else "",
            # PostgreSQL stores no NUL and refuses to compare with one.
            text=query.get("q", "").replace("\x00", "").strip()[:_LONGEST_SEARCH],
            since=day_of(query.get("since", "")),
            until=day_of(query.get("until", "")),
        )

    @property
    def is_empty(self) -> bool:
        return not (self.status or self.text or self.since or self.until)

    def narrow(self, orders: QuerySet[Order]) -> QuerySet[Order]:
        """Those of the status and the days."""
        if self.status:
            orders = orders.filter(status=self.status)
        if self.since:
            orders = orders.filter(created_at__gte=midnight(self.since))
        if self.until:
            orders = orders.filter(created_at__lt=midnight(self.until + ONE_DAY))
        return orders

    def meant(self, customer_id: int) -> list[Q] | None:
        """What a search may mean, each for an index of its own; None when nothing is searched for."""
        if not self.text:
            return None
        number = key(self.text.removeprefix("#"))
        services = _services(customer_id, self.text, number)
        one_by_one = [[each] for each in services] if len(services) <= _ALONE else [services]
        return [
            Q(link__icontains=self.text),
            *([] if number is None else [Q(pk=number)]),
            *(Q(service_id__in=each) for each in one_by_one),
        ]

    def apply(self, orders: QuerySet[Order], customer_id: int) -> QuerySet[Order]:
        """All of the customer's orders that are looked at, in one set."""
        meant = self.meant(customer_id)
        orders = self.narrow(orders)
        return orders if meant is None else orders.filter(reduce(or_, meant))


@login_required
@require_GET
def order_list(request: CustomerRequest) -> HttpResponse:
    """The customer's orders, newest first, by status, days and search."""
    wanted = Filter.read(request.GET)
    orders = _own(request).filter(parent__isnull=True)
    page = page_of(wanted.narrow(orders), request.GET, meant=wanted.meant(request.user.pk))
    counts = tallies(request.user.pk)
    context = {
        "page": page,
        "tabs": [(value, label, counts[value]) for value, label in Status.choices],
        "total": total(counts),
        "filter": wanted,
        "known": _known(page.rows),
    }
    return render(request, "orders/list.html", context)


@login_required
@require_GET
def export(request: CustomerRequest) -> StreamingHttpResponse:
    """Exactly the orders that the list shows with the same filter, as CSV."""
    own = _own(request).filter(parent__isnull=True)
    orders = Filter.read(request.GET).apply(own, request.user.pk).order_by("-pk")
    # The zone is fixed here: the stream is written after the middleware has left.
    written = csv_lines(orders.iterator(chunk_size=1000), timezone.get_current_timezone())
    return download(written, "orders.csv")


@require_GET
def explained(request: PageRequest) -> HttpResponse:
    """What the words on the order pages mean; for visitors too."""
    return render(request, "orders/help.html", {"statuses": Status.choices})


def _version(order: Order) -> str:
    """What of a row can change while the page is open."""
    return f"{order.pk}~{order.status}~{order.remains}~{order.start_count}"


def _known(orders: list[Order]) -> str:
    """The open orders on the page as they are shown; empty when there is nothing to wait for."""
    return ",".join(_version(order) for order in orders if order.is_open)


@login_required
@require_GET
def rows(request: CustomerRequest) -> HttpResponse:
    """The rows that changed since the page was drawn; 204 when none did."""
    known = request.GET.get("known", "").split(",")[:PAGE_SIZE]
    numbers = [number for item in known if (number := key(item.partition("~")[0])) is not None]
    orders = list(_own(request).filter(pk__in=numbers))
    changed = [order for order in orders if _version(order) not in known]
    if not changed:
        return HttpResponse(status=204)
    context = {"changed": changed, "known": _known(orders)}
    return render(request, "orders/parts/refreshed.html", context)


@login_required
@require_GET
def detail(request: CustomerRequest, pk: int) -> HttpResponse:
    """One order: facts, progress, timeline, money, refills and cancels."""
    order = get_object_or_404(_own(request), pk=pk)
    if JUST_PLACED in request.GET and timezone.now() - order.created_at < _JUST:
        messages.success(
            request, _("Order %(number)s is placed and paid.") % {"number": f"#{order.pk}"}
        )
    return render(request, "orders/detail.html", _facts(order))


@login_required
@require_GET
def live(request: CustomerRequest, pk: int) -> HttpResponse:
    """The changing part of the order page; 204 when it is as the page shows it."""
    order = get_object_or_404(_own(request), pk=pk)
    facts = _facts(order)
    if request.GET.get("version") == facts["version"]:
        return HttpResponse(status=204)
    return render(request, "orders/parts/refreshed_order.html", facts)


def _facts(order: Order) -> dict[str, Any]:
    timeline = lines(order, for_staff=False)
    requests = list(order.requests.all())
    now = timezone.now()
    states = "".join(f"{request.pk}{request.state}" for request in requests)
    entries = Entry.objects.filter(account__user_id=order.customer_id, order_number=order.pk)
    return {
        "order": order,
        "parameters": parameter_lines(order),
        "timeline": timeline,
        "entries": entries.order_by("pk"),
        "paid": order.charge - order.refunded,
        "requests": requests,
        "children": list(order.children.select_related("service")[:_MOST_CHILDREN]),
        "refill_refusal": refill_refusal(order, now),
        "cancel_refusal": cancel_refusal(order, now),
        "version": f"{_version(order)}~{order.refunded}~{len(timeline)}~{states}",
        "is_waiting": order.is_open or any(request.finished_at is None for request in requests),
    }


@login_required
@require_POST
def refill(request: CustomerRequest, pk: int) -> HttpResponse:
    """Ask the provider to refill."""
    order = get_object_or_404(_own(request), pk=pk)
    try:
        request_refill(order_id=order.pk, actor=request.user)
    except NotPossible as exc:
        messages.error(request, str(exc))
    else:
        messages.success(request, _("Refill requested. The provider may refuse it."))
    return redirect(order)


@login_required
@require_POST
def cancel(request: CustomerRequest, pk: int) -> HttpResponse:
    """Withdraw an order that wasn't sent, or ask the provider to cancel it."""
    order = get_object_or_404(_own(request), pk=pk)
    try:
        asked: Request | None = cancel_order(order_id=order.pk, actor=request.user)
    except NotPossible as exc:
        messages.error(request, str(exc))
        return redirect(order)
    if asked is None:
        messages.success(
            request, _("The order is cancelled and its charge is back in your wallet.")
        )
    else:
        messages.success(request, _("Cancel requested. The provider may refuse it."))
    return redirect(order)
