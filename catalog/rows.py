"""Judges the rows of a provider's list: what can be sold as it stands, and why the rest can't."""

import re
import unicodedata
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cached_property, lru_cache
from typing import NamedTuple

from django.utils.translation import gettext as _

from catalog.models import Service
from catalog.pricing import RATE_LIMIT, RATE_STEP, site_cost
from upstream.answers import Catalogue, ServiceRow
from upstream.order_types import find_type
from wallet.money import ZERO

# Seen at real panels: a maximum of 0 means "no limit".
NO_LIMIT = 1_000_000_000
# Nobody orders more, and rate x quantity stays a number that can be charged.
MOST = 10**12
NO_CATEGORY = "Other"

# Overrides and isolates can make a name read as something else, and run on into the page around it.
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
# Two different letters in a row: nearly every name has them.
_WORD = re.compile(r"([^\W_])(?!\1)[^\W_]")
# A double carries 15 digits; what follows them in 0.30000000000000004 is noise, not price.
_DOUBLE = Context(prec=15)


class Facts(NamedTuple):
    """What the provider decides about a service, in the form in which it is stored."""

    category: str
    name: str
    type: str
    order_type: str
    description: str
    cost_rate: Decimal
    min_quantity: int
    max_quantity: int
    refill: bool
    cancel: bool
    dripfeed: bool
    refusal: str


class Refused(NamedTuple):
    """A row that isn't sold, for the report."""

    upstream_id: str
    name: str
    reason: str


@dataclass(frozen=True)
class Judged:
    """A whole list: its rows by upstream ID in the list's order, and which of them are no good."""

    facts: dict[str, Facts]
    refused: tuple[Refused, ...]

    @cached_property
    def usable(self) -> frozenset[str]:
        return frozenset(one for one, facts in self.facts.items() if not facts.refusal)


def judge_all(catalogue: Catalogue) -> Judged:
    """Judge every row. The first row of an ID wins; later ones are reported, like unreadable ones."""
    facts: dict[str, Facts] = {}
    refused = [
        Refused(row.service, _("row %(number)s") % {"number": row.position + 1}, row.reason)
        for row in catalogue.unreadable
    ]
    for row in catalogue.rows:
        if row.service in facts:
            refused.append(Refused(row.service, row.name, _("this ID is listed twice")))
            continue
        facts[row.service] = judged = judge(row)
        if judged.refusal:
            refused.append(Refused(row.service, judged.name, reason(judged.refusal)))
    return Judged(facts=facts, refused=tuple(refused))


def reason(refusal: str) -> str:
    """The sentence for a value of Service.Refusal."""
    return str(Service.Refusal(refusal).label)


def judge(row: ServiceRow) -> Facts:
    """Turn a row into what is stored of it; `refusal` says why it can't be sold, if it can't.

    A minimum below 1 becomes 1, a maximum of 0 or none at all becomes "no limit" (seen at real
    panels), a rate is rounded up to what can be stored, and a drip-feed that the provider
    doesn't mention is not offered: the customer would pay for runs that may never come.
    """
    type_text, order_type = _type(row.type)
    low, high = _limits(row)
    name = _plain(row.name)
    # By position, in the order of Facts: many thousand of them are made in a sync.
    return Facts(
        _category(row.category),
        name,
        type_text,
        order_type,
        _BIDI.sub("", row.description) if row.description else "",
        ZERO if row.rate is None else _cost_rate(row.rate),
        low,
        high,
        row.refill,
        row.cancel,
        bool(row.dripfeed),
        _refusal(row, name, low, high, is_type_known=bool(order_type)),
    )


def is_separator(name: str) -> bool:
    """A line drawn into the list: no letter or digit, or one of them over and over (ˣˣˣˣ, ----)."""
    if _WORD.search(name):
        return False
    letters = [char for char in unicodedata.normalize("NFKC", name) if char.isalnum()]
    return not letters or (len(letters) > 2 and len(set(letters)) == 1)


# Thousands of rows share a few types, categories and rates; what was made of them is shared too.
@lru_cache(maxsize=256)
def _type(text: str) -> tuple[str, str]:
    """The type as it is stored, and its key; an empty one for a type that isn't known."""
    found = find_type(text)
    return text[:100].rstrip(), found.key if found else ""


@lru_cache(maxsize=1024)
def _category(text: str) -> str:
    return _plain(text)[:300].rstrip() or NO_CATEGORY


def _plain(text: str) -> str:
    # Overrides and isolates aren't printable, and nearly every text is.
    return (text if text.isprintable() else _BIDI.sub("", text)).strip()


def _limits(row: ServiceRow) -> tuple[int, int]:
    low, high = row.min or 1, row.max or NO_LIMIT
    if 1 <= low <= high <= MOST:
        return low, high
    return min(max(low, 1), MOST), max(min(high, MOST), -MOST)


@lru_cache(maxsize=4096)
def _cost_rate(rate: Decimal) -> Decimal:
    """The rate as it is stored: 0 for one that can't be."""
    if not 0 < rate <= RATE_LIMIT:
        return ZERO
    return site_cost(_DOUBLE.plus(rate), Decimal(1)).max(RATE_STEP)


def _refusal(row: ServiceRow, name: str, low: int, high: int, *, is_type_known: bool) -> str:
    refusal = Service.Refusal
    if not name:
        return refusal.NAME.value
    if is_separator(name):
        return refusal.SEPARATOR.value
    if row.rate is None:
        return refusal.RATE_MISSING.value
    if row.rate <= 0:
        return refusal.RATE_ZERO.value
    if row.rate > RATE_LIMIT:
        return refusal.RATE_ABSURD.value
    if low > high:
        return refusal.LIMITS.value
    return "" if is_type_known else refusal.TYPE.value
