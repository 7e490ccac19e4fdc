"""What is asked of staff beyond their password."""

from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings

from accounts.models import User


def has_required_factor(user: User) -> bool:
    """Whether this member of staff has the second factor that the admin asks for."""
    return not settings.REQUIRE_STAFF_2FA or bool(is_mfa_enabled(user))
