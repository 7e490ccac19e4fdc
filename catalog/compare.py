"""Compares a provider's list with what is stored: pure decisions on plain values."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from difflib import SequenceMatcher
from functools import lru_cache
from typing import NamedTuple

from catalog.models import HeldChange, Service
from catalog.pricing import NO_RULE, RATE_LIMIT, Rule, site_cost, work_out
from catalog.rows import Facts, Judged, is_separator
from wallet.money import ZERO

# Seen in a list 83 days apart: a renamed service keeps more than this of its letters, and an ID
# that was given to another service doesn't.
_ALIKE = 0.4
_WORDS = re.compile(r"[^\W_]+")


class Known(NamedTuple):
    """A service as it is stored; thousands of them are made in a sync."""

    pk: int
    facts: Facts
    price_rate: Decimal
    pinned_rate: Decimal | None
    is_present: bool
    is_held: bool
    set_aside: str
    keeps_category: bool
    rule: Rule


@dataclass(frozen=True, slots=True)
class Heading:
    """A category as prices need it."""

    pk: int
    rule: Rule


@dataclass(frozen=True, slots=True)
class Stored:
    """A provider's part of the catalogue: services by upstream ID, categories by name."""

    services: dict[str, Known]
    categories: dict[str, Heading]

    def category_rule(self, name: str) -> Rule:
        """The category's own rule; an empty one for a category that isn't known yet."""
        heading = self.categories.get(name)
        return heading.rule if heading else NO_RULE


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From what size on a change of the list waits for a person; None and False: never."""

    cost_up: Decimal | None = None
    vanishing: Decimal = Decimal(30)
    retyped: bool = False
    renamed: bool = False
    below_cost: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """What a provider's prices are made with, and how its list is taken over.

    `rules` are the provider's and the site's; `kept` are the fields that a sync leaves as they are.
    """

    exchange_rate: Decimal
    rules: tuple[Rule, Rule]
    thresholds: Thresholds = Thresholds()
    kept: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Change:
    """A listed service that is new (`known` is None), differs from what is stored, or came back.

    With `reasons` it is held: nothing of it is taken over until somebody decides.
    """

    upstream_id: str
    facts: Facts
    price_rate: Decimal
    known: Known | None
    position: int
    reasons: tuple[HeldChange.Reason, ...] = ()

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
    facts: Facts, terms: Terms, category_rule: Rule, known: Known | None
) -> tuple[Facts, Decimal]:
    """The price, and the facts with a refusal when that price is too high to be stored.

    A service without a usable cost has the price 0 and is refused already.
    """
    if not facts.cost_rate:
        return facts, ZERO
    rules = (known.rule if known else NO_RULE, category_rule, *terms.rules)
    pinned = known.pinned_rate if known else None
    price = _price(facts.cost_rate, terms.exchange_rate, rules, pinned)
    absurd = Service.Refusal.RATE_ABSURD.value
    if price > RATE_LIMIT:
        return facts._replace(refusal=facts.refusal or absurd), ZERO
    if facts.refusal == absurd:
        # The cost is fine, so it was the price that didn't fit, and now it does.
        return facts._replace(refusal=""), price
    return facts, price


# A list names most of its rates more than once, and a sync compares it more than once.
@lru_cache(maxsize=16_384)
def _price(
    cost_rate: Decimal, exchange_rate: Decimal, rules: tuple[Rule, ...], pinned: Decimal | None
) -> Decimal:
    return work_out(
        cost_rate=cost_rate, exchange_rate=exchange_rate, rules=rules, pinned=pinned
    ).rate


def changes(stored: Stored, listed: Judged, terms: Terms) -> Iterator[Change]:
    """Every listed service that has to be written, in the list's order."""
    for position, (upstream_id, listed_facts) in enumerate(listed.facts.items()):
        known = stored.services.get(upstream_id)
        wanted = _kept(listed_facts, known, terms)
        if known and known.set_aside and _is_set_aside(known, wanted):
            continue
        facts, price = offer(wanted, terms, stored.category_rule(wanted.category), known)
        if known is None or _differs(known, facts, price):
            reasons = hold_reasons(known, facts, terms) if known else ()
            yield Change(upstream_id, facts, price, known, position, reasons)


