"""Proving the money: every account against its entries, every order against its own.

Rows are read once, in order, and added up here in Decimal, so memory stays flat however many there
are. Orders and money move meanwhile; so whatever looks wrong is looked at again under its lock, and
only what is wrong then is a finding.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

from django.db import transaction
from django.db.models import Count, Exists, Min, OuterRef, QuerySet
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from orders.decisions import FOLLOWED, Shape, partial_refund, shape_of
from orders.models import Order
from orders.money import lock_order
from orders.pacing import GIVE_UP_AFTER
from orders.states import LEASED, OPEN, Dispatch, Status
from wallet.models import Account, Entry
from wallet.money import ZERO
from wallet.services import lock_account

T = TypeVar("T")

LEASE_GRACE = timedelta(minutes=5)
_CHUNK = 2000

SENTENCES = {
    "balance_differs": _("the balance and the entries differ"),
    "part_charged": _("a part order has money of its own"),
    "charge_missing": _("there is no entry for its charge"),
    "charged_twice": _("it was charged more than once"),
    "charge_differs": _("the entry and the charge differ"),
    "account_differs": _("an entry is in somebody else's wallet"),
    "refunds_differ": _("the refunds and their entries differ"),
    "refunded_too_much": _("more was refunded than charged"),
    "canceled_not_refunded": _("it is cancelled and not refunded in full"),
    "unsent_not_canceled": _("it was never placed and is not cancelled"),
    "refunded_while_open": _("it was refunded while it runs"),
    "refunded_though_completed": _("it was refunded though it completed"),
    "partial_refund_differs": _("its partial refund is not what remains says"),
    "accepted_without_id": _("it was accepted and has no ID at the provider"),
    "lease_over": _("it is being sent for far too long"),
    "not_followed": _("it runs and is not followed"),
    "followed_wrongly": _("it is asked about and should not be, or at another provider"),
    "entry_without_order": _("there are entries for an order that does not exist"),
    "placed_after_refund": _("it was placed at the provider after it was refunded"),
}

# What says that an order is on its way wrongly, and nothing of its customer's money.
_OF_THE_WAY = {"accepted_without_id", "lease_over", "not_followed", "followed_wrongly"}
_UNSENT = [Dispatch.REJECTED, Dispatch.WITHDRAWN]


@dataclass(frozen=True)
class Finding:
    """Something that should not be (or, without `is_error`, that someone should know).

    `account_id` or `order_id` say where; `text` is a sentence for the owner.
    """

    code: str
    text: str | Promise
    account_id: int | None = None
    order_id: int | None = None
    is_error: bool = True

    def __str__(self) -> str:
        if self.order_id is not None:
            return f"order {self.order_id}: {self.text}"
        if self.account_id is not None:
            return f"account {self.account_id}: {self.text}"
        return str(self.text)


class Posted(NamedTuple):
    """A ledger entry as plain values; a tuple, because there are millions."""

    account_id: int
    kind: str
    amount: Decimal
    balance_after: Decimal
    order_number: int | None


class OrderFacts(NamedTuple):
    """An order as far as the audit looks at it; the fields follow `_COLUMNS`."""

    pk: int
    account_id: int | None
    provider_id: int
    dispatch: str
    status: str
    quantity: int
    remains: int | None
    charge: Decimal
    refunded: Decimal
    upstream_id: str
    lease_until: datetime | None
    # Where it is asked about; None when it is not.
    polled_provider_id: int | None
    since: datetime
    shape: Shape


def check() -> list[Finding]:
    """Everything that is wrong with the money, accounts first; then what someone should know."""
    now = timezone.now()
    return [*_check_accounts(), *_check_orders(now), *_known(now)]


@transaction.atomic
def freeze(finding: Finding) -> bool:
    """Stop sale on the account whose money does not add up; False when it is frozen already, or
    when the finding is of no account or not of its money."""
    is_of_money = finding.is_error and finding.code not in _OF_THE_WAY
    if finding.account_id is None or not is_of_money:
        return False
    account = _lock(finding.account_id)
    if account.frozen_reason:
        return False
    account.frozen_reason = str(finding)[:200]
    account.save(update_fields=["frozen_reason"])
    return True


def account_fault(balance: Decimal, entries: Iterable[Posted]) -> str:
    """What is wrong with one account, given its entries in order; empty when all is right."""
    total = ZERO
    for entry in entries:
        total += entry.amount
        if entry.balance_after != total:
            return f"an entry says {entry.balance_after} where the sum is {total}"
    return "" if total == balance else f"the balance is {balance} and the entries sum to {total}"


def order_faults(order: OrderFacts, entries: Sequence[Posted], now: datetime) -> Iterator[str]:
    """Everything that is wrong with one order, as codes; nothing when all is right."""
    yield from _charge_faults(order, entries)
    yield from _refund_faults(order, entries)
    yield from _ending_faults(order, entries)
    yield from _way_faults(order, now)


def _charge_faults(order: OrderFacts, entries: Sequence[Posted]) -> Iterator[str]:
    charges = [entry for entry in entries if entry.kind == Entry.Kind.CHARGE]
    if order.dispatch == Dispatch.CHILD:
        if charges or order.charge:
            yield "part_charged"
        return
    if not charges:
        yield "charge_missing"
    if len(charges) > 1:
        yield "charged_twice"
    if charges and -charges[0].amount != order.charge:
        yield "charge_differs"
    if any(entry.account_id != order.account_id for entry in entries):
        yield "account_differs"


def _refund_faults(order: OrderFacts, entries: Sequence[Posted]) -> Iterator[str]:
    refunds = sum((entry.amount for entry in entries if entry.kind in Entry.REFUNDS), ZERO)
    if refunds != order.refunded:
        yield "refunds_differ"
    if refunds > order.charge:
        yield "refunded_too_much"


def _ending_faults(order: OrderFacts, entries: Sequence[Posted]) -> Iterator[str]:
    if order.status == Status.CANCELED and order.refunded != order.charge:
        yield "canceled_not_refunded"
    if order.dispatch in _UNSENT and order.status != Status.CANCELED:
        yield "unsent_not_canceled"
    by_itself = sum((entry.amount for entry in entries if entry.kind == Entry.Kind.REFUND), ZERO)
    if order.status in OPEN and by_itself:
        yield "refunded_while_open"
    if order.shape is Shape.SUBSCRIPTION:
        return
    if order.status == Status.COMPLETED and by_itself:
        yield "refunded_though_completed"
    if order.status == Status.PARTIAL and not _is_partial_right(order, by_itself):
        yield "partial_refund_differs"


def _is_partial_right(order: OrderFacts, by_itself: Decimal) -> bool:
    """By the formula, or all that staff's refunds had left of it."""
    owed = ZERO
    if order.shape is not Shape.FLAT:
        owed = partial_refund(order.charge, order.quantity, order.remains)
    return by_itself == owed or (by_itself < owed and order.refunded == order.charge)


