"""Tells a price list that was read before from a new one, as early as it can be told."""

import hashlib
from collections.abc import Collection, Sequence

from upstream import parse


class Recognition:
    """What a price list is recognised by; each is a digest of the `premises` too, and "" until asked.

    `whole` is that of its bytes. `rows` is that of its rows' texts in any order, so that nothing
    has to be read; "" for a list of which the texts don't tell. `contents` is that of what it says.
    """

    def __init__(self, known: Collection[str] = (), premises: bytes = b"") -> None:
        self._known = set(known) - {""}
        self._premises = premises
        self._texts = 0
        self.whole = self.rows = self.contents = ""

    def knows_body(self, body: bytes) -> bool:
        """Whether these bytes are known, or the same rows in another order."""
        self.whole = self._digest(body)
        if self.whole in self._known:
            return True
        texts = parse.row_texts(body)
        self._texts = len(texts)
        self.rows = self._digest(b"},{".join(sorted(texts))) if texts else ""
        return self.rows in self._known

    def knows_contents(self, listed: Sequence[parse.Listed]) -> bool:
        """Whether a list that was read says what a known one says."""
        services = {service for service, _, _ in listed} - {""}
        # Of rows with the same id the first counts; and a text may hold what looks like the next row.
        if not self._texts == len(listed) == len(services):
            self.rows = ""
        self.contents = self._digest(parse.contents(listed))
        return self.contents in self._known

    def _digest(self, content: bytes) -> str:
        digest = hashlib.sha256(self._premises)
        digest.update(content)
        return digest.hexdigest()
