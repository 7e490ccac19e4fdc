"""Top-ups by hand: a customer says what they paid, staff find the payment, the wallet is credited."""

import uuid
from decimal import Decimal

from django.core.files import File
from django.db import transaction
from django.utils import timezone

from accounts import mail
from accounts.models import User
from wallet.errors import AlreadyDecided, InvalidAmount, OwnRequest, TooManyRequests
from wallet.models import Entry, TopUpMethod, TopUpRequest
from wallet.money import round_money
from wallet.proofs import stored_name, type_of
from wallet.services import lock_account, post

MOST_OPEN = 5


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
    if requests.filter(state=TopUpRequest.State.OPEN).count() >= MOST_OPEN:
        raise TooManyRequests("too many open requests")
    filed = TopUpRequest(
        account=account,
        method=method,
        amount=amount,
        credit=credit_for(amount, method.percent),
        reference=reference,
        client_token=client_token,
    )
    if proof is not None:
        filed.proof.save(stored_name(type_of(proof.open())), proof, save=False)  # type: ignore[arg-type]
    filed.save()
    return filed


@transaction.atomic
def approve(*, request_id: int, actor: User) -> Entry:
    """Credit the request's amount; it happens once. Raises AlreadyDecided or OwnRequest."""
    found = _lock(request_id, actor)
    entry = post(
        account=found.account,
        kind=Entry.Kind.TOP_UP,
        amount=found.credit,
        reference=f"top-up-request-{found.pk}",
        actor=actor,
        note=f"{found.method}: {found.reference}"[:300],
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


def _decide(found: TopUpRequest, state: TopUpRequest.State, actor: User, reason: str = "") -> None:
    found.state = state
    found.decided_by = actor
    found.decided_at = timezone.now()
    found.reason = reason
    found.save(update_fields=["state", "decided_by", "decided_at", "reason"])
    mail.write(
        found.account.user,
        mail.Kind.TOP_UP,
        state=state.value,
        credit=str(found.credit),
        balance=str(found.account.balance),
        reference=found.reference,
        reason=reason,
    )
