"""A test of a provider before its IDs are searched: does it answer for ours, and for no others?

Without it a search proves nothing: a panel that tells everybody's orders would hand us strangers'
IDs, and one that tells nobody's would make every lost order look absent.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.utils import timezone
from django.utils.translation import gettext as _

from catalog.models import Provider
from orders import sights
from orders.matching import TOLERANCE, Lost, Own, around, disorder, window
from orders.models import Order, Scan
from orders.scans import Answers, Stop, ask, rest, scan_of, take_calls
from orders.states import Status
from upstream.answers import ItemError, OrderStatus
from upstream.errors import Kind
from upstream.verdicts import normalise

logger = logging.getLogger(__name__)

NEIGHBOURS = 20
GOOD_FOR = timedelta(days=30)
# A refusal of these kinds is about us or the moment, and says nothing of the ID.
_ABOUT_THE_ID = {Kind.REQUEST, Kind.LINK, Kind.SERVICE}
_CHARGES_LOOKED_AT = 50


@dataclass(frozen=True)
class CanaryResult:
    """How the test went; `passed` is None when it could not be made now, and `note` says why."""

    passed: bool | None
    note: str
    own_id: int | None = None


def is_due(scan: Scan, now: datetime) -> bool:
    """Whether to test before searching; one that failed waits for a person."""
    if scan.canary == Scan.Canary.PASSED:
        return scan.canary_at is None or scan.canary_at < now - GOOD_FOR
    return scan.canary == Scan.Canary.UNTRIED


def run_canary(provider: Provider, *, now: datetime | None = None) -> CanaryResult:
    """Ask for one of our IDs and the 20 nearest that are not ours; one call, outside transactions.

    A result is kept until the next test, a test that could not be made changes nothing.
    """
    now = now or timezone.now()
    scan = scan_of(provider)
    own = sights.history(provider)
    refusal = _history_refusal(provider, own)
    if refusal:
        return _keep(scan, refusal, now)
    chosen = _choose(own, sights.all_lost(provider))
    if chosen is None:
        return CanaryResult(None, _("No order here is far enough from one that is unconfirmed."))
    if not take_calls(scan, now):
        return CanaryResult(
            None, _("Not now: the provider was asked moments ago, or often enough.")
        )
    answers = ask(provider, [chosen.id, *_others(provider, chosen, own)])
    if isinstance(answers, Stop):
        rest(scan, answers.note, now)
        return CanaryResult(None, _("The provider did not answer; try again in ten minutes."))
    return _judge(scan, chosen, answers, now)


def _history_refusal(provider: Provider, own: Sequence[Own]) -> CanaryResult | None:
    """Why our own orders already speak against searching; None when they don't."""
    if not sights.ids_are_numbers(provider):
        return CanaryResult(False, _("Its IDs are not numbers."))
    problem = disorder(own)
    if problem == "history":
        return CanaryResult(None, _("At least 20 accepted orders are needed first."))
    if problem:
        return CanaryResult(False, _("Its IDs don't grow with time."))
    if not _charges_agree(provider):
        return CanaryResult(False, _("The charges it shows are not those we expect."))
    return None


def _charges_agree(provider: Provider) -> bool:
    """Whether orders without a refund were charged what we reckon; true while none is known.

    Some panels round a charge, or show the service's price: nothing could be told by it.
    """
    whole = Order.objects.filter(
        provider=provider, upstream_charge__isnull=False, parent=None
    ).exclude(status__in=[Status.PARTIAL, Status.CANCELED])
    latest = whole.order_by("-pk").values_list("upstream_charge", "expected_charge")
    pairs: list[tuple[Decimal | None, Decimal]] = list(latest[:_CHARGES_LOOKED_AT])
    alike = sum(
        charged is not None and abs(charged - expected) <= TOLERANCE for charged, expected in pairs
    )
    return alike * 10 >= len(pairs) * 9


def _choose(own: Sequence[Own], lost: Iterable[Lost]) -> Own | None:
    """A known order in the middle of others, with no lost one nearby that would answer as well."""
    windows = [window(each, own) for each in lost]
    ordered = sorted(own, key=lambda each: each.id)
    ids = [each.id for each in ordered]
    from_the_middle = sorted(enumerate(ordered), key=lambda pair: abs(pair[0] - len(ids) // 2))
    for _position, each in from_the_middle:
        near = around(each.id, ids, NEIGHBOURS)
        if not any(bounds.holds(id_) for bounds in windows for id_ in near):
            return each
    return None


def _others(provider: Provider, chosen: Own, own: Sequence[Own]) -> list[int]:
    """The nearest IDs that are not ours; parts of our orders are ours too."""
    near = around(chosen.id, [each.id for each in own], 3 * NEIGHBOURS)
    ours = sights.owned(provider, [str(id_) for id_ in near])
    return [id_ for id_ in near if str(id_) not in ours][:NEIGHBOURS]


def _judge(scan: Scan, own: Own, answers: Answers, now: datetime) -> CanaryResult:
    others = {id_: answer for id_, answer in answers.items() if id_ != str(own.id)}
    if not isinstance(answers.get(str(own.id)), OrderStatus):
        return _keep(scan, CanaryResult(False, _("It does not tell our own order."), own.id), now)
    told = sum(isinstance(answer, OrderStatus) for answer in others.values())
    if told:
        note = _("It tells %(count)s orders that are not ours.") % {"count": told}
        return _keep(scan, CanaryResult(False, note, own.id), now)
    errors = [answer for answer in others.values() if isinstance(answer, ItemError)]
    texts = {normalise(error.text) for error in errors}
    if any(error.missing for error in errors) or len(texts) != 1:
        note = _("It does not refuse other IDs in one way.")
        return _keep(scan, CanaryResult(False, note, own.id), now)
    if any(error.kind not in _ABOUT_THE_ID for error in errors):
        note = _("Its refusal of other IDs may be about something else.")
        return _keep(scan, CanaryResult(False, note, own.id), now)
    passed = CanaryResult(True, _("It tells our orders and no others."), own.id)
    return _keep(scan, passed, now, foreign_text=texts.pop())


def _keep(
    scan: Scan, result: CanaryResult, now: datetime, *, foreign_text: str = ""
) -> CanaryResult:
    if result.passed is None:
        return result
    Scan.objects.filter(pk=scan.pk).update(
        canary=Scan.Canary.PASSED if result.passed else Scan.Canary.FAILED,
        canary_at=now,
        canary_note=result.note[:300],
        foreign_text=foreign_text[:300],
        disorder="",
    )
    logger.info("canary provider=%s passed=%s", scan.provider_id, result.passed)
    return result
