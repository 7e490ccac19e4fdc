"""The audit log: a chain of hashes in which no entry can be changed or removed unseen."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.models import AuditEntry, AuditHead, User

_SECRET = ("key", "password", "secret", "token")
_LONGEST = 300


def record(
    action: str,
    *,
    actor: User | None,
    target: object = "",
    details: Mapping[str, Any] | None = None,
    address: str = "",
) -> AuditEntry:
    """Add an entry, in the caller's transaction: what is rolled back was never done.

    Values of fields that hold secrets are left out.
    """
    with transaction.atomic():
        AuditHead.objects.get_or_create(pk=1)
        head = AuditHead.objects.select_for_update(no_key=True).get(pk=1)
        entry = AuditEntry(
            number=head.number + 1,
            at=timezone.now(),
            actor=actor,
            action=str(action)[:200],
            target=str(target)[:200],
            details=_safe(details or {}),
            address=address[:45],
            previous_hash=head.hash,
        )
        entry.hash = digest(entry)
        entry.save(force_insert=True)
        head.number, head.hash = entry.number, entry.hash
        head.save(update_fields=["number", "hash"])
        return entry


def digest(entry: AuditEntry) -> str:
    """The hash of an entry and, through the one before, of all before it."""
    content = [
        entry.number,
        _moment(entry.at),
        entry.actor_id,
        entry.action,
        entry.target,
        entry.details,
        entry.address,
        entry.previous_hash,
    ]
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _safe(details: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: "•" if any(word in name for word in _SECRET) else _plain(value)
        for name, value in details.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    # PostgreSQL keeps no NUL in JSON.
    return str(value).replace("\x00", "")[:_LONGEST]


def problems() -> Iterator[str]:
    """Every place where the chain does not hold, in sentences; none when it does."""
    number, last = 0, ""
    for entry in AuditEntry.objects.order_by("number").iterator(chunk_size=2000):
        number += 1
        if entry.number != number:
            yield f"entries {number} to {entry.number - 1} are missing"
            number = entry.number
        elif entry.previous_hash != last:
            yield f"entry {number} does not follow the one before it"
        if digest(entry) != entry.hash:
            yield f"entry {number} was changed"
        last = entry.hash
    head = AuditHead.objects.filter(pk=1).first()
    if head is None:
        if number:
            yield "the end of the log is not known"
    elif (head.number, head.hash) != (number, last):
        yield f"the log ends at entry {number}, and {head.number} were written"
