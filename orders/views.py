"""The customer's order pages: placing an order."""

import uuid
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import redirect, render
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.models import User
from accounts.requests import CustomerRequest
from catalog.models import Favourite, Service
from catalog.rates import for_customer, priced, rate_for
from catalog.rules import read_rules
from catalog.search import Found, words_of
from catalog.shelves import on_sale, shelves
from catalog.views import MOST_CATEGORIES
from orders.errors import (
    DuplicateLink,
    InvalidOrder,
    NotOnSale,
    PriceChanged,
    TokenReused,
)
from orders.forms import OrderForm, order_type_of, values_of
from orders.models import Order, ServiceTimes
from orders.offers import offer
from orders.pages import JUST_PLACED
from orders.quotes import Quote, is_on_sale, quote
from orders.services import place_order
from upstream.order_types import OrderType, Units
from wallet.context_processors import balance_of
from wallet.errors import AccountFrozen, InsufficientFunds
from wallet.paging import PAGE_SIZE, key

# More than any list of orders can be charged.
_MOST_DIGITS = 15
# What the page tells of a service besides.
_ON_THE_PAGE = ["description", "own_description", "refill", "refill_by", "cancel"]


@dataclass
class Draft:
    """An order being written: what the page shows, and what came of trying to place it."""

    customer: User
    service: Service
    order_type: OrderType
    token: uuid.UUID
    typed: QueryDict | None = None
    initial: dict[str, str] | None = None
    quote: Quote | None = None
    problem: str = ""
    changed: PriceChanged | None = None
    duplicate: int | None = None
    field_errors: dict[str, str] = field(default_factory=dict)

    @cached_property
    def form(self) -> OrderForm:
        """Made for a page only: an order that is placed answers with a redirect."""
        return OrderForm(self.service, self.order_type, self.typed, self.initial)

    @property
    def values(self) -> dict[str, str]:
        """What was typed, for `quote` and `place_order`."""
        return values_of(self.service, self.order_type, self.typed or {})

    @cached_property
    def balance(self) -> Decimal:
        """Looked up for a page only, as the form is."""
        return balance_of(self.customer.pk)

    @property
    def times(self) -> ServiceTimes | None:
        """How long it typically takes, when enough of our own orders say so."""
        return ServiceTimes.objects.filter(service_id=self.service.pk).first()

    @property
    def rate(self) -> Decimal:
        """What 1,000 units (or the package) cost this customer."""
        return rate_for(self.customer, self.service).rate

    @property
    def is_flat(self) -> bool:
        """Sold at one price, whatever the quantity."""
        return self.order_type.units_by is Units.FLAT

    @property
    def balance_after(self) -> Decimal | None:
        return None if self.quote is None else self.balance - self.quote.charge

    @property
    def missing(self) -> Decimal | None:
        """How much the balance lacks; None when it is enough."""
        after = self.balance_after
        return -after if after is not None and after < 0 else None

    @property
    def typed_errors(self) -> list[tuple[str, str]]:
        """What is wrong with the fields that are filled in; the empty ones are still to come."""
        typed = self.values
        return [(name, text) for name, text in self.field_errors.items() if typed.get(name)]

    @property
    def failed(self) -> bool:
        return bool(self.problem or self.changed or self.duplicate or self.form.errors)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: CustomerRequest) -> HttpResponse:
    """Find a service, fill in its fields, see the charge, place the order: all without scripts."""
    if request.method == "POST":
        return _submit(request)
    number = key(request.GET.get("service"))
    if number is None:
        return render(request, "orders/choose.html", _results(request, with_categories=True))
    service = _service(request, number)
    if service is None:
        messages.error(request, _("This service is not on sale now. Choose another one."))
        return redirect("orders:new")
    draft = _draft(request, service, _again(request))
    return render(request, "orders/new.html", {"draft": draft})


@login_required
@require_GET
def results(request: CustomerRequest) -> HttpResponse:
    """The list of found services, fetched while typing."""
    return render(request, "orders/parts/results.html", _results(request, with_categories=False))


@login_required
@require_POST
def quoted(request: CustomerRequest) -> HttpResponse:
    """The receipt for what is in the form now, fetched while typing. Nothing is placed."""
    service = _service(request, key(request.POST.get("service")))
    if service is None:
        return HttpResponse(_("This service is not on sale now."))
    draft = _draft(request, service)
    _try_quote(draft)
    return render(request, "orders/parts/quoted.html", {"draft": draft})


def _results(request: CustomerRequest, *, with_categories: bool) -> dict[str, Any]:
    text, category = request.GET.get("q", ""), key(request.GET.get("category"))
    context: dict[str, Any] = {"text": text, "category": category}
    if text.strip() or category is not None:
        found = _found(request.user.pk, text, category)
        shown = priced(found[:PAGE_SIZE], request.user.pk)
        context |= {"found": shown, "has_more": len(found) > PAGE_SIZE}
    else:
        context["recent"] = priced(_recent(request.user.pk), request.user.pk)
        context["kept"] = priced(_kept(request.user.pk), request.user.pk)
    if with_categories:
        context["categories"] = shelves().categories[:MOST_CATEGORIES]
    return context


