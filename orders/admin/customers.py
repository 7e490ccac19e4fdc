"""What orders and money add to the admin's page of a customer: deleting the account."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from accounts.addresses import client_address
from accounts.admin import EmailUserAdmin
from accounts.models import User
from accounts.staff import Dialog, ReasonForm, dialog, figure, staff_member
from orders.closing import NotClosable, balance_of, close_account
from wallet.money import ZERO

# The customer's page is there already; it gets one more action.
admin.site.unregister(User)


class CloseForm(ReasonForm):
    """Who asked for it, the address typed anew, and that the balance is lost."""

    typed = forms.CharField(
        label=_("The customer's e-mail address, to confirm"),
        max_length=254,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}),
    )
    balance = forms.DecimalField(widget=forms.HiddenInput, max_digits=15, decimal_places=6)
    gives_up = forms.BooleanField(
        label=_("The customer gives up the balance; it is not paid out"),
        required=False,
        widget=UnfoldBooleanSwitchWidget,
    )

    def prepare(self) -> None:
        self.fields["balance"].initial = balance_of(self.target)
        self.fields["reason"].help_text = _("Such as how the customer asked for it; without names.")
        if not balance_of(self.target):
            del self.fields["gives_up"]

    def facts(self) -> list[tuple[Any, Any]]:
        return [(_("customer"), self.target), (_("balance"), figure(balance_of(self.target)))]

    def clean_typed(self) -> str:
        typed: str = self.cleaned_data["typed"].strip()
        if typed.casefold() != self.target.email.casefold():
            raise forms.ValidationError(_("That is not the address of this account."))
        return typed

    def clean_gives_up(self) -> bool:
        if not self.cleaned_data["gives_up"]:
            raise forms.ValidationError(_("Pay the balance out first, or say that it is given up."))
        return True


@admin.register(User)
class CustomerAdmin(EmailUserAdmin):
    """Users, with what only the orders know about them."""

    actions_detail = (*EmailUserAdmin.actions_detail, "delete_account")

    def has_erase_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return request.user.has_perm("accounts.delete_customer_data")

    @dialog(
        Dialog(
            title=_("Delete account"),
            button=_("Delete for good"),
            permission="erase",
            icon="person_remove",
            form=CloseForm,
            text=_(
                "Name, address, receipts, sessions, keys and mails go at once. Orders and "
                "transactions stay under a number. This can't be undone."
            ),
            is_dangerous=True,
            refusals={NotClosable: str},
        )
    )
    def delete_account(self, request: HttpRequest, form: CloseForm, user: User) -> Any:
        close_account(
            user,
            actor=staff_member(request),
            gives_up=form.cleaned_data["balance"] or ZERO,
            reason=form.cleaned_data["reason"],
            address=client_address(request),
        )
        # The dialog's own line in the log must not bring the name back.
        user.refresh_from_db()
        return _("The account is deleted; %(pseudonym)s is left.") % {"pseudonym": user}
