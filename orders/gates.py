"""Whether orders may be sent to a provider now: pauses, the breaker, and how many at once.

The decisions are pure functions on a `View` with `now` passed in; below them stands what reads and
writes the gate's row. A gate is only asked and changed in short transactions of its own.
"""

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Least, Now
from django.utils.translation import gettext as _

from catalog.models import ErrorRule, Provider
from catalog.sync import refresh_balance
from orders.errors import NotPossible
from orders.models import BackupMark, Gate, Order
from orders.states import LEASED, Dispatch
from orders.verdicts import Signal, Verdict

logger = logging.getLogger(__name__)

UNKNOWNS_TO_OPEN = 2
NOT_SENT_TO_OPEN = 3
FIRST_OPEN_SECONDS = 60
LONGEST_OPEN_SECONDS = 600
PROBE_EVERY = timedelta(seconds=60)
# What of a provider nobody needs who sends to it: how its catalogue is kept and priced.
_NOT_FOR_SENDING = [
    f"provider__{field.name}"
    for field in Provider._meta.concrete_fields
    if field.name.startswith(("hold", "sync_", "markup_", "margin_", "rounding_", "balance",
                              "catalogue_", "created_at"))
]  # fmt: skip


@dataclass(frozen=True)
class View:
    """A gate's state as plain values.

    The breaker is open while `open_until` is set, also when that moment has passed: then a probe
    decides. `open_seconds` above 0 with no `open_until` is a trial: the probe went well, and one
    order at a time shows whether sending works too.
    """

    pause: str = ""
    max_in_flight: int = 8
    unknowns_in_row: int = 0
    not_sent_in_row: int = 0
    open_until: datetime | None = None
    open_seconds: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether an answered order would change nothing."""
        return not (self.unknowns_in_row or self.not_sent_in_row or self.open_seconds)

    @property
    def slots(self) -> int:
        """How many orders may be under way at once."""
        return 1 if self.open_seconds else self.max_in_flight


def refusal(view: View, *, in_flight: int) -> str:
    """Why no order may be claimed now: a pause, "breaker" or "busy"; empty when one may."""
    if view.pause:
        return view.pause
    if view.open_until is not None:
        return "breaker"
    return "busy" if in_flight >= view.slots else ""


def after_unknown(view: View, now: datetime) -> View:
    """One more answer was lost; the second in a row opens the breaker."""
    count = view.unknowns_in_row + 1
    changed = replace(view, unknowns_in_row=count)
    return opened(changed, now) if count >= UNKNOWNS_TO_OPEN else changed


def after_not_sent(view: View, now: datetime) -> View:
    """One more try did not get through; the third in a row opens the breaker."""
    count = view.not_sent_in_row + 1
    changed = replace(view, not_sent_in_row=count)
    return opened(changed, now) if count >= NOT_SENT_TO_OPEN else changed


def after_answer(view: View) -> View:
    """The provider answered an order: nothing is in a row any more, and a trial is over.

    A breaker that is open stays so: this answer was on its way when it opened.
    """
    if view.open_until is not None:
        return view
    return replace(view, unknowns_in_row=0, not_sent_in_row=0, open_seconds=0)


def opened(view: View, now: datetime) -> View:
    """Open the breaker, twice as long as the last time; one that is open stays as it is."""
    if view.open_until is not None and view.open_until > now:
        return view
    seconds = min(LONGEST_OPEN_SECONDS, view.open_seconds * 2 or FIRST_OPEN_SECONDS)
    return replace(view, open_until=now + timedelta(seconds=seconds), open_seconds=seconds)


def after_probe(view: View, now: datetime, *, answered: bool) -> View:
    """A probe of an open breaker: closed on trial, where one more failure opens it again."""
    if not answered:
        return opened(view, now)
    return replace(
        view,
        open_until=None,
        unknowns_in_row=UNKNOWNS_TO_OPEN - 1,
        not_sent_in_row=NOT_SENT_TO_OPEN - 1,
    )


def funds_are_back(*, balance: Decimal, seen: Decimal | None, first_needs: Decimal | None) -> bool:
    """Whether to try again after a refusal for want of funds (all in the provider's currency)."""
    if first_needs is None or balance >= first_needs:
        return True
    return seen is not None and balance > seen


def view_of(gate: Gate) -> View:
    """The row as plain values."""
    return View(
        pause=gate.pause,
        max_in_flight=gate.max_in_flight,
        unknowns_in_row=gate.unknowns_in_row,
        not_sent_in_row=gate.not_sent_in_row,
        open_until=gate.open_until,
        open_seconds=gate.open_seconds,
    )


def gate_of(provider_id: int) -> Gate:
    """The provider's gate, made open the first time."""
    return Gate.objects.get_or_create(provider_id=provider_id)[0]


@dataclass(frozen=True)
class Held:
    """A gate locked until the transaction ends, its provider as it is now, and the database's time."""

    gate: Gate
    now: datetime
    has_error_rules: bool = True


def lock_gate(provider_id: int) -> Held:
    """Lock the provider's gate; nothing else of that provider is claimed meanwhile."""
    rows = (
        Gate.objects.select_for_update(no_key=True, of=("self",))
        .select_related("provider")
        .defer(*_NOT_FOR_SENDING)
        .annotate(
            db_now=Now(),
            has_error_rules=Exists(ErrorRule.objects.filter(provider=OuterRef("provider"))),
        )
    )
    gate = rows.filter(provider_id=provider_id).first()
    if gate is None:
        gate_of(provider_id)
        gate = rows.get(provider_id=provider_id)
    return Held(gate=gate, now=gate.db_now, has_error_rules=gate.has_error_rules)


def _store(gate: Gate, view: View) -> None:
    names = ["unknowns_in_row", "not_sent_in_row", "open_until", "open_seconds"]
    for name in names:
        setattr(gate, name, getattr(view, name))
    gate.save(update_fields=names)


@transaction.atomic
def note(provider_id: int, verdict: Verdict) -> None:
    """Let the gate follow from what became of an attempt."""
    held = lock_gate(provider_id)
    view = view_of(held.gate)
    if verdict.signal == Signal.ANSWERED:
        changed = after_answer(view)
    elif verdict.signal == Signal.NOT_SENT:
        changed = after_not_sent(view, held.now)
    elif verdict.signal == Signal.UNKNOWN:
        changed = after_unknown(view, held.now)
    else:
        _pause(held, Gate.Pause(verdict.signal.value), verdict.target or verdict.reason)
        return
    if changed.open_until and not view.open_until:
        logger.warning("breaker opened provider=%s until=%s", provider_id, changed.open_until)
    if changed != view:
        _store(held.gate, changed)


def _pause(held: Held, reason: Gate.Pause, text: str) -> None:
    gate = held.gate
    if gate.pause and (gate.pause != Gate.Pause.FUNDS or reason == Gate.Pause.FUNDS):
        return  # funds come back by themselves, so they never replace what staff must lift
    gate.pause = reason
    gate.pause_note = text[:300]
    gate.paused_at = held.now
    gate.probe_at = held.now + PROBE_EVERY
    gate.balance_seen = None
    gate.save(update_fields=["pause", "pause_note", "paused_at", "probe_at", "balance_seen"])
    logger.warning("sending paused provider=%s reason=%s", gate.provider_id, reason.value)


@transaction.atomic
def pause(provider_id: int, *, reason: Gate.Pause, text: str = "") -> None:
    """Stop sending to this provider until `resume`; harmless when it is paused already."""
    _pause(lock_gate(provider_id), reason, text)


@transaction.atomic
def resume(provider_id: int) -> None:
    """Send again, orders that waited for it first; also closes the breaker.

    Raises NotPossible after a restore from a backup until `manage.py after_restore` has run: orders
    that are queued in the backup may have been sent since.
    """
    held = lock_gate(provider_id)
    gate = held.gate
    if gate.pause == Gate.Pause.RESTORED and BackupMark.objects.exclude(restored_at=None).exists():
        raise NotPossible(_("Run manage.py after_restore first: these orders may have been sent."))
    waited = [name for name in (gate.pause, "breaker", "not_sent") if name]
    gate.pause = gate.pause_note = ""
    gate.paused_at = gate.probe_at = gate.balance_seen = None
    gate.save(update_fields=["pause", "pause_note", "paused_at", "probe_at", "balance_seen"])
    _store(gate, replace(view_of(gate), open_until=None, open_seconds=0, unknowns_in_row=0,
                         not_sent_in_row=0))  # fmt: skip
    _let_go(provider_id, waited)
    logger.info("sending resumed provider=%s", provider_id)


def due_probes() -> list[int]:
    """Providers to ask now whether sending works again."""
    breaker = Q(open_until__lte=Now(), pause="")
    funds = Q(pause=Gate.Pause.FUNDS, probe_at__lte=Now())
    enabled = Gate.objects.filter(breaker | funds, provider__is_enabled=True)
    return list(enabled.order_by("provider_id").values_list("provider_id", flat=True))


def probe(provider_id: int) -> bool:
    """Ask for the balance, never with an order, and open the gate again if that helps.

    Call outside transactions. True when orders may be sent again.
    """
    due = Gate.objects.filter(provider_id=provider_id).filter(
        Q(probe_at__lte=Now()) | Q(probe_at=None)
    )
    # One prober at a time, whoever else was told to.
    if not due.update(probe_at=Now() + PROBE_EVERY):
        return False
    answer = refresh_balance(Provider.objects.get(pk=provider_id))
    if gate_of(provider_id).pause == Gate.Pause.FUNDS:
        return answer is not None and _after_funds_probe(provider_id, answer.amount)
    return _after_breaker_probe(provider_id, answered=answer is not None)


def _after_funds_probe(provider_id: int, balance: Decimal) -> bool:
    queue = Order.objects.filter(provider_id=provider_id, dispatch=Dispatch.QUEUED)
    needs = queue.order_by("pk").values_list("expected_charge", flat=True).first()
    gate = gate_of(provider_id)
    if funds_are_back(balance=balance, seen=gate.balance_seen, first_needs=needs):
        resume(provider_id)
        return True
    Gate.objects.filter(pk=gate.pk).update(balance_seen=balance)
    return False


@transaction.atomic
def _after_breaker_probe(provider_id: int, *, answered: bool) -> bool:
    held = lock_gate(provider_id)
    view = view_of(held.gate)
    if view.open_until is None or view.open_until > held.now:
        return False
    _store(held.gate, after_probe(view, held.now, answered=answered))
    held.gate.probe_at = None
    held.gate.save(update_fields=["probe_at"])
    if answered:
        logger.info("breaker closed on trial provider=%s", provider_id)
        _let_go(provider_id, ["breaker", "not_sent"])
    return answered


def _let_go(provider_id: int, waited: list[str]) -> None:
    """Orders that waited for this are due since they were placed, and so go first."""
    Order.objects.filter(
        provider_id=provider_id, dispatch=Dispatch.QUEUED, waiting_for__in=waited
    ).update(not_before=Least("created_at", Now()))


def in_flight(provider_id: int) -> list[tuple[int, str]]:
    """Service and link of each order that a worker holds for this provider."""
    leased = Order.objects.filter(provider_id=provider_id, dispatch__in=LEASED)
    return list(leased.order_by().values_list("service_id", "link"))