def _found(customer_id: int, text: str, category: int | None) -> list[Service]:
    """A page of services, and one more if there are more."""
    services = for_customer(on_sale(), customer_id)
    among = Q() if category is None else Q(category_id=category)
    words = words_of(text)
    if not words:
        return list(services.filter(among)[: PAGE_SIZE + 1])
    stock = shelves() if category is None else shelves().of(category)
    found = Found(services.filter(among), words, stock, among=among)
    return list(found[0 : PAGE_SIZE + 1])


def _recent(customer_id: int) -> list[Service]:
    """The services of the customer's latest orders that are still sold, each once."""
    latest = Order.objects.of(customer_id).order_by("-pk").values_list("service_id", flat=True)[:50]
    wanted = list(dict.fromkeys(latest))[:6]
    chosen = for_customer(on_sale(), customer_id).filter(pk__in=wanted)
    found = {service.pk: service for service in chosen}
    return [found[number] for number in wanted if number in found]


def _kept(customer_id: int) -> list[Service]:
    """The favourites that are on sale now."""
    mine = Favourite.objects.filter(user_id=customer_id).values("service_id")
    return list(for_customer(on_sale(), customer_id).filter(pk__in=mine)[:12])


def _service(request: CustomerRequest, number: int | None) -> Service | None:
    if number is None:
        return None
    found = for_customer(on_sale().select_related("provider"), request.user.pk)
    service = found.filter(pk=number).first()
    return service if service and order_type_of(service) else None


def _again(request: CustomerRequest) -> dict[str, str]:
    """The values of the customer's own earlier order, when the page was opened to repeat it."""
    earlier = key(request.GET.get("again"))
    if earlier is None:
        return {}
    order = Order.objects.of(request.user.pk).filter(pk=earlier).first()
    return {} if order is None else {"link": order.link, **order.parameters}


def _draft(
    request: CustomerRequest, service: Service, initial: dict[str, str] | None = None
) -> Draft:
    order_type = order_type_of(service)
    assert order_type is not None  # noqa: S101 - `_service` leaves out unknown types
    return Draft(
        customer=request.user,
        service=service,
        order_type=order_type,
        token=token_of(request.POST.get("token")),
        typed=request.POST if request.method == "POST" else None,
        initial=initial,
    )


def token_of(text: str | None) -> uuid.UUID:
    """The one-time token that the page sent back; a new one for a page that sent none."""
    try:
        return uuid.UUID(text or "")
    except ValueError:
        return uuid.uuid4()


def seen_charge(text: str | None) -> Decimal | None:
    """The charge that stood on the button, as the page sent it back."""
    try:
        seen = Decimal(text or "")
    except InvalidOperation:
        return None
    # One that no page has shown can't be written on one either.
    return seen if seen.is_finite() and seen.adjusted() < _MOST_DIGITS else None


def _try_quote(draft: Draft) -> None:
    try:
        draft.quote = quote(draft.service, draft.values, draft.customer, read_rules())
    except InvalidOrder as exc:
        draft.field_errors = exc.errors
    except NotOnSale:
        draft.problem = _("This service is not on sale now. Choose another one.")


def _submit(request: CustomerRequest) -> HttpResponse:
    number = key(request.POST.get("service"))
    # Read once for the form and for the order that is placed a moment later.
    service = None if number is None else offer(request.user.pk, number)
    if service is None or not is_on_sale(service) or order_type_of(service) is None:
        messages.error(request, _("This service is not on sale now. Choose another one."))
        return redirect("orders:new")
    draft = _draft(request, service)
    seen = seen_charge(request.POST.get("seen_charge"))
    # Without scripts the first press asks for the charge: nothing is placed that wasn't named.
    if request.POST.get("action") == "quote" or seen is None:
        _try_quote(draft)
        draft.form.show_errors(draft.field_errors)
        return _shown(request, draft)
    order = _place(request, draft, seen)
    if order is None:
        return _shown(request, draft)
    # Its own page says so: a message in a cookie would be shown by whichever page comes next.
    # `redirect` would look for a page of that name first.
    return HttpResponseRedirect(f"{order.get_absolute_url()}?{JUST_PLACED}")


def _shown(request: CustomerRequest, draft: Draft) -> HttpResponse:
    """The form again; the page says more of the service than an order needs."""
    draft.service.refresh_from_db(fields=_ON_THE_PAGE)
    return render(request, "orders/new.html", {"draft": draft})


def _place(request: CustomerRequest, draft: Draft, seen: Decimal) -> Order | None:
    """Place the order; None when it was refused, and then `draft` says why and keeps the text."""
    try:
        return place_order(
            customer=request.user,
            service=draft.service,
            values=draft.values,
            client_token=draft.token,
            seen_charge=seen,
            allow_duplicate=request.POST.get("allow_duplicate") == "yes",
            is_offer=True,
        )
    except InvalidOrder as exc:
        draft.field_errors = exc.errors
        draft.form.show_errors(exc.errors)
        return None
    except PriceChanged as exc:
        draft.changed = exc
    except DuplicateLink as exc:
        draft.duplicate = exc.order_id
    except TokenReused:
        draft.token = uuid.uuid4()
        draft.problem = _(
            "This form has already placed an order. Look at your orders; press again to place another one."
        )
    except InsufficientFunds:
        pass  # the receipt says how much is missing
    except AccountFrozen:
        draft.problem = _("Your wallet is being checked, so it can't pay now. Please contact us.")
    except NotOnSale:
        draft.problem = _("This service is not on sale now. Choose another one.")
    _try_quote(draft)
    return None
