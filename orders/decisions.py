"""What a provider's status means for an order and its money.

Pure: plain values in, a Decision out; `orders.settlement` writes it down. The rules:

- Canceled, Fail, Error, Rejected and Refunded give back all that is left of the charge.
- Partial gives back charge x remains / quantity, rounded down, once. What remains is taken
  between 0 and the quantity; when it is missing or negative nothing is given back and staff look.
- A package has no proportion: Partial gives nothing back by itself.
- Answers repeat and go back: a refund of one kind is made once per order, and all together never
  exceed the charge. Partial followed by Canceled pays the difference.
- A final status is not reversed. Canceled followed by Completed, or Partial by anything but a
  cancel, is recorded and shown and moves no money. Orders that are final are no longer polled, so
  Completed followed by Partial or Canceled is only met when someone checks the order: what is owed
  then is paid, and the order is flagged.

Drip-feed orders and subscriptions are containers: their parts are orders of the provider's making,
each with a status of its own, and the parent is settled when the provider has ended it and every
part is final. Seen at real panels: a parent shows status, runs or posts, and the parts' IDs, and
neither charge nor remains.

- Drip-feed: undelivered are what remains of partial parts, canceled parts, and, when the provider
  canceled the parent, runs that were never made. Given back: charge x undelivered / quantity. A
  Partial that names no parts, as staff say it too, is taken at its word: undelivered is what remains.
- Subscription: the most it could come to was charged. Used is, for each part, price x delivered
  units / 1000 rounded up; the rest is given back. A part's quantity is not shown; it follows from
  the part's first charge and the provider's rate, kept between the agreed min and max, and is the
  max while no charge is known. Without parts, the parent's own charge or posts x max is used.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from functools import lru_cache

from orders.attention import PASSING, Attention
from orders.states import FINAL, Dispatch, Status
from upstream.answers import OrderStatus, State
from upstream.order_types import Units, find_type
from wallet.money import LIMIT, ZERO, round_money

# Only these have an order at the provider that is theirs.
FOLLOWED = [Dispatch.ACCEPTED, Dispatch.CHILD]

_RUNNING = {
    State.PENDING: Status.PENDING,
    State.PROCESSING: Status.PROCESSING,
    State.IN_PROGRESS: Status.IN_PROGRESS,
    State.ACTIVE: Status.IN_PROGRESS,
    # A subscription pauses while our balance there is short; that is no end and no refund.
    State.PAUSED: Status.IN_PROGRESS,
}
_UNDONE = {State.CANCELED, State.FAILED, State.REFUNDED}
_ENDED = _UNDONE | {State.COMPLETED, State.PARTIAL, State.EXPIRED}
_MONEY_PLACES = Decimal("0.000001")
_BIGGEST_COUNT = 2**62


class Shape(enum.Enum):
    """How an order is delivered, as far as its money depends on it."""

    PLAIN = "plain"
    FLAT = "flat"
    CHILD = "child"
    DRIP_FEED = "drip_feed"
    SUBSCRIPTION = "subscription"

    @property
    def is_container(self) -> bool:
        return self in (Shape.DRIP_FEED, Shape.SUBSCRIPTION)


@dataclass(frozen=True)
class Part:
    """What is known of one part order of a container."""

    status: Status
    quantity: int
    remains: int | None

    @property
    def undelivered(self) -> int:
        """Units that did not come; none when a partial part does not say what remains."""
        if self.status == Status.CANCELED:
            return self.quantity
        if self.status == Status.PARTIAL:
            return max(0, min(self.remains or 0, self.quantity))
        return 0

    @property
    def is_unclear(self) -> bool:
        return self.status == Status.PARTIAL and (self.remains is None or self.remains < 0)


@dataclass(frozen=True)
class Facts:
    """What is known of an order before an answer is applied. Amounts in the site's currency,
    but for `expected_charge` and `upstream_charge`, which are in the provider's.

    `runs` and `per_part` are what was agreed for a container: how many parts at most, and how many
    units each at most. `unadopted` counts parts whose IDs belong to other orders here.
    """

    dispatch: Dispatch
    status: Status
    shape: Shape
    quantity: int
    charge: Decimal
    refunded: Decimal
    raw_status: str = ""
    start_count: int | None = None
    remains: int | None = None
    upstream_charge: Decimal | None = None
    attention: str = ""
    price_rate: Decimal = ZERO
    expected_charge: Decimal = ZERO
    runs: int = 1
    per_part: int = 0
    parts: tuple[Part, ...] = ()
    unadopted: int = 0

    @property
    def left(self) -> Decimal:
        """What has not been given back yet."""
        return self.charge - self.refunded


@dataclass(frozen=True)
class Decision:
    """What an answer changes. `refund` is paid once under `reference`, a suffix such as "partial";
    `is_contrary` says that the provider went back on a final status."""

    status: Status
    raw_status: str
    start_count: int | None
    remains: int | None
    upstream_charge: Decimal | None
    attention: str
    refund: Decimal = ZERO
    reference: str = ""
    is_contrary: bool = False

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


def shape_of(*, dispatch: str, order_type: str, parameters: Mapping[str, str]) -> Shape:
    """The shape that was agreed when the order was placed, whatever the provider shows."""
    if dispatch == Dispatch.CHILD:
        return Shape.CHILD
    units_by = _units_by(order_type)
    if units_by is Units.PER_POST:
        return Shape.SUBSCRIPTION
    if units_by is Units.FLAT:
        return Shape.FLAT
    return Shape.DRIP_FEED if parameters.get("runs") else Shape.PLAIN


@lru_cache(maxsize=256)
def _units_by(order_type: str) -> Units | None:
    """Remembered, because polling and the audit ask it of every order."""
    known = find_type(order_type)
    return known.units_by if known else None


def partial_refund(charge: Decimal, quantity: int, remains: int | None) -> Decimal:
    """charge x remains / quantity, rounded down; nothing when remains is missing or negative."""
    if remains is None:
        return ZERO
    return round_money(charge * max(0, min(remains, quantity)) / quantity, up=False)


def units_of_charge(charge: Decimal, facts: Facts, *, least: int) -> int:
    """A subscription part's units by what the provider charged for it, within what was agreed."""
    if facts.expected_charge <= 0:
        return facts.per_part
    units = charge * facts.quantity / facts.expected_charge
    nearest = int(units.quantize(Decimal(1), rounding=ROUND_HALF_UP))
    return max(1, least, min(nearest, facts.per_part))


