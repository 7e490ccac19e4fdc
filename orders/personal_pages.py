"""What a customer can do with their own data: take it along, and delete the account."""

from decimal import Decimal

from django import forms
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_GET, require_POST

from accounts import throttle
from accounts.models import User
from accounts.requests import CustomerRequest
from orders.closing import NotClosable, balance_of, close_account, hindrances
from orders.personal import archive
from wallet.money import ZERO

# Per minute: an archive is work, and a password is not to be guessed here.
_MOST_ARCHIVES = 3
_MOST_TRIES = 5


class CloseForm(forms.Form):
    """The password, the address typed anew and, when there is a balance, that it is given up."""

    password = forms.CharField(
        label=gettext_lazy("Password"),
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "current-password"}),
    )
    typed = forms.CharField(
        label=gettext_lazy("Your e-mail address, to confirm"),
        max_length=254,
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false"}),
    )
    # The balance as the page showed it: what is given up is what was seen.
    balance = forms.DecimalField(widget=forms.HiddenInput, max_digits=15, decimal_places=6)
    gives_up = forms.BooleanField(
        label=gettext_lazy("I give up my balance; it is not paid out"), required=False
    )

    def __init__(self, user: User, balance: Decimal, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.user = user
        self.fields["balance"].initial = balance
        if not balance:
            del self.fields["gives_up"]

    @sensitive_variables()
    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        if throttle.hit(f"close {self.user.pk}", limit=_MOST_TRIES):
            raise forms.ValidationError(_("Too many tries: wait a minute."))
        if not self.user.check_password(password):
            raise forms.ValidationError(_("That is not your password."))
        return password

    def clean_typed(self) -> str:
        typed: str = self.cleaned_data["typed"].strip()
        if typed.casefold() != self.user.email.casefold():
            raise forms.ValidationError(_("That is not the address of this account."))
        return typed

    def clean_gives_up(self) -> bool:
        if not self.cleaned_data["gives_up"]:
            raise forms.ValidationError(_("Spend the balance first, or say that you give it up."))
        return True


@login_required
@never_cache
@require_GET
def own_data(request: CustomerRequest) -> HttpResponse:
    """What is kept, a button to take it along, and a form to delete the account."""
    balance = balance_of(request.user)
    return _page(request, CloseForm(request.user, balance), balance)


@login_required
@never_cache
@require_POST
def export(request: CustomerRequest) -> HttpResponseBase:
    """Everything that is kept about the customer, as a ZIP; streamed.

    By POST: staff who look at a customer's pages can't send any, so it is for its owner alone.
    """
    if throttle.hit(f"archive {request.user.pk}", limit=_MOST_ARCHIVES):
        messages.error(request, _("You have just made one: wait a minute."))
        return redirect("personal:data")
    return StreamingHttpResponse(
        archive(request.user),
        content_type="application/zip",
        headers={"Content-Disposition": 'attachment; filename="my-data.zip"'},
    )


@login_required
@never_cache
@require_POST
@sensitive_post_parameters()
def close(request: CustomerRequest) -> HttpResponse:
    """Delete the account and sign out."""
    balance = balance_of(request.user)
    form = CloseForm(request.user, balance, request.POST)
    if not form.is_valid():
        return _page(request, form, balance)
    try:
        close_account(
            request.user, actor=request.user, gives_up=form.cleaned_data["balance"] or ZERO
        )
    except NotClosable as exc:
        form.add_error(None, str(exc))
        return _page(request, form, balance)
    logout(request)
    messages.success(request, _("Your account and your personal data are deleted. Good-bye."))
    return redirect("account_login")


def _page(request: CustomerRequest, form: CloseForm, balance: Decimal) -> HttpResponse:
    context = {"form": form, "balance": balance, "hindrances": hindrances(request.user)}
    return render(request, "orders/personal.html", context, status=422 if form.errors else 200)
