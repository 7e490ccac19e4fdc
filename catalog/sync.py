"""Keeps the catalogue like the providers' lists: fetch, judge, compare, write what differs.

The network comes first and outside of any transaction. A list that can't be trusted (none,
empty, suddenly short) changes nothing. What an admin decides about a service (own texts, markup,
pinned price, sold) is never written here, nor is "held", save that what vanished or came back
is held, and so is what changes beyond the provider's thresholds.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from catalog import chained, history, holds
from catalog.bulk import insert_rows, update_rows
from catalog.compare import Change, Kept, Stored, Terms, changes, kept, repriced, vanished
from catalog.models import DIGESTS, Provider, Service, SyncRun
from catalog.rows import Judged, judge_all, reason
from catalog.services import write_prices
from catalog.stored import FACT_COLUMNS, add_categories, read_stored, terms_of
from upstream.answers import Balance
from upstream.collector import resting
from upstream.errors import NotSent, Rejected, UpstreamError
from upstream.recognition import Recognition
from wallet.money import LIMIT

logger = logging.getLogger(__name__)

# Raise it when rows are judged or priced differently: every list is then read again once.
RULES = 2
REFUSED_ROWS_KEPT = 200
SAMPLES_KEPT = timedelta(days=90)

Report = Callable[[str], None]


def noop(_: str) -> None:
    """Reports to nobody."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A list and what it is recognised by; None for `listed` when it says what the last one said."""

    recognition: Recognition
    listed: Judged | None

    @property
    def fingerprint(self) -> str:
        """That of what it says, in whatever order; "" for a list that was known by less."""
        return self.recognition.contents


class ListRefused(Exception):
    """The list can't be trusted; the message says why. Nothing was changed."""


def sync_all(*, report: Report = noop) -> list[SyncRun]:
    """Sync every enabled provider, one after the other; one that fails doesn't stop the others."""
    enabled = Provider.objects.filter(is_enabled=True)
    runs = [sync_provider(provider, report=report) for provider in enabled]
    chained.record_runs()
    return runs


def sync_provider(
    provider: Provider,
    *,
    report: Report = noop,
    accepts_short: bool = False,
    expected: str = "",
) -> SyncRun:
    """Bring the catalogue in line with the provider's list, and return the record of it.

    Never raises for what the provider does: no usable answer is FAILED, a list that is empty or
    suddenly short is REFUSED (a short one unless someone `accepts_short`), and both change
    nothing. So is a list other than the `expected` one of a preview. Two syncs of one provider
    wait for each other and don't undo each other's work.
    """
    run = SyncRun(provider=provider)
    try:
        _sync(provider, run, report, accepts_short=accepts_short, expected=expected)
    except UpstreamError as error:
        run.outcome, run.note = SyncRun.Outcome.FAILED, explain(error)[:300]
    except ListRefused as refusal:
        run.outcome, run.note = SyncRun.Outcome.REFUSED, str(refusal)
    if run.finished_at is None:
        run.finished_at = timezone.now()
        run.save(force_insert=True)
    logger.info("catalogue of provider %s: %s %s", provider.pk, run.outcome, run.note)
    return run


def explain(error: UpstreamError) -> str:
    """What went wrong with a read, in a sentence for staff."""
    if isinstance(error, Rejected):
        return _("The provider refused: %(text)s") % {"text": error.text}
    if isinstance(error, NotSent):
        return _("The provider could not be reached: %(reason)s") % {"reason": error}
    return _("The provider gave no usable answer: %(reason)s") % {"reason": error}


def _sync(
    provider: Provider, run: SyncRun, report: Report, *, accepts_short: bool, expected: str
) -> None:
    report(_("Fetching the list of %(provider)s") % {"provider": provider})
    fetched = fetch(provider)
    digests = _digests(provider, fetched)
    if expected and digests["contents_sha256"] != expected:
        raise ListRefused(_("The list has changed since the preview; look at it again."))
    listed = fetched.listed
    run.outcome = SyncRun.Outcome.UNCHANGED
    if listed is None:
        _note_known(provider, digests)
        return
    report(_("%(count)s services listed") % {"count": len(listed.facts)})
    _note_refused(run, listed)
    if not listed.facts:
        raise ListRefused(_("The list is empty."))
    _apply(provider, run, listed, digests, report, accepts_short=accepts_short)
    _take_note(provider, digests)


def _digests(provider: Provider, fetched: Fetched) -> dict[str, str]:
    found = fetched.recognition
    # Its contents are not asked for when the rows were known: then it says what the last one said.
    values = (found.whole, found.rows, found.contents or provider.contents_sha256)
    return dict(zip(DIGESTS, values, strict=True))