def decide(facts: Facts, answer: OrderStatus) -> Decision:
    """What `answer` changes; the same facts when it changes nothing. The rules stand above."""
    if facts.dispatch not in FOLLOWED:
        return _keep(facts)
    if facts.status in FINAL:
        return _after_the_end(facts, answer)
    if answer.state in _RUNNING:
        return _told(facts, answer, _RUNNING[answer.state])
    if answer.state not in _ENDED:
        return _told(facts, answer, facts.status, attention=Attention.UNKNOWN_STATUS)
    if facts.shape is Shape.SUBSCRIPTION or (
        facts.shape is Shape.DRIP_FEED and (facts.parts or _has_parts(answer))
    ):
        return _container(facts, answer)
    if answer.state == State.EXPIRED:
        return _told(facts, answer, facts.status, attention=Attention.UNKNOWN_STATUS)
    return _end(facts, answer)


def is_news(facts: Facts, decision: Decision) -> bool:
    """Whether a decision has anything to write."""
    return decision != _keep(facts)


def _keep(facts: Facts) -> Decision:
    return Decision(
        status=facts.status,
        raw_status=facts.raw_status,
        start_count=facts.start_count,
        remains=facts.remains,
        upstream_charge=facts.upstream_charge,
        attention=facts.attention,
    )


def _told(facts: Facts, answer: OrderStatus, status: Status, *, attention: str = "") -> Decision:
    """The answer's plain facts under a status; what it leaves out stays as it was."""
    start_count, remains = _count(answer.start_count), _count(answer.remains)
    charge = amount_of(answer.charge)
    kept = "" if facts.attention in PASSING else facts.attention
    return Decision(
        status=status,
        raw_status=answer.raw_status[:60],
        start_count=facts.start_count if start_count is None else start_count,
        remains=facts.remains if remains is None else remains,
        upstream_charge=facts.upstream_charge if charge is None else charge,
        attention=attention or kept,
    )


def _count(value: int | None) -> int | None:
    return value if value is not None and abs(value) <= _BIGGEST_COUNT else None


def amount_of(value: Decimal | None) -> Decimal | None:
    """A charge as the provider says it; None for one that can't be kept."""
    if value is None or not 0 <= value <= LIMIT:
        return None
    return value.quantize(_MONEY_PLACES, rounding=ROUND_HALF_EVEN)


def _end(facts: Facts, answer: OrderStatus) -> Decision:
    if answer.state == State.COMPLETED:
        return _told(facts, answer, Status.COMPLETED)
    if answer.state == State.PARTIAL:
        return _partial(facts, answer)
    told = _told(facts, answer, Status.CANCELED)
    return replace(told, refund=facts.left, reference="canceled")


def _partial(facts: Facts, answer: OrderStatus) -> Decision:
    remains = _count(answer.remains)
    told = replace(_told(facts, answer, Status.PARTIAL), remains=remains)
    if facts.shape is Shape.FLAT:
        return replace(told, attention=Attention.PARTIAL_PACKAGE)
    if remains is None or remains < 0:
        return replace(told, attention=Attention.PARTIAL_REMAINS)
    owed = min(partial_refund(facts.charge, facts.quantity, remains), facts.left)
    attention = Attention.REMAINS_RANGE if remains > facts.quantity else told.attention
    return replace(told, refund=owed, reference="partial", attention=attention)


