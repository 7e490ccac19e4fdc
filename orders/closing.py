"""Deleting a customer's account: who it was goes, what the books need stays under a pseudonym.

Orders and ledger entries are never deleted: the operator has to prove every cent, for years in most
countries. They belong to "Deleted customer 4711" from then on, and the orders' links follow after
KEEP_DELETED_LINKS_DAYS.
"""

import logging
from collections.abc import Collection
from decimal import Decimal

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.admin.models import LogEntry
from django.core.files.storage import Storage
from django.db import transaction
from django.db.models import Q
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import audit, sessions
from accounts.models import User
from catalog.models import CustomerPrice, Favourite, GroupMember
from orders.models import Callback, Order, Request
from orders.states import REQUEST_OPEN
from wallet.models import Account, Approval, Entry, TopUpRequest, proof_folder
from wallet.money import ZERO
from wallet.services import lock_account, post

logger = logging.getLogger(__name__)


class NotClosable(Exception):
    """The account can't be deleted now; the message says why and what to do."""


def hindrances(customer: User) -> list[str]:
    """Why the account can't be deleted now, in sentences; none when it can.

    Whoever waits for a delivery or a payment would lose it: that comes to its end first.
    """
    orders = Order.objects.of(customer.pk).open().count()
    requests = Request.objects.filter(order__customer=customer, state__in=REQUEST_OPEN).count()
    top_ups = TopUpRequest.objects.filter(
        account__user=customer, state=TopUpRequest.State.OPEN
    ).count()
    approvals = Approval.objects.filter(account__user=customer, state=Approval.State.OPEN).count()
    found = [
        (orders, ngettext(
            "%(n)s order is under way: wait for its end, or cancel it.",
            "%(n)s orders are under way: wait for their end, or cancel them.", orders)),
        (requests, ngettext(
            "%(n)s refill or cancel request is under way: wait for its end.",
            "%(n)s refill or cancel requests are under way: wait for their end.", requests)),
        (top_ups, ngettext(
            "%(n)s top-up is being checked: wait for the answer.",
            "%(n)s top-ups are being checked: wait for the answers.", top_ups)),
        (approvals, ngettext(
            "%(n)s payment to you waits for a second approval.",
            "%(n)s payments to you wait for a second approval.", approvals)),
    ]  # fmt: skip
    sentences = [text % {"n": count} for count, text in found if count]
    if Account.objects.filter(user=customer).exclude(frozen_reason="").exists():
        sentences.append(_("The balance is being looked into: please write to us."))
    if customer.is_staff or customer.is_superuser:
        sentences.append(_("This is a member of staff: an owner takes their rights away first."))
    return sentences


def balance_of(customer: User) -> Decimal:
    """What would be given up."""
    account = Account.objects.filter(user=customer).first()
    return account.balance if account else ZERO


@transaction.atomic
def close_account(
    customer: User,
    *,
    actor: User,
    gives_up: Decimal = ZERO,
    reason: str = "",
    address: str = "",
) -> str:
    """Delete everything that says who the customer is, and return the pseudonym that is left.

    `gives_up` is the balance that the customer knows to lose; it leaves the ledger as an adjustment,
    so that nothing is owed to nobody. Raises NotClosable, and then nothing is changed.
    """
    account = lock_account(customer.pk)
    user = User.objects.select_for_update(no_key=True).get(pk=customer.pk)
    if user.deleted_at:
        raise NotClosable(_("The account was deleted before."))
    if found := hindrances(user):
        raise NotClosable(" ".join(found))
    if account.balance != gives_up:
        raise NotClosable(_("The balance has changed: look at it again."))
    if account.balance:
        post(
            account=account,
            kind=Entry.Kind.ADJUSTMENT,
            amount=-account.balance,
            reference=f"account-deleted-{user.pk}",
            actor=actor,
            note=_("Given up when the account was deleted"),
        )
    words = _words(user)
    _delete_rows(user)
    pseudonym = _anonymise(user)
    _forget_in_logs(words, pseudonym, actor)
    audit.record(
        "deleted a customer's account",
        actor=actor,
        target=pseudonym,
        details={"given_up": gives_up, "reason": _without(words, reason, pseudonym)},
        # A customer's own address is one of the things that go.
        address="" if actor.pk == user.pk else address,
    )
    return pseudonym


def _words(user: User) -> set[str]:
    """What names the person in free text: all addresses there were, and the whole name."""
    listed = EmailAddress.objects.filter(user=user).values_list("email", flat=True)
    words = audit.addresses_of({user.email, *listed})
    # A name as short as "Al" would be found in the middle of everything.
    return words | ({user.name.strip()} if len(user.name.strip()) >= 4 else set())


def _delete_rows(user: User) -> None:
    sessions.end_all(user)
    user.mails.all().delete()
    user.api_keys.all().delete()
    for model, column in (
        (Callback, "customer"), (Favourite, "user"), (GroupMember, "customer"),
        (CustomerPrice, "customer"), (EmailAddress, "user"), (Authenticator, "user"),
    ):  # fmt: skip
        model._default_manager.filter(**{column: user}).delete()
    user.groups.clear()
    user.user_permissions.clear()
    requests = TopUpRequest.objects.filter(account__user=user)
    proofs = list(requests.exclude(proof="").values_list("proof", flat=True))
    requests.update(proof="", reference="", reason="")
    # The files last: a deletion that is rolled back must not have lost them.
    transaction.on_commit(lambda: delete_files(proof_folder(), proofs), robust=True)


def delete_files(storage: Storage, names: Collection[str]) -> None:
    """Remove files; what can't be removed now the nightly job finds."""
    for name in names:
        try:
            storage.delete(name)
        except OSError as exc:
            logger.warning("A receipt can't be deleted: %s", type(exc).__name__)


def _anonymise(user: User) -> str:
    user.email = f"deleted-{user.pk}@deleted.invalid"
    user.name = user.language = user.time_zone = ""
    user.is_active = False
    user.last_login = user.low_balance = None
    user.mail_off = []
    # Another hash ends whatever session there may still be.
    user.set_unusable_password()
    user.deleted_at = timezone.now()
    user.save()
    with translation.override(None):
        return str(user)


def _forget_in_logs(words: set[str], pseudonym: str, actor: User) -> None:
    """In the audit log, whose chain stays provable, and in the admin's own history of objects."""
    audit.redact(words, pseudonym=pseudonym, actor=actor)
    for word in words:
        mentioning = Q(object_repr__icontains=word) | Q(change_message__icontains=word)
        for line in LogEntry.objects.filter(mentioning):
            line.object_repr = _without(words, line.object_repr, pseudonym)[:200]
            line.change_message = _without(words, line.change_message, pseudonym)
            line.save(update_fields=["object_repr", "change_message"])


def _without(words: set[str], text: str, pseudonym: str) -> str:
    return audit.replacing(words, pseudonym)(text)