def _take_note(provider: Provider, digests: dict[str, str]) -> None:
    for name, value in digests.items():
        setattr(provider, name, value)


def _note_known(provider: Provider, digests: dict[str, str]) -> None:
    """Remember a list that says the same as the last one that was applied."""
    if digests["catalogue_sha256"] == provider.catalogue_sha256:
        return
    # Another sync may have applied another list meanwhile, or somebody may have asked for a new
    # comparison (`services.forget_lists`).
    unmoved = Provider.objects.filter(pk=provider.pk, catalogue_sha256=provider.catalogue_sha256)
    unmoved.update(**digests)
    _take_note(provider, digests)


def fetch(provider: Provider, *, even_if_known: bool = False) -> Fetched:
    """Ask the provider for its list; raises UpstreamError. Outside of any transaction.

    The list that was applied last isn't read again, save `even_if_known`.
    """
    known = () if even_if_known else [getattr(provider, name) for name in DIGESTS]
    recognition = Recognition(known, _premises(provider))
    with provider.client(rules={}) as client:
        catalogue = client.services_if_new(recognition)
    with resting():
        return Fetched(recognition, None if catalogue is None else judge_all(catalogue))


def _premises(provider: Provider) -> bytes:
    """What the stored catalogue follows from beside the list and what `reprice` takes care of."""
    terms = terms_of(provider)
    limits = terms.thresholds
    numbers = (
        terms.exchange_rate,
        *terms.rules[0],
        *terms.rules[1],
        limits.cost_up,
        limits.vanishing,
    )
    plain = (None if number is None else number.normalize() for number in numbers)
    flags = (limits.retyped, limits.renamed, limits.below_cost, *sorted(terms.kept))
    return " ".join(str(value) for value in (RULES, *plain, *flags)).encode() + b"\n"


def _note_refused(run: SyncRun, listed: Judged) -> None:
    run.refused = len(listed.refused)
    run.refused_rows = [list(row) for row in listed.refused[:REFUSED_ROWS_KEPT]]


@transaction.atomic
def _apply(
    asked: Provider,
    run: SyncRun,
    listed: Judged,
    digests: dict[str, str],
    report: Report,
    *,
    accepts_short: bool,
) -> None:
    """Write the differences, in one transaction that holds the provider's row.

    A list that says what the last one said doesn't come here, so most that do have something to
    write; what is compared has to be read under the lock. By it the last list that was applied is
    the one that is remembered, whichever was fetched last.
    """
    provider = Provider.objects.locked(asked.pk)
    if _premises(provider) != _premises(asked):
        # Its settings were changed since it was asked: nobody knows this list under today's.
        digests.update(dict.fromkeys(DIGESTS, ""))
    Provider.objects.filter(pk=provider.pk).update(**digests)
    with resting():
        stored = read_stored(provider.pk)
    terms = terms_of(provider)
    if not accepts_short:
        _refuse_short(kept(stored, listed), terms.thresholds.vanishing)
    add_categories(stored, {facts.category for facts in listed.facts.values()})
    with resting():
        found = list(changes(stored, listed, terms))
    held = [change for change in found if change.reasons]
    found = [change for change in found if not change.reasons]
    gone = [known.pk for known in vanished(stored, listed)]
    aside = _aside(stored, terms, found, held)
    report(_("Writing %(count)s services") % {"count": len(found) + len(gone)})
    _insert(provider, stored, [change for change in found if change.known is None])
    _update(stored, [change for change in found if change.has_new_facts or change.has_new_price])
    _move(gone, [change.known.pk for change in found if change.known and change.has_returned])
    write_prices(aside)
    _count(run, (*found, *aside), listed)
    run.vanished, run.held = len(gone), len(held)
    if not (found or gone or held or aside):
        return  # what is new is nothing that we keep, or another sync was faster
    run.outcome = SyncRun.Outcome.APPLIED
    run.finished_at = timezone.now()
    run.save(force_insert=True)
    holds.drop_outdated(found)
    holds.hold(held, run)
    history.write(_history((*found, *aside), gone), history.Cause(run=run))


def _aside(
    stored: Stored, terms: Terms, found: Iterable[Change], held: Iterable[Change]
) -> list[Change]:
    """New prices of services whose change was held or ignored, now or before: those follow from rules,
    not from it."""
    taken, waiting = ({change.upstream_id for change in each} for each in (found, held))
    aside = {
        upstream_id: known
        for upstream_id, known in stored.services.items()
        if (known.set_aside or upstream_id in waiting)
        and known.is_present
        and upstream_id not in taken
    }
    return list(repriced(Stored(aside, stored.categories), terms))


