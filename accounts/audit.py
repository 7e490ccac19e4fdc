"""The audit log: a chain of hashes in which no entry can be changed or removed unseen.

The one change there is takes a deleted person's name out of older entries. It is an entry of its
own, which holds the hash of each entry as it stands since; so the chain still proves every word.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from accounts.models import AuditEntry, AuditHead, User

_SECRET = ("key", "password", "secret", "token")
_LONGEST = 300
# Fields of a person that say who it is, as the log of an edited person names them.
_PERSONAL = ("email", "name")
_PER_RECORD = 200
REDACTED = "removed a deleted person from older entries"
# Details of this beginning are for `check_audit`: hashes of rows kept elsewhere, and their moment.
HISTORY = "history_"


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
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    # PostgreSQL keeps no NUL in JSON.
    return str(value).replace("\x00", "")[:_LONGEST]


def addresses_of(emails: Collection[str]) -> set[str]:
    """These and the earlier e-mail addresses of the same person, as far as the log knows them."""
    known = set(emails)
    while True:
        edited = _mentioning(known).filter(details__has_key="email")
        found = {
            each
            for entry in edited
            if replacing(known, "")(entry.target) != entry.target
            for each in entry.details["email"]
            if isinstance(each, str) and "@" in each
        }
        in_use = User.objects.filter(email__in=found - known).values_list("email", flat=True)
        found -= {*known, *in_use}
        if not found:
            return known
        known |= found


@transaction.atomic
def redact(words: Collection[str], *, pseudonym: str, actor: User | None) -> int:
    """Put a pseudonym in the place of these words in all entries; how many had one of them.

    `words` are e-mail addresses and names; entries are found by the addresses among them.
    """
    AuditHead.objects.get_or_create(pk=1)
    AuditHead.objects.select_for_update(no_key=True).get(pk=1)
    changed: dict[str, str] = {}
    addresses = {word for word in words if "@" in word}
    for entry in _mentioning(addresses).exclude(action=REDACTED).iterator(chunk_size=500):
        if _redact_entry(entry, replacing(words, pseudonym)):
            changed[str(entry.number)] = digest(entry)
    for part in _parts(changed.items()):
        record(REDACTED, actor=actor, target=pseudonym, details={"entries": dict(part)})
    return len(changed)


def _mentioning(addresses: Iterable[str]) -> QuerySet[AuditEntry]:
    found = Q(pk__in=[])
    for address in addresses:
        # As JSON writes it: what is not ASCII is escaped on SQLite and not on PostgreSQL.
        for text in {address, json.dumps(address)[1:-1]}:
            found |= Q(action__icontains=text) | Q(target__icontains=text) | Q(text__icontains=text)
    with_text = AuditEntry.objects.annotate(text=Cast("details", TextField()))
    return with_text.filter(found).order_by("number")


def _parts(pairs: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    rows = list(pairs)
    for start in range(0, len(rows), _PER_RECORD):
        yield rows[start : start + _PER_RECORD]


def replacing(words: Iterable[str], pseudonym: str) -> Callable[[str], str]:
    """Replaces whole words only: ann@example.com is not a part of joann@example.com."""
    longest_first = sorted((word for word in words if word), key=len, reverse=True)
    pattern = "|".join(re.escape(word) for word in longest_first)
    whole = re.compile(rf"(?<![\w.+-])(?:{pattern})(?![\w-]|\.\w)", re.IGNORECASE)
    return lambda text: whole.sub(lambda _found: pseudonym, text) if pattern else text


def _redact_entry(entry: AuditEntry, replaced: Callable[[str], str]) -> bool:
    before = (entry.action, entry.target, entry.details)
    names_the_person = replaced(entry.target) != entry.target
    entry.action, entry.target = replaced(entry.action)[:200], replaced(entry.target)[:200]
    entry.details = {
        name: "•" if names_the_person and name in _PERSONAL else _everywhere(value, replaced)
        for name, value in entry.details.items()
    }
    if (entry.action, entry.target, entry.details) == before:
        return False
    # Neither its own hash nor the next one's changes: the chain is as it was.
    entry.save(update_fields=["action", "target", "details"])
    return True


def _everywhere(value: Any, replaced: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return replaced(value)
    if isinstance(value, list):
        return [_everywhere(each, replaced) for each in value]
    if isinstance(value, dict):
        return {name: _everywhere(each, replaced) for name, each in value.items()}
    return value


class Place(NamedTuple):
    """An entry of the chain, by its number and hash; that of nothing is before the first one."""

    number: int = 0
    hash: str = ""


START = Place()


def end() -> Place | None:
    """The last entry that was written; None when no record says which that is."""
    head = AuditHead.objects.filter(pk=1).first()
    return Place(head.number, head.hash) if head else None


def problems(since: Place = START) -> Iterator[str]:
    """Every place where the chain does not hold, in sentences; none when it does.

    What comes after `since` is looked at, by default all of it. Entries that are written meanwhile
    are left out, and none of them is a problem.
    """
    number, last = since
    head = end()
    redacted = _redacted(since.number)
    entries = AuditEntry.objects.filter(number__gt=since.number).order_by("number")
    if head:
        entries = entries.filter(number__lte=head.number)
    for entry in entries.iterator(chunk_size=2000):
        number += 1
        if entry.number != number:
            yield f"entries {number} to {entry.number - 1} are missing"
            number = entry.number
        elif entry.previous_hash != last:
            yield f"entry {number} does not follow the one before it"
        is_whole = digest(entry) in {entry.hash, redacted.get(number)}
        if not is_whole and _was_changed(number, redacted, head or START):
            yield f"entry {number} was changed"
        last = entry.hash
    if head is None:
        if number:
            yield "the end of the log is not known"
    elif head != (number, last):
        yield f"the log ends at entry {number}, and {head.number} were written"
    elif beyond := _beyond():
        yield beyond


@transaction.atomic
def _was_changed(number: int, redacted: Mapping[int, str], head: Place) -> bool:
    """Look again under the log's lock: a person may have been taken out of the entry meanwhile."""
    AuditHead.objects.select_for_update(no_key=True).filter(pk=1).first()
    entry = AuditEntry.objects.filter(number=number).first()
    since = _redacted(head.number)
    return entry is None or digest(entry) not in {
        entry.hash, redacted.get(number), since.get(number)
    }  # fmt: skip


@transaction.atomic
def _beyond() -> str:
    """What is said of entries after the last one that was written; under the lock, so none is new."""
    head = AuditHead.objects.select_for_update(no_key=True).get(pk=1)
    last = AuditEntry.objects.order_by("-number").values_list("number", flat=True).first() or 0
    if last <= head.number:
        return ""
    return f"the log ends at entry {last}, and {head.number} were written"


def _redacted(since: int) -> dict[int, str]:
    """The hash of each redacted entry as it has to be now, by the latest word about it."""
    found: dict[int, str] = {}
    records = AuditEntry.objects.filter(action=REDACTED, number__gt=since).order_by("number")
    for record_number, details in records.values_list("number", "details").iterator():
        entries = details.get("entries", {}).items()
        found |= {int(each): hash_ for each, hash_ in entries if int(each) < record_number}
    return found
