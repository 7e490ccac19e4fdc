"""After a restore from a backup nothing is sent that may have been sent before.

A backup knows nothing of the marks that were made after it: an order that is queued in it may be at
the provider. A number that only grows is kept in the database and in a file beside the secret key.
When a worker starts on a database that is behind the file, sending is paused everywhere, until
`manage.py after_restore` has made every such order unconfirmed, and someone resumes.

A backup less than MARK_EVERY older than the moment of the loss can't be told from its original.
"""

import json
import logging
import os
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from catalog.models import Provider
from orders import gates
from orders.models import Attempt, BackupMark, Gate, Order, Request, Search
from orders.money import lock_order
from orders.states import Dispatch, Outcome, RequestState
from orders.timeline import Code, record

logger = logging.getLogger(__name__)

MARK_EVERY = timedelta(seconds=15)
REASON = "restored from a backup"
_MAY_HAVE_BEEN_SENT = [Dispatch.QUEUED, Dispatch.CLAIMED, Dispatch.SENDING]


@dataclass(frozen=True)
class Restored:
    """What `after_restore` held back: orders and requests that may have been sent, and providers."""

    orders: int
    requests: int
    providers: int


@dataclass(frozen=True)
class _OnFile:
    installation: uuid.UUID
    number: int


def check_start() -> bool:
    """Pause all sending when this database was restored; True when sending may begin.

    For every process that sends orders, before it takes the first one.
    """
    # A worker may be started before the first migration; then there is nothing to send.
    if BackupMark._meta.db_table not in connection.introspection.table_names():
        return True
    with transaction.atomic():
        mark = _locked()
        written = _read()
        is_ours = written is not None and written.installation == mark.installation
        is_behind = is_ours and written is not None and mark.number < written.number
        mark.number = max(mark.number, written.number if written and is_ours else 0) + 1
        mark.marked_at = timezone.now()
        if is_behind:
            mark.restored_at = mark.marked_at
        mark.save()
        if mark.restored_at is not None:
            _pause_all()
    _write(mark)
    if mark.restored_at is not None:
        logger.error(
            "This database was restored from a backup: orders in it may have been sent already. "
            "Nothing is sent until `manage.py after_restore` has run and sending was resumed."
        )
    return mark.restored_at is None


def advance(*, now: datetime | None = None) -> bool:
    """Let the number grow, at most every 15 seconds; True when it did."""
    now = now or timezone.now()
    with transaction.atomic():
        mark = _locked()
        if mark.marked_at is not None and mark.marked_at > now - MARK_EVERY:
            return False
        mark.number += 1
        mark.marked_at = now
        mark.save()
    _write(mark)
    return True


def _locked() -> BackupMark:
    BackupMark.objects.get_or_create(pk=1)
    return BackupMark.objects.select_for_update().get(pk=1)


def _path() -> Path:
    return Path(settings.VAR_DIR) / "backup_mark"


def _read() -> _OnFile | None:
    """What the file says; None when there is none, or nothing readable in it."""
    try:
        stored = json.loads(_path().read_text(encoding="utf-8"))
        return _OnFile(uuid.UUID(stored["installation"]), int(stored["number"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        logger.warning("backup mark file can't be read")
        return None


def _write(mark: BackupMark) -> None:
    """Put the number on file, never a smaller one; a file that can't be written stops nothing."""
    written = _read()
    if written and written.installation == mark.installation and written.number >= mark.number:
        return
    path = _path()
    new = path.with_name(f"{path.name}.{os.getpid()}")
    text = json.dumps({"installation": str(mark.installation), "number": mark.number})
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        logger.warning("backup mark can't be written: %s", error.strerror)


def _pause_all() -> int:
    providers = list(Provider.objects.values_list("pk", flat=True))
    for provider_id in providers:
        gates.pause(provider_id, reason=Gate.Pause.RESTORED, text=REASON)
    return len(providers)


def after_restore() -> Restored:
    """Hold everything that may have been sent since the backup, and pause all sending.

    The orders become unconfirmed: they are searched for at their providers, and nobody sends them
    again but a person. Safe to repeat before sending is resumed; afterwards it would hold new
    orders too.
    """
    with transaction.atomic():
        providers = _pause_all()
    waiting = Order.objects.filter(dispatch__in=_MAY_HAVE_BEEN_SENT).order_by("pk")
    orders = sum(_hold(order_id) for order_id in waiting.values_list("pk", flat=True).iterator())
    asked = Request.objects.filter(state__in=[RequestState.QUEUED, RequestState.SENDING])
    requests = asked.update(state=RequestState.UNKNOWN, lease_until=None)
    with transaction.atomic():
        mark = _locked()
        mark.restored_at = None
        mark.save()
    logger.warning("held after a restore orders=%s requests=%s", orders, requests)
    return Restored(orders=orders, requests=requests, providers=providers)


@transaction.atomic
def _hold(order_id: int) -> bool:
    order = lock_order(order_id).order
    if order.dispatch not in _MAY_HAVE_BEEN_SENT:
        return False
    attempt = _attempt_of(order)
    order.dispatch = Dispatch.UNKNOWN
    order.lease_until = None
    order.waiting_for = ""
    order.attention = "unknown"
    order.save(update_fields=["dispatch", "attempt_no", "lease_until", "waiting_for", "attention"])
    if attempt is not None:
        Search.objects.update_or_create(attempt=attempt, defaults={"is_restored": True})
    record(order, Code.UNKNOWN, attempt=order.attempt_no, reason="restored")
    return True


def _attempt_of(order: Order) -> Attempt | None:
    """The attempt that may have been made: the one under way, or one that the backup lacks.

    None when an earlier attempt may have reached the provider already: then that one stands.
    """
    now = timezone.now()
    current = Attempt.objects.filter(
        order=order, number=order.attempt_no, outcome__in=[Outcome.CLAIMED, Outcome.SENDING]
    ).first()
    try:
        with transaction.atomic():
            if current is None:
                order.attempt_no += 1
                current = Attempt(order=order, number=order.attempt_no)
            current.claimed_at = min(current.claimed_at, order.created_at)
            # Nobody knows when, so at the earliest: windows only grow by that.
            current.sending_at = current.sending_at or order.created_at
            current.outcome = Outcome.UNKNOWN
            current.reason = REASON
            current.finished_at = now
            current.save()
    except IntegrityError:
        return None
    return current