def _history(found: Iterable[Change], gone: Iterable[int]) -> Iterator[tuple[int, history.Fields]]:
    for change in found:
        if change.known is None:
            continue
        fields = history.fields_of(change)
        if change.has_returned:
            fields["is_present"] = [False, True]
        yield change.known.pk, fields
    for pk in gone:
        yield pk, {"is_present": [True, False]}


def _refuse_short(found: Kept, percent: Decimal) -> None:
    if found.is_short(percent):
        raise ListRefused(
            _(
                "Only %(left)s of %(before)s services are still listed and usable. "
                "sync_catalog --accept-short applies such a list."
            )
            % {"left": found.left, "before": found.before}
        )


def _insert(provider: Provider, stored: Stored, new: Iterable[Change]) -> None:
    columns = ["provider_id", "is_held", "upstream_id", "category_id", *FACT_COLUMNS]
    insert_rows(
        Service,
        [*columns, "price_rate", "position"],
        (
            (provider.pk, provider.holds_new_services, change.upstream_id, *_values(stored, change))
            for change in new
        ),
    )


def _update(stored: Stored, changed: Iterable[Change]) -> None:
    now = timezone.now()
    update_rows(
        Service,
        ["category_id", *FACT_COLUMNS, "price_rate", "position", "changed_at"],
        (
            (change.known.pk, *_values(stored, change), now)
            for change in changed
            if change.known is not None
        ),
    )


def _values(stored: Stored, change: Change) -> tuple[object, ...]:
    category, *facts = change.facts
    heading = stored.categories[str(category)]
    return (heading.pk, *facts, change.price_rate, change.position)


def _move(gone: Iterable[int], back: Iterable[int]) -> None:
    """Take off sale what vanished, and keep what came back there until a human releases it."""
    now = timezone.now()
    rows = [(pk, False, True, now) for pk in gone] + [(pk, True, True, now) for pk in back]
    update_rows(Service, ["is_present", "is_held", "changed_at"], rows)


def _count(run: SyncRun, found: Iterable[Change], listed: Judged) -> None:
    for change in found:
        run.added += change.known is None
        run.changed += change.has_new_facts
        run.repriced += change.has_new_price and not change.facts.refusal
        run.returned += change.has_returned
        if change.facts.refusal and change.upstream_id in listed.usable:
            # Only its price, which the list doesn't say, is too high.
            run.refused += 1
            row = [change.upstream_id, change.facts.name, reason(change.facts.refusal)]
            run.refused_rows = [*run.refused_rows, row][:REFUSED_ROWS_KEPT]


def refresh_balances() -> int:
    """Ask every enabled provider for our balance; returns how many told it."""
    enabled = Provider.objects.filter(is_enabled=True)
    return sum(refresh_balance(provider) is not None for provider in enabled)


def refresh_balance(provider: Provider) -> Balance | None:
    """Ask a provider for our balance there and store it; None when there is no usable answer.

    A balance in another currency than the provider is set to isn't stored as if it were in
    that one: `balance_note` says so, and so does the log, because all its prices are off too.
    """
    asked_at = timezone.now()
    try:
        with provider.client(rules={}) as client:
            balance = client.balance()
    except UpstreamError as error:
        logger.warning("balance of provider %s: %s", provider.pk, error)
        return None
    provider.balance_note = _balance_note(provider, balance)
    if provider.balance_note:
        logger.warning("balance of provider %s: %s", provider.pk, provider.balance_note)
    else:
        provider.balance = balance.amount.quantize(Decimal("0.000001"), ROUND_DOWN)
        _keep_sample(provider, provider.balance, asked_at)
    provider.balance_checked_at = timezone.now()
    provider.save(update_fields=["balance", "balance_note", "balance_checked_at"])
    return balance


def _keep_sample(provider: Provider, amount: Decimal, asked_at: datetime) -> None:
    """Remember the reading for 90 days: what orders cost can be compared with it."""
    now = timezone.now()
    samples = provider.balance_samples
    samples.create(asked_at=asked_at, answered_at=now, amount=amount)
    samples.filter(asked_at__lt=now - SAMPLES_KEPT).delete()


def _balance_note(provider: Provider, balance: Balance) -> str:
    if balance.currency and balance.currency.upper() != provider.currency.upper():
        return _("The provider answers in %(answered)s and is set to %(expected)s.") % {
            "answered": balance.currency[:8],
            "expected": provider.currency,
        }
    if abs(balance.amount) > LIMIT:
        return _("The balance is too large to be stored.")
    return ""
