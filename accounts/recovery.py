"""A password set anew by a link in a mail."""

import allauth.core.context
from allauth.account.forms import ResetPasswordKeyForm
from allauth.account.models import EmailAddress
from allauth.account.utils import has_verified_email
from django.contrib import messages
from django.db import transaction
from django.utils.translation import gettext as _

from accounts.keys import revoke_keys
from accounts.models import User


class ResetForm(ResetPasswordKeyForm):  # type: ignore[misc]  # allauth carries no types
    """Sets the password, and takes back what somebody else may have laid out in this account."""

    user: User

    def save(self) -> None:
        with transaction.atomic():
            super().save()
            revoked = take_back(self.user)
        if revoked:
            text = _(
                "Your API keys were revoked, because your e-mail address had not been confirmed. "
                "Confirm it and make new ones."
            )
            messages.warning(allauth.core.context.request, text)


def take_back(user: User) -> int:
    """End what a stranger could come back by; returns how many API keys were revoked.

    Anybody can sign up with an address that isn't theirs, make a key, begin to change the address
    to their own, and wait for the owner to set a password and pay in. So a change that waits for
    its link ends with every reset, and keys end where nobody has ever confirmed the address.
    """
    waiting = EmailAddress.objects.filter(user=user, verified=False)
    waiting.exclude(email__iexact=user.email).delete()
    if has_verified_email(user, user.email):
        return 0
    return revoke_keys(user)
