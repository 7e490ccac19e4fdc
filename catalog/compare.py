"""Compares a provider's list with what is stored: pure decisions on plain values."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from catalog.models import Service
from catalog.pricing import RATE_LIMIT, price_rate
from catalog.rows import Facts, Judged
from wallet.money import ZERO

# Panels were seen to lose more than half of their list for a day; a real change was never so large.
SHORT_PERCENT = 70


@dataclass(frozen=True, slots=True)
class Known:
    """A service as it is stored."""

    pk: int
    facts: Facts
    price_rate: Decimal
    pinned_rate: Decimal | None
    markup_percent: Decimal | None
    is_present: bool


@dataclass(frozen=True, slots=True)
class Heading:
    """A category as prices need it."""

    pk: int
    markup_percent: Decimal | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A provider's part of the catalogue: services by upstream ID, categories by name."""

    services: dict[str, Known]
    categories: dict[str, Heading]

    def category_markup(self, name: str) -> Decimal | None:
        """The category's own markup; None also for a category that isn't known yet."""
        heading = self.categories.get(name)
        return heading.markup_percent if heading else None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a provider's prices are made with: its exchange rate, its markup and the site's."""

    exchange_rate: Decimal
    markups: tuple[Decimal | None, Decimal]


@dataclass(frozen=True, slots=True)
class Change:
    """A listed service that is new (`known` is None), differs from what is stored, or came back."""

    upstream_id: str
    facts: Facts
    price_rate: Decimal
    known: Known | None
    position: int

    @property
    def has_new_facts(self) -> bool:
        return self.known is not None and self.facts != self.known.facts

    @property
    def has_new_price(self) -> bool:
        return self.known is not None and self.price_rate != self.known.price_rate

    @property
    def has_returned(self) -> bool:
        return self.known is not None and not self.known.is_present


def offer(
    facts: Facts, terms: Terms, category_markup: Decimal | None, known: Known | None
) -> tuple[Facts, Decimal]:
    """The price, and the facts with a refusal when that price is too high to be stored.

    A service without a usable cost has the price 0 and is refused already.
    """
    if not facts.cost_rate:
        return facts, ZERO
    price = price_rate(
        cost_rate=facts.cost_rate,
        exchange_rate=terms.exchange_rate,
        markups=(known.markup_percent if known else None, category_markup, *terms.markups),
        pinned=known.pinned_rate if known else None,
    )
    absurd = Service.Refusal.RATE_ABSURD.value
    if price > RATE_LIMIT:
        return facts._replace(refusal=facts.refusal or absurd), ZERO
    if facts.refusal == absurd:
        # The cost is fine, so it was the price that didn't fit, and now it does.
        return facts._replace(refusal=""), price
    return facts, price


def changes(stored: Stored, listed: Judged, terms: Terms) -> Iterator[Change]:
    """Every listed service that has to be written, in the list's order."""
    for position, (upstream_id, listed_facts) in enumerate(listed.facts.items()):
        known = stored.services.get(upstream_id)
        markup = stored.category_markup(listed_facts.category)
        facts, price = offer(listed_facts, terms, markup, known)
        change = Change(upstream_id, facts, price, known, position)
        if known is None or change.has_new_facts or change.has_new_price or change.has_returned:
            yield change


def repriced(stored: Stored, terms: Terms) -> Iterator[Change]:
    """Every stored service whose price no longer follows from cost, markup and exchange rate."""
    for upstream_id, known in stored.services.items():
        markup = stored.category_markup(known.facts.category)
        facts, price = offer(known.facts, terms, markup, known)
        change = Change(upstream_id, facts, price, known, position=0)
        if change.has_new_facts or change.has_new_price:
            yield change


def vanished(stored: Stored, listed: Judged) -> list[Known]:
    """What was there and is no longer listed."""
    return [
        known
        for upstream_id, known in stored.services.items()
        if known.is_present and upstream_id not in listed.facts
    ]


def is_in_line(stored: Stored, listed: Judged, terms: Terms) -> bool:
    """Nothing to write: no difference, and nothing vanished."""
    return next(changes(stored, listed, terms), None) is None and not vanished(stored, listed)


@dataclass(frozen=True, slots=True)
class Kept:
    """How much of what could be sold before is still listed and usable."""

    before: int
    left: int

    @property
    def is_short(self) -> bool:
        return self.left * 100 < self.before * SHORT_PERCENT


def kept(stored: Stored, listed: Judged) -> Kept:
    """Compare by ID: as many rows of other services are as suspect as a short list."""
    before = [
        upstream_id
        for upstream_id, known in stored.services.items()
        if known.is_present and not known.facts.refusal
    ]
    return Kept(len(before), sum(upstream_id in listed.usable for upstream_id in before))
