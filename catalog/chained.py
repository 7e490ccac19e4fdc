"""The price history in the audit log: each batch of its rows by a hash, so that none is changed unseen.

What people change is recorded in the transaction that changes it. A sync's rows belong to its run,
and the run is recorded when it is over: the log's end is one row that everybody waits for, and a
sync must not hold it while it writes ten thousand services.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import AuditEntry, User
from catalog.models import ServiceChange, SyncRun

# Names in an entry's details.
HASH, AT, FORGOTTEN = (f"{audit.HISTORY}{name}" for name in ("sha256", "at", "forgotten_before"))
COUNT, RUN = "services", "sync_run"
# So many services are named in the entry itself; of more it holds the hash.
_NAMED = 10
_NOTHING_TO_RECORD = 0

Rows = Sequence[tuple[int, dict[str, list[Any]]]]


def digest(rows: Rows, at: datetime, actor_id: int | None) -> str:
    """One hash over what a batch says: its moment, who did it, and each service's fields."""
    lines = sorted(
        json.dumps([pk, fields], sort_keys=True, ensure_ascii=False) for pk, fields in rows
    )
    head = json.dumps([at.astimezone(UTC).isoformat(timespec="microseconds"), actor_id])
    return hashlib.sha256("\n".join([head, *lines]).encode()).hexdigest()


def _details(rows: Rows, at: datetime, actor_id: int | None) -> dict[str, Any]:
    named = {
        f"{pk} {name}": pair
        for pk, fields in (rows if len(rows) <= _NAMED else ())
        for name, pair in fields.items()
    }
    return {
        **named, COUNT: len(rows), AT: at.astimezone(UTC).isoformat(timespec="microseconds"),
        HASH: digest(rows, at, actor_id),
    }  # fmt: skip


def record(rows: Rows, at: datetime, actor: User | None) -> int:
    """Add a batch to the log, in the caller's transaction; the entry's number is its rows' mark."""
    entry = audit.record(
        _("Services changed"),
        actor=actor,
        target=_("price history"),
        details=_details(rows, at, actor.pk if actor else None),
    )
    return entry.number


def record_runs() -> int:
    """Add every sync run that is not in the log yet; how many changed services."""
    waiting = SyncRun.objects.filter(outcome=SyncRun.Outcome.APPLIED, audit_number__isnull=True)
    return sum(_record_run(run) for run in waiting.select_related("provider").order_by("pk"))


@transaction.atomic
def _record_run(run: SyncRun) -> bool:
    unrecorded = SyncRun.objects.filter(pk=run.pk, audit_number__isnull=True)
    # The update keeps others from recording the same run until this one is committed.
    if not unrecorded.update(audit_number=_NOTHING_TO_RECORD):
        return False
    found = list(run.changes.order_by().values_list("service_id", "fields", "at"))
    if not found:
        return False
    rows = [(pk, fields) for pk, fields, _at in found]
    entry = audit.record(
        _("Services changed by a sync"),
        actor=None,
        target=f"{run.provider.name}: {_('sync')} {run.pk}",
        details={RUN: run.pk, **_details(rows, found[0][2], None)},
    )
    SyncRun.objects.filter(pk=run.pk).update(audit_number=entry.number)
    return True


def record_forgotten(rows: int, before: datetime) -> None:
    """Note that history older than this was forgotten on purpose."""
    audit.record(
        _("Price history forgotten"),
        actor=None,
        target=_("price history"),
        details={"rows": rows, FORGOTTEN: before.astimezone(UTC).isoformat()},
    )


def problems(since: int = 0) -> Iterator[str]:
    """Every batch in the log whose rows are no longer what was recorded, in sentences.

    Batches of entries after `since` are looked at, by default all of them.
    """
    end = (audit.end() or audit.START).number
    kept_since = _kept_since()
    recorded = AuditEntry.objects.filter(details__has_key=HASH, number__gt=since)
    found = recorded.order_by("number").values_list("number", "details")
    for number, details in found.iterator(chunk_size=500):
        # What differs is looked at again: it may have been forgotten on purpose meanwhile.
        if _problem(number, details, kept_since):
            yield from _problem(number, details, _kept_since(end))


def _problem(number: int, details: dict[str, Any], kept_since: datetime | None) -> list[str]:
    at = datetime.fromisoformat(details[AT])
    if kept_since and at < kept_since:
        return []
    run = details.get(RUN)
    rows = ServiceChange.objects.filter(**({"run_id": run} if run else {"audit_number": number}))
    found = list(rows.order_by().values_list("service_id", "fields", "at", "actor_id"))
    moments = {(moment, actor) for _pk, _fields, moment, actor in found}
    plain = [(pk, fields) for pk, fields, _at, _actor in found]
    if len(found) != details[COUNT]:
        named = f"of the {details[COUNT]} changes of services in entry {number}"
        return [f"{named}, {len(found)} are in the price history"]
    if len(moments) != 1 or digest(plain, *moments.pop()) != details[HASH]:
        return [f"the price history of entry {number} was changed"]
    return []


def _kept_since(after: int = 0) -> datetime | None:
    forgotten = AuditEntry.objects.filter(details__has_key=FORGOTTEN, number__gt=after)
    details = forgotten.order_by("-number").values_list("details", flat=True).first()
    return datetime.fromisoformat(details[FORGOTTEN]) if details else None
