"""What the sign-up form asks besides e-mail and password."""

from typing import Any

from django import forms
from django.http import HttpRequest
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.terms import terms_text, terms_version


class TermsForm(forms.Form):
    """A box for the terms of use, when there are any; its version and time are kept."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.text = terms_text()
        if self.text:
            link = format_html(
                '<a href="{}" target="_blank">{}</a>',
                reverse_lazy("accounts:terms"),
                _("Read the terms of use"),
            )
            self.fields["terms"] = forms.BooleanField(
                label=_("I accept the terms of use"), help_text=link
            )

    def signup(self, request: HttpRequest, user: User) -> None:  # noqa: ARG002 - allauth's signature
        if not self.text:
            return
        user.terms_version = terms_version(self.text)
        user.terms_at = timezone.now()
        user.save(update_fields=["terms_version", "terms_at"])
