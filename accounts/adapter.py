"""What we change in allauth's behaviour."""

from typing import Any

import allauth.core.context
from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.contrib.sites.shortcuts import get_current_site
from django.http import HttpRequest, HttpResponse
from django.utils.translation import get_language

from accounts import mail
from accounts.addresses import client_address
from accounts.encryption import decrypt, encrypt
from accounts.models import User
from accounts.sessions import note_sign_in

_KNOWN = "known"
_YEAR = 365 * 24 * 3600


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth carries no types
    """Notes each sign-in, once all its steps are done, and sends every mail by way of the outbox."""

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Write the mail into the outbox: a mail server that is away holds up no sign-up."""
        request = allauth.core.context.request
        about = {
            "request": request,
            "email": email,
            "current_site": get_current_site(request),
            "site_name": settings.SITE_NAME,
            "site_url": settings.SITE_URL,
            **context,
        }
        built = self.render_mail(template_prefix, email, about)
        mail.write_letter(
            to=email,
            user=_person(email, context),
            subject=built.subject,
            body=str(built.body),
            language=get_language() or settings.LANGUAGE_CODE,
        )

    def format_email_subject(self, subject: str) -> str:
        """The outbox puts the site's name before it."""
        return subject

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request)

    def post_login(
        self, request: HttpRequest, user: User, *, signup: bool, **options: Any
    ) -> HttpResponse:
        response: HttpResponse = super().post_login(request, user, signup=signup, **options)
        known = (request.get_signed_cookie(_KNOWN, default="", salt=_KNOWN) or "").split(".")
        note_sign_in(
            user,
            session_key=request.session.session_key or "",
            agent=request.headers.get("user-agent", ""),
            address=self.get_client_ip(request),
            is_known=signup or str(user.pk) in known,
        )
        # Which accounts this browser has signed in to; a handful is enough for a family.
        numbers = list(dict.fromkeys([str(user.pk), *filter(None, known)]))[:5]
        response.set_signed_cookie(
            _KNOWN,
            ".".join(numbers),
            salt=_KNOWN,
            max_age=_YEAR,
            httponly=True,
            samesite="Lax",
            secure=request.is_secure(),
        )
        return response


def _person(email: str, context: dict[str, Any]) -> User | None:
    """Whose mail it is: with the account it disappears."""
    user = context.get("user")
    return user if isinstance(user, User) else User.objects.filter(email__iexact=email).first()


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth carries no types
    """Keeps two-factor secrets and recovery seeds encrypted at rest."""

    def encrypt(self, text: str) -> str:
        return encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return decrypt(encrypted_text)
