"""The nightly check of the audit log and of the price history that it vouches for.

A short log is read as a whole every night. Of a long one the new entries are, and once a week all
of it: what was proven may still be changed afterwards.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice

from accounts import audit
from accounts.models import AuditEntry, AuditProof
from catalog import chained

LONG = 100_000
WHOLE_EVERY = timedelta(days=7)
# A log that was rewritten has a problem per entry; nobody reads more than these.
MOST = 100


@dataclass(frozen=True)
class Proof:
    """What a check found: the first problems, or up to which entry there are none."""

    problems: list[str]
    since: int
    until: int


def prove(now: datetime) -> Proof:
    """Check what is due, and remember how far the log was found whole; one process at a time."""
    mark = AuditProof.objects.get_or_create(pk=1)[0]
    # Read first: what is written from here on is for the next night.
    end = audit.end() or audit.START
    since = audit.START if _is_all_due(mark, end, now) else audit.Place(mark.number, mark.hash)
    found = chain(_rewritten(mark), audit.problems(since), chained.problems(since.number))
    problems = list(islice(found, MOST))
    if not problems:
        mark.number, mark.hash = end
        mark.whole_at = now if since == audit.START else mark.whole_at
        mark.save()
    return Proof(problems, since.number, end.number)


def _is_all_due(mark: AuditProof, end: audit.Place, now: datetime) -> bool:
    return end.number <= LONG or mark.whole_at is None or now - mark.whole_at >= WHOLE_EVERY


def _rewritten(mark: AuditProof) -> list[str]:
    """A log that was reckoned anew holds in itself, but not against what it was before."""
    proven = AuditEntry.objects.filter(number=mark.number, hash=mark.hash)
    if not mark.number or proven.exists():
        return []
    return [f"entry {mark.number} is not the one that was there when the log was last found whole"]
