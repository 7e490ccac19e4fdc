"""An order's money: the one place where an order is locked with its account, charged and refunded."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from accounts.models import User
from orders.errors import NotPossible
from orders.models import Event, Order
from orders.timeline import Code, record
from wallet.models import Account, Entry
from wallet.services import Movement, lock_account, post, post_at_once, post_many, post_with
from wallet.together import Pending

# Followed by the order's number: what a charge is known by in the ledger.
_REFERENCE = "order-"


@dataclass(frozen=True)
class Locked:
    """An order and its customer's account, both locked until the transaction ends."""

    account: Account
    order: Order


def lock_order(order_id: int) -> Locked:
    """Lock the account, then the order: the order in which all code takes these locks."""
    customer_id = Order.objects.values_list("customer_id", flat=True).get(pk=order_id)
    account = lock_account(customer_id)
    order = Order.objects.select_for_update(no_key=True, of=("self",)).get(pk=order_id)
    return Locked(account=account, order=order)


def charge_new(pending: Pending[Order, Event], *, account: Account) -> Entry | None:
    """Write a new order and take its charge; None when it was not written.

    Raises what `wallet.services.post` raises, and then nothing is written.
    """
    return post_with(
        pending,
        account=account,
        kind=Entry.Kind.CHARGE,
        amount=-pending.row.charge,
        reference=_REFERENCE,
    )


def charge_at_once(pending: Pending[Order, Event], *, customer: User) -> Entry | None:
    """As `charge_new`, in one statement and a transaction of its own.

    None where that can't be, or can't be known to be right: see `wallet.services.post_at_once`.
    """
    return post_at_once(
        pending,
        user=customer,
        kind=Entry.Kind.CHARGE,
        amount=-pending.row.charge,
        reference=_REFERENCE,
    )


def charge_orders(*, account: Account, orders: Iterable[Order]) -> list[Entry]:
    """Take the charges of many orders, an entry each: all of them or none."""
    movements = [
        Movement(amount=-order.charge, reference=f"{_REFERENCE}{order.pk}", order_number=order.pk)
        for order in orders
    ]
    return post_many(account=account, kind=Entry.Kind.CHARGE, movements=movements)


def refund_order(
    locked: Locked,
    *,
    amount: Decimal,
    reference: str,
    kind: Entry.Kind = Entry.Kind.REFUND,
    actor: User | None = None,
    note: str = "",
) -> Entry:
    """Give back part or all of what is left of the charge, once per kind and reference.

    Raises NotPossible when `amount` is above what is left, AlreadyPosted when this refund was
    made before. The caller has changed `locked.order` in memory only; this writes `refunded`.
    """
    order = locked.order
    if amount > order.charge - order.refunded:
        raise NotPossible("a refund can't be more than what is left of the charge")
    entry = post(
        account=locked.account,
        kind=kind,
        amount=amount,
        reference=reference,
        order_number=order.pk,
        actor=actor,
        note=note,
    )
    order.refunded += amount
    order.save(update_fields=["refunded"])
    record(order, Code.REFUNDED, actor=actor, amount=str(amount), reason=note)
    return entry
