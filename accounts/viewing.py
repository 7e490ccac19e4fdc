"""Staff look at a customer's pages as the customer sees them: nothing can be changed, all is audited."""

from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from accounts import audit
from accounts.addresses import client_address
from accounts.models import User
from accounts.requests import CustomerRequest
from accounts.staff import NotDone

SESSION_KEY = "looks_at"
PERMISSION = "accounts.look_at_customer"
# Where a customer's own pages are; everywhere else the member of staff stays themselves. Password,
# e-mail and two-factor pages are not among them: recovery codes are for nobody else's eyes.
_PAGES = ("/orders/", "/services/", "/wallet/", "/account/")


def begin(request: HttpRequest, *, staff: User, customer: User) -> None:
    """See the shop as this customer from now on. Raises NotDone for staff and the switched-off."""
    if customer.is_staff or not customer.is_active:
        raise NotDone(_("Only an active customer's pages can be looked at."))
    request.session[SESSION_KEY] = customer.pk
    audit.record(
        "began to look at a customer's pages", actor=staff, target=customer,
        address=client_address(request),
    )  # fmt: skip


@login_required
@require_POST
def stop(request: CustomerRequest) -> HttpResponse:
    """Back to one's own pages."""
    customer_id = request.session.pop(SESSION_KEY, None)
    if customer_id is None:
        return redirect("/")
    audit.record(
        "stopped looking at a customer's pages", actor=request.user,
        target=User.objects.filter(pk=customer_id).first() or customer_id,
        address=client_address(request),
    )  # fmt: skip
    return redirect("admin:accounts_user_change", customer_id)


class LookAtCustomer:
    """Shows the chosen customer's pages, refuses whatever would change something, notes each page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(_PAGES) or SESSION_KEY not in request.session:
            return self.get_response(request)
        staff = request.user
        customer = self._customer(request)
        if customer is None or not isinstance(staff, User):
            return self.get_response(request)
        if request.method not in {"GET", "HEAD"}:
            messages.error(request, _("You only look at these pages; nothing was changed."))
            return render(request, "accounts/only_looking.html", status=403)
        audit.record(
            f"looked at {request.path}",
            actor=staff,
            target=customer,
            address=client_address(request),
        )
        request.user = customer
        request.looked_at_by = staff  # type: ignore[attr-defined]
        return self.get_response(request)

    def _customer(self, request: HttpRequest) -> User | None:
        """The customer, as long as both sides are still what they were when it began."""
        user = request.user
        if isinstance(user, User) and user.is_staff and user.has_perm(PERMISSION):
            found = User.objects.filter(
                pk=request.session[SESSION_KEY], is_active=True, is_staff=False
            ).first()
            if found is not None:
                return found
        del request.session[SESSION_KEY]
        return None