def _way_faults(order: OrderFacts, now: datetime) -> Iterator[str]:
    if order.dispatch == Dispatch.ACCEPTED and not order.upstream_id:
        yield "accepted_without_id"
    if order.dispatch in LEASED and (
        order.lease_until is None or order.lease_until < now - LEASE_GRACE
    ):
        yield "lease_over"
    is_followed = order.dispatch in FOLLOWED and order.status in OPEN
    is_polled = order.polled_provider_id == order.provider_id
    if is_followed and not is_polled and now - order.since < GIVE_UP_AFTER:
        yield "not_followed"
    if order.polled_provider_id is not None and not (is_followed and is_polled):
        yield "followed_wrongly"


def _check_accounts() -> Iterator[Finding]:
    accounts = Account.objects.order_by("pk").values_list("pk", "balance").iterator(_CHUNK)
    entries = _posted(Entry.objects.order_by("account_id", "pk"))
    suspects = [
        pk
        for (pk, balance), own in _beside(accounts, groupby(entries, lambda each: each.account_id))
        if account_fault(balance, own)
    ]
    for pk in suspects:
        if fault := _look_again_at_account(pk):
            yield Finding("balance_differs", fault, account_id=pk)


def _beside(
    owners: Iterable[tuple[int, T]], groups: Iterator[tuple[int, Iterator[Posted]]]
) -> Iterator[tuple[tuple[int, T], Iterator[Posted]]]:
    """Each owner with its entries; both come in the order of the owner's number.

    Entries of no owner are passed over; the caller looks for them by themselves.
    """
    group = next(groups, None)
    for owner in owners:
        while group is not None and group[0] < owner[0]:
            group = next(groups, None)
        if group is not None and group[0] == owner[0]:
            yield owner, group[1]
            group = next(groups, None)
        else:
            yield owner, iter(())


