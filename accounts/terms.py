"""The terms of use: a text file of the operator's, and the version that a customer accepted."""

import hashlib
from pathlib import Path

from django.conf import settings


def terms_text() -> str:
    """The terms as plain text; empty when the operator has none."""
    if not settings.TERMS_PATH:
        return ""
    return Path(settings.TERMS_PATH).read_text(encoding="utf-8").strip()


def terms_version(text: str) -> str:
    """A version that changes with the text, so that nobody has to count."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
