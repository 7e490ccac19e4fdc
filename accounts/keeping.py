"""How long what the panel keeps beside money and orders stays: mails, sessions, and rows in general.

Rows go in small deletions, each a transaction of its own, so that nobody waits for a long lock; what
one run does not manage the next one does.
"""

import datetime as dt
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef, QuerySet

from accounts.models import Device, Mail

CHUNK = 1000
MOST_PER_RUN = 100_000


def before(days: int, now: dt.datetime) -> dt.datetime | None:
    """The moment before which rows go; None for 0 days, which means that they stay for ever."""
    return now - dt.timedelta(days=days) if days else None


def delete_in_parts(rows: "QuerySet[Any]", most: int | None = MOST_PER_RUN) -> int:
    """Delete up to `most` of the rows, or all for None, a thousand at a time; how many went."""
    deleted, left = 0, rows
    while most is None or deleted < most:
        size = CHUNK if most is None else min(CHUNK, most - deleted)
        part = list(left.order_by("pk").values_list("pk", flat=True)[:size])
        if not part:
            break
        rows.model._default_manager.filter(pk__in=part).delete()
        deleted += len(part)
        # What was deleted is still in the way of a search that begins at the front again.
        left = rows.filter(pk__gt=part[-1])
    return deleted


def forget_mails(now: dt.datetime) -> int:
    """Mails that were sent longer ago than KEEP_MAILS_DAYS."""
    limit = before(settings.KEEP_MAILS_DAYS, now)
    return delete_in_parts(Mail.objects.filter(sent_at__lt=limit)) if limit else 0


def forget_sessions(now: dt.datetime) -> int:
    """Sessions that are over, and the sign-ins of such sessions after KEEP_SESSIONS_DAYS."""
    deleted = delete_in_parts(Session.objects.filter(expire_date__lt=now))
    limit = before(settings.KEEP_SESSIONS_DAYS, now)
    if limit is None:
        return deleted
    alive = Session.objects.filter(session_key=OuterRef("session_key"))
    ended = Device.objects.filter(~Exists(alive), signed_in_at__lt=limit)
    return deleted + delete_in_parts(ended)