def _posted(entries: QuerySet[Entry]) -> Iterator[Posted]:
    rows = entries.values_list("account_id", "kind", "amount", "balance_after", "order_number")
    return (Posted(*row) for row in rows.iterator(_CHUNK))


def _lock(account_id: int) -> Account:
    return lock_account(Account.objects.values_list("user_id", flat=True).get(pk=account_id))


@transaction.atomic
def _look_again_at_account(pk: int) -> str:
    account = _lock(pk)
    return account_fault(account.balance, _posted(account.entries.order_by("pk")))


def _check_orders(now: datetime) -> Iterator[Finding]:
    suspects = []
    of_orders = _posted(Entry.objects.filter(order_number__gt=0).order_by("order_number", "pk"))
    groups = groupby(of_orders, lambda each: each.order_number or 0)
    for (pk, facts), own in _beside(_order_rows(), groups):
        if any(order_faults(facts, list(own), now)):
            suspects.append(pk)
    for pk in suspects:
        # By the time of the look: an order may have grown too old to be followed since.
        account_id, faults = _look_again_at_order(pk, timezone.now())
        for code in faults:
            yield Finding(code, SENTENCES[code], account_id=account_id, order_id=pk)
    yield from _orphans()


def _orphans() -> Iterator[Finding]:
    numbers = Entry.objects.filter(order_number__isnull=False)
    lost = numbers.exclude(Exists(Order.objects.filter(pk=OuterRef("order_number"))))
    for number, account_id in lost.values_list("order_number", "account_id").distinct():
        code = "entry_without_order"
        yield Finding(code, SENTENCES[code], account_id=account_id, order_id=number)


_COLUMNS = (
    "pk", "customer__account", "provider_id", "dispatch", "status", "quantity", "remains", "charge",
    "refunded", "upstream_id", "lease_until", "poll__provider_id", "sent_at", "created_at",
    "order_type", "parameters",
)  # fmt: skip


def _order_rows() -> Iterator[tuple[int, OrderFacts]]:
    for row in Order.objects.order_by("pk").values_list(*_COLUMNS).iterator(_CHUNK):
        yield row[0], _order_facts(row)


def _order_facts(row: Sequence[Any]) -> OrderFacts:
    *plain, sent_at, created_at, order_type, parameters = row
    dispatch = plain[3]
    shape = shape_of(dispatch=dispatch, order_type=order_type, parameters=parameters)
    return OrderFacts._make([*plain, sent_at or created_at, shape])


@transaction.atomic
def _look_again_at_order(pk: int, now: datetime) -> tuple[int | None, list[str]]:
    lock_order(pk)
    facts = _order_facts(Order.objects.values_list(*_COLUMNS).get(pk=pk))
    entries = list(_posted(Entry.objects.filter(order_number=pk).order_by("pk")))
    return facts.account_id, list(order_faults(facts, entries, now))


def _known(now: datetime) -> Iterator[Finding]:
    """What is no error of the books and still costs someone a look."""
    unknown = Order.objects.filter(dispatch=Dispatch.UNKNOWN)
    oldest = unknown.aggregate(count=Count("pk"), since=Min("created_at"))
    if oldest["count"]:
        hours = int((now - oldest["since"]).total_seconds() // 3600)
        text = ngettext_lazy(
            "%(count)d order is unconfirmed; the oldest for %(hours)d hours",
            "%(count)d orders are unconfirmed; the oldest for %(hours)d hours",
            "count",
        ) % {"count": oldest["count"], "hours": hours}
        yield Finding("unknown", text, is_error=False)
    late = Order.objects.filter(attention="placed_after_refund").order_by("pk")
    for pk in late.values_list("pk", flat=True):
        code = "placed_after_refund"
        yield Finding(code, SENTENCES[code], order_id=pk, is_error=False)
