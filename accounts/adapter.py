"""What we change in allauth's behaviour."""

from allauth.mfa.adapter import DefaultMFAAdapter

from accounts.encryption import decrypt, encrypt


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # allauth carries no types
    """Keeps two-factor secrets and recovery seeds encrypted at rest."""

    def encrypt(self, text: str) -> str:
        return encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return decrypt(encrypted_text)