def _differs(known: Known, facts: Facts, price: Decimal) -> bool:
    is_other = facts != known.facts or price != known.price_rate
    return is_other or not known.is_present or bool(known.set_aside)


def _is_set_aside(known: Known, wanted: Facts) -> bool:
    """It was held or ignored as it stands; one that came back waits for somebody once more."""
    return known.is_present and known.set_aside == digest(wanted)


def _kept(listed: Facts, known: Known | None, terms: Terms) -> Facts:
    if known is None or not (terms.kept or known.keeps_category):
        return listed
    names = terms.kept - _faults(known.facts) if known.facts.refusal else terms.kept
    kept = {name: getattr(known.facts, name) for name in names}
    if known.keeps_category:
        kept["category"] = known.facts.category
    return listed._replace(**kept)


def _faults(facts: Facts) -> set[str]:
    """The fields with which nothing can be sold, so that nobody wants to keep them."""
    found = set()
    if not facts.name or is_separator(facts.name):
        found.add("name")
    if facts.min_quantity > facts.max_quantity:
        found |= {"min_quantity", "max_quantity"}
    return found


def hold_reasons(known: Known, facts: Facts, terms: Terms) -> tuple[HeldChange.Reason, ...]:
    """Why a person should see this change before it is taken over; empty for a safe one.

    What can't be sold before or after isn't held, and what came back is held anyway.
    """
    if known.facts.refusal or facts.refusal or not known.is_present:
        return ()
    if facts == known.facts:
        return ()
    reason, limits, before = HeldChange.Reason, terms.thresholds, known.facts
    checks = (
        (reason.COST, limits.cost_up is not None and _rises(before, facts, limits.cost_up)),
        (reason.BELOW_COST, limits.below_cost and _sinks_below_cost(known, facts, terms)),
        (reason.TYPE, limits.retyped and facts.order_type != before.order_type),
        (reason.NAME, limits.renamed and not is_alike(before.name, facts.name)),
    )
    return tuple(each for each, is_so in checks if is_so)


def _rises(before: Facts, after: Facts, percent: Decimal) -> bool:
    return after.cost_rate * 100 > before.cost_rate * (100 + percent)


def _sinks_below_cost(known: Known, facts: Facts, terms: Terms) -> bool:
    if known.pinned_rate is None or facts.cost_rate == known.facts.cost_rate:
        return False
    return site_cost(facts.cost_rate, terms.exchange_rate) > known.pinned_rate


def is_alike(before: str, after: str) -> bool:
    """Whether a name can still be recognised: most of its letters are there, or half its words."""
    if before == after:
        return True
    old, new = before.casefold(), after.casefold()
    old_words, new_words = set(_WORDS.findall(old)), set(_WORDS.findall(new))
    if old_words and 2 * len(old_words & new_words) >= min(len(old_words), len(new_words)):
        return True
    return SequenceMatcher(None, old, new, autojunk=False).ratio() >= _ALIKE


def digest(facts: Facts) -> str:
    """Tells one listed row from another."""
    parts = (
        f"{value.normalize():f}" if isinstance(value, Decimal) else str(value) for value in facts
    )
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def repriced(stored: Stored, terms: Terms) -> Iterator[Change]:
    """Every stored service whose price no longer follows from cost, rules and exchange rate."""
    for upstream_id, known in stored.services.items():
        rule = stored.category_rule(known.facts.category)
        facts, price = offer(known.facts, terms, rule, known)
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


@dataclass(frozen=True, slots=True)
class Kept:
    """How much of what could be sold before is still listed and usable."""

    before: int
    left: int

    def is_short(self, percent: Decimal) -> bool:
        """Whether more than this share is missing."""
        return (self.before - self.left) * 100 > self.before * percent


def kept(stored: Stored, listed: Judged) -> Kept:
    """Compare by ID: as many rows of other services are as suspect as a short list."""
    before = [
        upstream_id
        for upstream_id, known in stored.services.items()
        if known.is_present and not known.facts.refusal
    ]
    return Kept(len(before), sum(upstream_id in listed.usable for upstream_id in before))
