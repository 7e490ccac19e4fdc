"""A customer's own data, as one ZIP of JSON files that is written while it is sent.

Rows are read in pages by their number, so memory stays flat and no transaction stays open however
many orders there are. Amounts are text with a decimal point, times are ISO 8601 in UTC.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from catalog.models import CustomerPrice, GroupMember
from orders.models import Callback, Order, Request
from orders.timeline import STAFF_ONLY
from wallet.models import Account, Entry, TopUpRequest

_PAGE = 1000
_COPIED = 64 * 1024


class _Outbox(io.RawIOBase):
    """What the archive was made of since it was last asked; it can't be rewound."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def archive(user: User) -> Iterator[bytes]:
    """The bytes of the ZIP, in parts."""
    outbox = _Outbox()
    with zipfile.ZipFile(outbox, "w", zipfile.ZIP_DEFLATED) as made:
        for name, rows in _lists(user):
            with made.open(name, "w") as file:
                for text in _as_list(rows):
                    file.write(text.encode())
                    yield outbox.take()
        for name, receipt in _receipts(user):
            with made.open(name, "w") as file:
                while part := receipt.read(_COPIED):
                    file.write(part)
                    yield outbox.take()
    yield outbox.take()


def _lists(user: User) -> list[tuple[str, Iterable[dict[str, Any]]]]:
    orders = Order.objects.of(user.pk).select_related("service").prefetch_related("events")
    requests = Request.objects.filter(order__customer=user)
    entries = Entry.objects.filter(account__user=user)
    top_ups = TopUpRequest.objects.filter(account__user=user).select_related("method")
    return [
        ("account.json", iter([_account(user)])),
        ("sessions.json", _columns(user.devices.all(), "agent", "address", "signed_in_at")),
        ("api_keys.json", _columns(
            user.api_keys.all(), "name", "prefix", "allowed_from", "created_at", "last_used_at",
            "revoked_at",
        )),
        ("mails.json", _columns(user.mails.all(), "kind", "values", "created_at", "sent_at")),
        ("orders.json", _each(orders, _order)),
        ("requests.json", _columns(
            requests, "order_id", "kind", "state", "created_at", "finished_at",
        )),
        ("transactions.json", _columns(
            entries, "kind", "amount", "balance_after", "reference", "order_number", "note",
            "created_at",
        )),
        ("top_ups.json", _each(top_ups, _top_up)),
    ]  # fmt: skip


def _account(user: User) -> dict[str, Any]:
    account = Account.objects.filter(user=user).first()
    member = GroupMember.objects.filter(customer=user).select_related("group").first()
    prices = CustomerPrice.objects.filter(customer=user).select_related("service")
    return {
        "made_at": timezone.now(),
        "number": user.pk,
        "email": user.email,
        "name": user.name,
        "language": user.language,
        "time_zone": user.time_zone,
        "joined_at": user.date_joined,
        "last_signed_in_at": user.last_login,
        "terms_version": user.terms_version,
        "terms_accepted_at": user.terms_at,
        "email_addresses": list(_columns(
            EmailAddress.objects.filter(user=user), "email", "verified", "primary",
        )),
        "second_factors": list(_columns(
            Authenticator.objects.filter(user=user), "type", "created_at", "last_used_at",
        )),
        "mails_not_wanted": user.mail_off,
        "low_balance_mail_below": user.low_balance,
        "callbacks": list(_columns(
            Callback.objects.filter(customer=user), "url", "is_active", "created_at",
        )),
        "favourites": [each.service.title for each in user.favourites.select_related("service")],
        "group": member.group.name if member else "",
        "own_prices": [{"service": each.service.title, "rate": each.rate} for each in prices],
        "currency": settings.CURRENCY,
        "balance": account.balance if account else Decimal(0),
    }  # fmt: skip


def _order(order: Order) -> dict[str, Any]:
    return {
        "number": order.pk,
        "placed_at": order.created_at,
        "placed_by": order.source,
        "service": order.service.title,
        "service_number": order.service_id,
        "link": order.link,
        "parameters": order.parameters,
        "quantity": order.quantity,
        "charge": order.charge,
        "refunded": order.refunded,
        "status": order.status,
        "start_count": order.start_count,
        "remains": order.remains,
        "finished_at": order.finished_at,
        "timeline": [
            {"at": event.at, "what": event.code, "details": event.values}
            for event in order.events.all()
            if event.code not in STAFF_ONLY
        ],
    }


def _top_up(request: TopUpRequest) -> dict[str, Any]:
    return {
        "number": request.pk,
        "method": request.method.name,
        "paid": request.amount,
        "credit": request.credit,
        "reference": request.reference,
        "state": request.state,
        "reason": request.reason,
        "filed_at": request.created_at,
        "decided_at": request.decided_at,
        "receipt": _receipt_name(request) if request.proof else "",
    }


def _receipts(user: User) -> Iterator[tuple[str, Any]]:
    """Each picture that is still there, opened."""
    for request in TopUpRequest.objects.filter(account__user=user).exclude(proof=""):
        try:
            with request.proof.open() as file:
                yield _receipt_name(request), file
        except FileNotFoundError:
            continue


def _receipt_name(request: TopUpRequest) -> str:
    return f"receipts/{request.pk}.{str(request.proof.name).rpartition('.')[2]}"


def _columns(rows: "QuerySet[Any]", *names: str) -> Iterator[dict[str, Any]]:
    return _each(rows, lambda row: {name: getattr(row, name) for name in names})


def _each(
    rows: "QuerySet[Any]", described: Callable[[Any], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Every row, oldest first, a page at a time."""
    last = 0
    while page := list(rows.filter(pk__gt=last).order_by("pk")[:_PAGE]):
        yield from map(described, page)
        last = page[-1].pk


def _as_list(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    before = "[\n"
    for row in rows:
        yield before + json.dumps(row, default=_plain, ensure_ascii=False)
        before = ",\n"
    yield "\n]\n" if before == ",\n" else "[]\n"


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(f"{type(value).__name__} is not for the export")
