"""Top-ups by hand: a customer says what they paid, staff find the payment, the wallet is credited."""

import uuid
from datetime import datetime
from decimal import Decimal

from django.core.files import File
from django.db import transaction
from django.utils import timezone

from accounts import mail
from accounts.models import User
from wallet.ceilings import About, ask, given_today, needs_approval
from wallet.errors import AlreadyDecided, InvalidAmount, OwnRequest, TooManyRequests
from wallet.models import Approval, Entry, TopUpMethod, TopUpRequest, proof_folder
from wallet.money import LIMIT, round_money
from wallet.proofs import stored_name, type_of
from wallet.services import lock_account, post

MOST_OPEN = 5
# A picture is stored a moment before its request's row.
_ORPHAN_AFTER_SECONDS = 24 * 3600


def credit_for(amount: Decimal, percent: Decimal) -> Decimal:
    """What a payment adds to the balance: with the method's bonus, or less its fee, rounded down."""
    return round_money(amount * (100 + percent) / 100, up=False)


@transaction.atomic
def file_request(
    *,
    user: User,
    method: TopUpMethod,
    amount: Decimal,
    reference: str,
    client_token: uuid.UUID,
    proof: File | None = None,  # type: ignore[type-arg]
) -> TopUpRequest:
    """Note what the customer says they paid; a form sent twice is one request.

    Raises InvalidAmount outside of the method's limits, and TooManyRequests.
    """
    account = lock_account(user.pk)
    requests = TopUpRequest.objects.filter(account=account)
    if first := requests.filter(client_token=client_token).first():
        return first
    if not method.min_amount <= amount <= method.max_amount:
        raise InvalidAmount("outside of the method's limits")
    credit = credit_for(amount, method.percent)
    if credit > LIMIT:
        raise InvalidAmount("with its bonus it is more than can be stored")
    if requests.filter(state=TopUpRequest.State.OPEN).count() >= MOST_OPEN:
        raise TooManyRequests("too many open requests")
    filed = TopUpRequest(
        account=account,
        method=method,
        amount=amount,
        credit=credit,
        reference=reference,
        client_token=client_token,
    )
    if proof is not None:
        filed.proof.save(stored_name(type_of(proof.open())), proof, save=False)  # type: ignore[arg-type]
    filed.save()
    return filed


@transaction.atomic
def approve_or_ask(*, request_id: int, actor: User) -> Entry | None:
    """Credit the request's amount, or ask a second person and return None.

    What this person credited within 24 hours counts towards their ceiling. Raises what `approve` does.
    """
    found = _lock(request_id, actor)
    kind = Approval.Kind.TOP_UP
    if not needs_approval(actor, kind, found.credit, given=given_today(actor)):
        return _credit(found, actor)
    if not found.approvals.filter(state=Approval.State.OPEN).exists():
        ask(
            kind=kind,
            account=found.account,
            amount=found.credit,
            reason=_note(found),
            actor=actor,
            token=uuid.uuid4(),
            about=About(top_up_request=found),
        )
    return None


@transaction.atomic
def approve(*, request_id: int, actor: User) -> Entry:
    """Credit the request's amount; it happens once. Raises AlreadyDecided or OwnRequest."""
    return _credit(_lock(request_id, actor), actor)


def _note(found: TopUpRequest) -> str:
    return f"{found.method}: {found.reference}"[:300]


def _credit(found: TopUpRequest, actor: User) -> Entry:
    entry = post(
        account=found.account,
        kind=Entry.Kind.TOP_UP,
        amount=found.credit,
        reference=f"top-up-request-{found.pk}",
        actor=actor,
        note=_note(found),
    )
    _decide(found, TopUpRequest.State.APPROVED, actor)
    return entry


@transaction.atomic
def refuse(*, request_id: int, actor: User, reason: str) -> TopUpRequest:
    """Close the request without credit; the customer reads the reason.

    Raises AlreadyDecided or OwnRequest.
    """
    found = _lock(request_id, actor)
    _decide(found, TopUpRequest.State.REFUSED, actor, reason)
    return found


def _lock(request_id: int, actor: User) -> TopUpRequest:
    """The open request with its account locked, which is what serialises two members of staff."""
    user_id = TopUpRequest.objects.values_list("account__user_id", flat=True).get(pk=request_id)
    account = lock_account(user_id)
    found = TopUpRequest.objects.select_related("method").get(pk=request_id)
    found.account = account
    if user_id == actor.pk:
        raise OwnRequest("nobody decides about their own top-up")
    if found.state != TopUpRequest.State.OPEN:
        raise AlreadyDecided(f"the request is {found.state}")
    return found


def _close_approvals(found: TopUpRequest, state: TopUpRequest.State) -> None:
    """Nobody need approve what is decided; the one who is just approving closes theirs by name."""
    ends = {
        TopUpRequest.State.APPROVED: Approval.State.APPROVED,
        TopUpRequest.State.REFUSED: Approval.State.REFUSED,
    }
    now = timezone.now()
    waiting = found.approvals.filter(state=Approval.State.OPEN)
    waiting.update(state=ends[state], decided_at=now, seen_at=now)


def _decide(found: TopUpRequest, state: TopUpRequest.State, actor: User, reason: str = "") -> None:
    found.state = state
    found.decided_by = actor
    found.decided_at = timezone.now()
    found.reason = reason
    found.save(update_fields=["state", "decided_by", "decided_at", "reason"])
    _close_approvals(found, state)
    mail.write(
        found.account.user,
        mail.Kind.TOP_UP,
        state=state.value,
        credit=str(found.credit),
        balance=str(found.account.balance),
        reference=found.reference,
        reason=reason,
    )


def forget_orphans(now: datetime) -> int:
    """Delete pictures that no request has any more, such as a deleted customer's; how many."""
    folder = proof_folder()
    if not folder.exists(""):
        return 0
    names = folder.listdir("")[1]
    known = set(TopUpRequest.objects.exclude(proof="").values_list("proof", flat=True))
    orphans = [
        name
        for name in names
        if name not in known
        and (now - folder.get_modified_time(name)).total_seconds() > _ORPHAN_AFTER_SECONDS
    ]
    for name in orphans:
        folder.delete(name)
    return len(orphans)