def _after_the_end(facts: Facts, answer: OrderStatus) -> Decision:
    keep = _keep(facts)
    if _is_same_end(facts, answer):
        return keep
    pays = facts.status == Status.COMPLETED or (
        facts.status == Status.PARTIAL and answer.state in _UNDONE
    )
    if pays and answer.state in _UNDONE | {State.PARTIAL} and not facts.shape.is_container:
        owed = _end(facts, answer)
        attention = Attention.LATE_REVERSAL if owed.refund else owed.attention
        return replace(owed, attention=attention or Attention.CONTRARY, is_contrary=True)
    # The facts stay as they were settled, so that the refund can still be reckoned from them.
    return replace(
        keep,
        raw_status=answer.raw_status[:60],
        attention=Attention.CONTRARY,
        is_contrary=True,
    )


def _is_same_end(facts: Facts, answer: OrderStatus) -> bool:
    if facts.shape.is_container or facts.status == Status.CANCELED:
        # A parent's own status follows from its parts, so only the provider's word is compared.
        same_word = answer.raw_status[:60] == facts.raw_status
        return same_word or (facts.status == Status.CANCELED and answer.state in _UNDONE)
    if facts.status == Status.COMPLETED:
        return answer.state == State.COMPLETED or _repeats(facts, answer)
    same_remains = _count(answer.remains) in (None, facts.remains)
    return (answer.state == State.PARTIAL and same_remains) or _repeats(facts, answer)


def _repeats(facts: Facts, answer: OrderStatus) -> bool:
    """A contrary word that was recorded before; words that move money are never only recorded."""
    is_recorded = facts.attention == Attention.CONTRARY and answer.state not in _UNDONE
    return is_recorded and answer.raw_status[:60] == facts.raw_status


def _has_parts(answer: OrderStatus) -> bool:
    return bool(answer.orders or answer.old_orders) or answer.runs is not None


def _container(facts: Facts, answer: OrderStatus) -> Decision:
    if facts.unadopted:
        return _told(facts, answer, Status.IN_PROGRESS, attention=Attention.PART_TAKEN)
    if any(part.status not in FINAL for part in facts.parts):
        return _told(facts, answer, Status.IN_PROGRESS)
    if facts.shape is Shape.SUBSCRIPTION:
        return _settle_subscription(facts, answer)
    return _settle_drip_feed(facts, answer)


def _settle_drip_feed(facts: Facts, answer: OrderStatus) -> Decision:
    undelivered, is_unclear = _undelivered(facts, answer)
    owed = min(partial_refund(facts.charge, facts.quantity, undelivered), facts.left)
    told = _told(facts, answer, _end_status(facts, answer, owed, undelivered))
    return replace(
        told,
        remains=undelivered,
        refund=owed,
        reference="settled",
        attention=Attention.PARTS_MISSING if is_unclear else told.attention,
    )


def _undelivered(facts: Facts, answer: OrderStatus) -> tuple[int, bool]:
    """The units of a drip-feed that did not come, and whether staff should look."""
    is_partial = answer.state == State.PARTIAL and not _has_parts(answer)
    remains = _count(answer.remains)
    if is_partial and remains is not None and remains >= 0:
        # A word about the whole, which names no parts: more may have been made than are known.
        return min(remains, facts.quantity), remains > facts.quantity
    undelivered = sum(part.undelivered for part in facts.parts)
    unlisted = max(0, facts.runs - len(facts.parts))
    # `runs` was seen as the number done and as the number ordered: runs it counts but doesn't list
    # may have been made, so they are left to staff.
    counted = (answer.runs or 0) <= len(facts.parts)
    is_certain = answer.state != State.COMPLETED and counted and not is_partial
    if unlisted and is_certain:
        undelivered += unlisted * facts.per_part
    unclear = any(part.is_unclear for part in facts.parts) or (unlisted > 0 and not is_certain)
    return undelivered, unclear


def _end_status(facts: Facts, answer: OrderStatus, owed: Decimal, undelivered: int) -> Status:
    if owed == facts.left and undelivered >= facts.quantity:
        return Status.CANCELED
    is_whole = undelivered == 0 and answer.state == State.COMPLETED
    return Status.COMPLETED if is_whole else Status.PARTIAL


def _settle_subscription(facts: Facts, answer: OrderStatus) -> Decision:
    used, is_unclear = _used(facts, answer)
    owed = max(ZERO, min(facts.charge - used, facts.left))
    status = Status.COMPLETED
    if owed == facts.left and used == 0:
        status = Status.CANCELED
    elif answer.state in _UNDONE:
        status = Status.PARTIAL
    told = _told(facts, answer, status)
    attention = Attention.PARTS_MISSING if is_unclear else told.attention
    return replace(told, refund=owed, reference="settled", attention=attention)


def _used(facts: Facts, answer: OrderStatus) -> tuple[Decimal, bool]:
    """What a subscription used of its charge, and whether staff should look."""
    charge = amount_of(answer.charge)
    if not facts.parts and charge is not None and facts.expected_charge > 0:
        return round_money(charge * facts.charge / facts.expected_charge, up=True), False
    unlisted = max(0, (answer.posts or 0) - len(answer.orders))
    delivered = [part.quantity - part.undelivered for part in facts.parts]
    delivered.append(unlisted * facts.per_part)
    used = sum((round_money(facts.price_rate * each / 1000, up=True) for each in delivered), ZERO)
    return used, bool(unlisted) or any(part.is_unclear for part in facts.parts)
