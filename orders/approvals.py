"""Money above a ceiling: asked for by one member of staff, paid when another approves."""

import uuid
from decimal import Decimal

from django.db import transaction

from accounts.models import User
from orders import desk
from orders.models import Order
from wallet.ceilings import ask, close, lock_open, needs_approval
from wallet.models import Approval, Entry
from wallet.services import adjust, open_account, top_up


def refund_or_ask(
    order: Order, *, amount: Decimal | None, reason: str, actor: User, token: uuid.UUID
) -> Entry | None:
    """Refund (all that is left for None), or ask a second person and return None.

    What was refunded of the order before counts towards the ceiling. Raises NotPossible.
    """
    wanted = order.charge - order.refunded if amount is None else amount
    kind = Approval.Kind.REFUND
    if not needs_approval(actor, kind, wanted, given=order.refunded):
        return desk.refund(
            order_id=order.pk, amount=amount, reason=reason, actor=actor, token=token
        )
    ask(
        kind=kind,
        account=open_account(order.customer),
        amount=wanted,
        reason=reason,
        actor=actor,
        token=token,
        order_number=order.pk,
    )
    return None


@transaction.atomic
def approve(approval_id: int, actor: User) -> Entry:
    """Pay what was asked for, as the second person.

    Raises NotYours, or what the refund or the posting itself raises; then it goes on waiting.
    """
    approval = lock_open(approval_id, actor)
    entry = _pay(approval, actor)
    close(approval, Approval.State.APPROVED, actor)
    return entry


def _pay(approval: Approval, actor: User) -> Entry:
    customer = approval.account.user
    if approval.kind == Approval.Kind.REFUND and approval.order_number is not None:
        return desk.refund(
            order_id=approval.order_number,
            amount=approval.amount,
            reason=approval.reason,
            actor=actor,
            token=approval.token,
        )
    if approval.kind == Approval.Kind.TOP_UP:
        return top_up(
            user=customer,
            amount=approval.amount,
            note=approval.reason,
            actor=actor,
            reference=f"top-up-{approval.token}",
        )
    return adjust(
        user=customer,
        amount=approval.amount,
        note=approval.reason,
        actor=actor,
        reference=f"adjustment-{approval.token}",
    )
