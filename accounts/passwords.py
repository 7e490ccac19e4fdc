"""Which passwords may be chosen."""

import gzip
from collections.abc import Iterator

from django.contrib.auth.password_validation import CommonPasswordValidator


class UncommonPassword(CommonPasswordValidator):
    """Django's list of 20,000 common passwords, read for a password and not kept.

    Django's own keeps it from the first sign-up page on, which is two megabytes of every web
    process. Reading it takes a fiftieth of what hashing the password takes.
    """

    def __init__(self) -> None:
        """Read nothing yet; the base class would."""

    @property
    def passwords(self) -> Iterator[str]:  # type: ignore[override]
        with gzip.open(self.DEFAULT_PASSWORD_LIST_PATH, "rt", encoding="utf-8") as lines:
            yield from (line.strip() for line in lines)
