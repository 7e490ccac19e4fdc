"""How much a member of staff may give away alone, and what waits for a second person."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from wallet.models import Account, Approval, Ceiling, Entry, TopUpRequest
from wallet.money import ZERO

_DAY = timedelta(days=1)
# Their ceiling is for one order; that of the others for one person's day.
_OF_AN_ORDER = {Approval.Kind.REFUND, Approval.Kind.SETTLEMENT}


@dataclass(frozen=True)
class About:
    """What an approval is about besides a wallet: an order, and how it is settled; or a request."""

    order_number: int | None = None
    top_up_request: TopUpRequest | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


_NOTHING_ELSE = About()


class NotYours(Exception):
    """This approval is not this person's to give: it is their own or to them, above their ceiling, or over."""


def ceiling_of(user: User, kind: Approval.Kind) -> Decimal | None:
    """The most this person may give; None without a limit.

    The highest of their roles' ceilings. A role without one doesn't lift another's; a person in no
    role with a ceiling got the permission itself, and has no limit.
    """
    if user.is_superuser:
        return None
    field = "refund" if kind in _OF_AN_ORDER else "top_up"
    limits = Ceiling.objects.filter(group__in=user.groups.all()).values_list(field, flat=True)
    return max((limit for limit in limits if limit is not None), default=None)


def needs_approval(
    user: User, kind: Approval.Kind, amount: Decimal, *, given: Decimal, to: int | None = None
) -> bool:
    """Whether `amount` on top of what was `given` already is more than this person may give.

    `to` is whose it will be: whoever has a ceiling gives nothing to themselves alone.
    """
    limit = ceiling_of(user, kind)
    return limit is not None and (to == user.pk or given + amount > limit)


def given_today(user: User) -> Decimal:
    """What this person credited in top-ups and adjustments within 24 hours.

    Within a transaction it holds the person's row until the end, so that two of their payments
    at once don't both find room below the ceiling.
    """
    if transaction.get_connection().in_atomic_block:
        User.objects.select_for_update(no_key=True, of=("self",)).get(pk=user.pk)
    kinds = [Entry.Kind.TOP_UP, Entry.Kind.ADJUSTMENT]
    amounts = Entry.objects.filter(
        actor=user, kind__in=kinds, created_at__gte=timezone.now() - _DAY, amount__gt=0
    ).values_list("amount", flat=True)
    return sum(amounts, ZERO)


def ask(
    *,
    kind: Approval.Kind,
    account: Account,
    amount: Decimal,
    reason: str,
    actor: User,
    token: uuid.UUID,
    about: About = _NOTHING_ELSE,
) -> Approval:
    """Let it wait for a second person. The same token asks once."""
    return Approval.objects.get_or_create(
        token=token,
        defaults={
            "kind": kind,
            "account": account,
            "amount": amount,
            "reason": reason,
            "requested_by": actor,
            "order_number": about.order_number,
            "top_up_request": about.top_up_request,
            "parameters": dict(about.parameters),
        },
    )[0]


def lock_open(approval_id: int, actor: User) -> Approval:
    """The approval, locked, when it still waits and this person may decide it; else NotYours."""
    approval = Approval.objects.select_for_update(no_key=True).get(pk=approval_id)
    if approval.state != Approval.State.OPEN:
        raise NotYours
    if actor.pk in (approval.requested_by_id, approval.account.user_id):
        raise NotYours
    if needs_approval(actor, Approval.Kind(approval.kind), approval.amount, given=ZERO):
        raise NotYours
    return approval


def close(approval: Approval, state: Approval.State, actor: User) -> None:
    """Note who decided."""
    approval.state, approval.decided_by = state, actor
    approval.decided_at = timezone.now()
    approval.save(update_fields=["state", "decided_by", "decided_at"])


@transaction.atomic
def refuse(approval_id: int, actor: User) -> None:
    """Say no: nothing is paid. Raises NotYours."""
    close(lock_open(approval_id, actor), Approval.State.REFUSED, actor)


@transaction.atomic
def see_refusal(approval_id: int) -> None:
    """Somebody has read that it was refused: off the list of what needs attention."""
    refused = Approval.objects.filter(pk=approval_id, state=Approval.State.REFUSED)
    refused.filter(seen_at__isnull=True).update(seen_at=timezone.now())
