"""Money above a ceiling: asked for by one member of staff, paid when another approves."""

import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from accounts.models import User
from orders import desk
from orders.decisions import Decision, Part, partial_refund
from orders.errors import NotPossible
from orders.models import Order
from orders.money import lock_order
from orders.settlement import facts_of
from orders.states import FINAL, Status
from wallet import topups
from wallet.ceilings import About, ask, close, lock_open, needs_approval
from wallet.models import Approval, Entry
from wallet.services import adjust, lock_account, open_account, top_up


@transaction.atomic
def refund_or_ask(
    order: Order, *, amount: Decimal | None, reason: str, actor: User, token: uuid.UUID
) -> Entry | None:
    """Refund (all that is left for None), or ask a second person and return None.

    What was refunded of the order before counts towards the ceiling, and what its parts' ends will
    give back. Raises NotPossible.
    """
    # Two refunds at once must not both find room below the ceiling.
    order = lock_order(order.pk).order
    wanted = order.charge - order.refunded if amount is None else amount
    kind = Approval.Kind.REFUND
    if (made := desk.refund_made(order.pk, token)) is not None:
        return made
    if not needs_approval(actor, kind, wanted, given=_given(order), to=order.customer_id):
        return desk.refund(
            order_id=order.pk, amount=amount, reason=reason, actor=actor, token=token
        )
    if not 0 < wanted <= order.charge - order.refunded:
        raise NotPossible(_("A refund is more than nothing and at most what is left."))
    _ask(order, kind, wanted, reason=reason, actor=actor, token=token)
    return None


@transaction.atomic
def settle_or_ask(
    order: Order,
    *,
    end: Status,
    remains: int | None,
    reason: str,
    actor: User,
    token: uuid.UUID,
) -> Decimal | None:
    """End an order by hand and give what was given back, or ask a second person and return None.

    Raises what `desk.settle` does.
    """
    order = lock_order(order.pk).order
    decision = desk.foresee_end(order, end, remains)
    refund, given = decision.refund, order.refunded
    if order.parent is not None:
        refund, given = (
            _through_parent(order, order.parent, decision),
            _given(order.parent, but=order),
        )
    kind = Approval.Kind.SETTLEMENT
    if not refund or not needs_approval(actor, kind, refund, given=given, to=order.customer_id):
        return desk.settle(order_id=order.pk, end=end, remains=remains, reason=reason, actor=actor)
    end_of_it = {"end": end.value, "remains": remains}
    _ask(order, kind, refund, reason=reason, actor=actor, token=token, parameters=end_of_it)
    return None


def _given(order: Order, *, but: Order | None = None) -> Decimal:
    """What was given back of an order, and what the ends of its parts (`but` one) will give back."""
    refunded: Decimal = order.refunded
    if order.status in FINAL:
        return refunded
    others = order.children.exclude(pk=but.pk) if but else order.children.all()
    missing = sum(part.undelivered for part in facts_of(order, others).parts)
    return refunded + partial_refund(order.charge, order.quantity, missing)


def _through_parent(order: Order, parent: Order, decision: Decision) -> Decimal:
    """What the end of a part gives back: it has no money itself, and its parent's end pays by it."""
    end = Part(decision.status, order.quantity, decision.remains)
    owed = partial_refund(parent.charge, parent.quantity, end.undelivered)
    left: Decimal = parent.charge - parent.refunded
    return min(owed, left)


def _ask(
    order: Order,
    kind: Approval.Kind,
    amount: Decimal,
    *,
    reason: str,
    actor: User,
    token: uuid.UUID,
    parameters: Mapping[str, Any] | None = None,
) -> None:
    ask(
        kind=kind,
        account=open_account(order.customer),
        amount=amount,
        reason=reason,
        actor=actor,
        token=token,
        about=About(order_number=order.pk, parameters=parameters or {}),
    )


@transaction.atomic
def approve(approval_id: int, actor: User) -> Decimal:
    """Pay what was asked for, as the second person, and give how much it was.

    Raises NotYours, or what the refund or the posting itself raises; then it goes on waiting.
    """
    _lock_what_it_is_about(approval_id)
    approval = lock_open(approval_id, actor)
    # Closed first: a payment that can't be made takes this back with it.
    close(approval, Approval.State.APPROVED, actor)
    return _pay(approval, actor)


def _lock_what_it_is_about(approval_id: int) -> None:
    """The account and the order before the approval: the order in which all code takes locks."""
    approval = Approval.objects.select_related("account").get(pk=approval_id)
    if approval.order_number is None:
        lock_account(approval.account.user_id)
    else:
        lock_order(approval.order_number)


def _pay(approval: Approval, actor: User) -> Decimal:
    number = approval.order_number
    if approval.kind == Approval.Kind.SETTLEMENT and number is not None:
        return desk.settle(
            order_id=number,
            end=Status(approval.parameters["end"]),
            remains=approval.parameters["remains"],
            reason=approval.reason,
            actor=actor,
            most=approval.amount,
        )
    if approval.kind == Approval.Kind.REFUND and number is not None:
        entry = desk.refund(
            order_id=number,
            amount=approval.amount,
            reason=approval.reason,
            actor=actor,
            token=approval.token,
        )
    elif approval.top_up_request_id is not None:
        entry = topups.approve(request_id=approval.top_up_request_id, actor=actor)
    else:
        entry = _credit(approval, actor)
    return Decimal(entry.amount)


def _credit(approval: Approval, actor: User) -> Entry:
    is_top_up = approval.kind == Approval.Kind.TOP_UP
    post = top_up if is_top_up else adjust
    return post(
        user=approval.account.user,
        amount=approval.amount,
        note=approval.reason,
        actor=actor,
        reference=f"{'top-up' if is_top_up else 'adjustment'}-{approval.token}",
    )
