"""What we change in allauth's behaviour."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.http import HttpRequest, HttpResponse

from accounts.encryption import decrypt, encrypt
from accounts.models import User
from accounts.sessions import note_sign_in

_KNOWN = "known"
_YEAR = 365 * 24 * 3600


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth carries no types
    """Notes each sign-in, once all its steps are done."""

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


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth carries no types
    """Keeps two-factor secrets and recovery seeds encrypted at rest."""

    def encrypt(self, text: str) -> str:
        return encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return decrypt(encrypted_text)
