"""What a sync would do, without doing it."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from catalog import history
from catalog.compare import Change, Known, changes, kept, vanished
from catalog.models import HeldChange, Provider
from catalog.pricing import site_cost
from catalog.rows import Judged
from catalog.stored import read_stored, terms_of
from catalog.sync import fetch


@dataclass(frozen=True, slots=True)
class Row:
    """One service as the sync would leave it; `cost` and prices in the site's currency."""

    what: str  # "new", "changed", "held", "returned" or "gone"
    upstream_id: str
    name: str
    fields: history.Fields
    reasons: tuple[str, ...] = ()
    cost: Decimal | None = None
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """Everything the list would change. `fingerprint` names the list: apply that one or none."""

    fingerprint: str
    rows: tuple[Row, ...]
    refused: int
    is_short: bool

    def count(self, what: str) -> int:
        return sum(row.what == what for row in self.rows)


def preview(provider: Provider) -> Preview:
    """Fetch the provider's list and compare; writes nothing. Raises UpstreamError."""
    fetched = fetch(provider, even_if_known=True)
    assert fetched.listed is not None  # noqa: S101 - a list is always read when asked for
    listed, terms = fetched.listed, terms_of(provider)
    stored = read_stored(provider.pk)
    found = [_row(change, terms.exchange_rate) for change in changes(stored, listed, terms)]
    gone = [_gone(stored_id, known) for stored_id, known in _vanished(stored, listed)]
    return Preview(
        fingerprint=fetched.fingerprint,
        rows=(*found, *gone),
        refused=len(listed.refused),
        is_short=kept(stored, listed).is_short(terms.thresholds.vanishing),
    )


def _vanished(stored: Any, listed: Judged) -> Iterator[tuple[str, Known]]:
    gone = {known.pk for known in vanished(stored, listed)}
    return ((one, known) for one, known in stored.services.items() if known.pk in gone)


def _gone(upstream_id: str, known: Known) -> Row:
    return Row("gone", upstream_id, known.facts.name, {"is_present": [True, False]})


def _row(change: Change, exchange_rate: Decimal) -> Row:
    return Row(
        what=_what(change),
        upstream_id=change.upstream_id,
        name=change.facts.name,
        fields=history.fields_of(change),
        reasons=tuple(str(HeldChange.Reason(each).label) for each in change.reasons),
        cost=site_cost(change.facts.cost_rate, exchange_rate),
        price=change.price_rate,
    )


def _what(change: Change) -> str:
    if change.known is None:
        return "new"
    if change.reasons:
        return "held"
    return "returned" if change.has_returned else "changed"
