"""The mass order's page: a list is typed, reckoned while typing, and placed with one press."""

import uuid
from dataclasses import dataclass
from decimal import Decimal

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST

from accounts.requests import CustomerRequest
from orders.bulk import content_of, content_of_order, packages_of, placed_with
from orders.errors import InvalidLines, PriceChanged, TokenReused
from orders.mass import MassDraft, read_lines, reckon
from orders.models import Order
from orders.services import place_many
from orders.views import seen_charge, token_of
from wallet.context_processors import balance_of
from wallet.errors import AccountFrozen, InsufficientFunds
from wallet.templatetags.money import number


@dataclass
class MassPage:
    """What the page shows, and what came of trying to place the list."""

    text: str
    token: uuid.UUID
    all_or_nothing: bool
    balance: Decimal
    draft: MassDraft
    problem: str = ""
    changed: PriceChanged | None = None

    @property
    def balance_after(self) -> Decimal:
        return self.balance - self.draft.charge

    @property
    def missing(self) -> Decimal | None:
        """How much the balance lacks; None when it is enough."""
        return -self.balance_after if self.balance_after < 0 else None

    @property
    def is_blocked(self) -> bool:
        """Whether a bad line keeps the good ones from being placed."""
        return self.all_or_nothing and bool(self.draft.bad)

    @property
    def can_be_placed(self) -> bool:
        return bool(self.draft.good) and not self.is_blocked and self.missing is None


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def mass(request: CustomerRequest) -> HttpResponse:
    """Type or paste a list, see every line's charge or error, place it once."""
    seen = seen_charge(request.POST.get("seen_charge"))
    if request.method != "POST" or request.POST.get("action") != "place" or seen is None:
        return render(request, "orders/mass.html", {"mass": _page(request)})
    if placed := _place_every_line(request, seen):
        return _told(request, placed)
    page = _page(request)
    if placed := _place(request, page, seen):
        return _told(request, placed)
    return render(request, "orders/mass.html", {"mass": page})


def _told(request: CustomerRequest, placed: list[Order]) -> HttpResponse:
    text = ngettext(
        "%(count)s order is placed and paid.", "%(count)s orders are placed and paid.", len(placed)
    )
    messages.success(request, text % {"count": number(len(placed))})
    return redirect("orders:list")


@login_required
@require_POST
def reckoned(request: CustomerRequest) -> HttpResponse:
    """The lines and their sum, fetched while typing. Nothing is placed."""
    return render(request, "orders/parts/mass_lines.html", {"mass": _page(request)})


def _page(request: CustomerRequest) -> MassPage:
    text = request.POST.get("lines", "")
    return MassPage(
        text=text,
        token=token_of(request.POST.get("token")),
        all_or_nothing=request.method != "POST" or request.POST.get("all_or_nothing") == "yes",
        balance=balance_of(request.user.pk),
        draft=reckon(request.user.pk, text),
    )


def _place_every_line(request: CustomerRequest, seen: Decimal) -> list[Order]:
    """Place the list as it was typed; nothing when anything speaks against one of its lines.

    Most lists are like that, and `place_many` reckons every line itself. What speaks against it is
    found out for the page.
    """
    lines = read_lines(request.POST.get("lines", ""))
    wanted = [line.wanted for line in lines if line.wanted]
    if len(wanted) < len(lines):
        return []
    try:
        return place_many(
            customer=request.user,
            wanted=wanted,
            client_token=token_of(request.POST.get("token")),
            seen_charge=seen,
        )
    except (InvalidLines, PriceChanged, TokenReused, InsufficientFunds, AccountFrozen):
        return []


def _place(request: CustomerRequest, page: MassPage, seen: Decimal) -> list[Order]:
    """Place the list; nothing when it was refused, and then `page` says why and keeps the text."""
    if again := placed_with(request.user.pk, page.token):
        if _placed_before(page, again):
            return again
        _used_up(page)
        return []
    if page.is_blocked or not page.draft.good:
        page.problem = _("Nothing was placed. Correct the lines that are marked.")
        return []
    wanted = [line.wanted for line in page.draft.lines if line.quote and line.wanted]
    try:
        return place_many(
            customer=request.user, wanted=wanted, client_token=page.token, seen_charge=seen
        )
    except PriceChanged as exc:
        page.changed = exc
    except InvalidLines:
        page.draft = reckon(request.user.pk, page.text)
        page.problem = _("Nothing was placed. Correct the lines that are marked.")
    except TokenReused:
        _used_up(page)
    except InsufficientFunds:
        pass  # the sum says how much is missing
    except AccountFrozen:
        page.problem = _("Your wallet is being checked, so it can't pay now. Please contact us.")
    return []


def _used_up(page: MassPage) -> None:
    page.token = uuid.uuid4()
    page.problem = _(
        "This list has already placed orders. Look at your orders; press again to place another one."
    )


def _placed_before(page: MassPage, placed: list[Order]) -> bool:
    """Whether this very list was placed: its links are busy with themselves by now.

    Lines that were not placed then must not be good now, or somebody has changed the list.
    """
    contents, packages = {content_of_order(order) for order in placed}, packages_of(placed)
    typed = {content_of(line.wanted, packages): line for line in page.draft.lines if line.wanted}
    others = [line for content, line in typed.items() if content not in contents]
    return contents <= typed.keys() and not any(line.quote for line in others)
