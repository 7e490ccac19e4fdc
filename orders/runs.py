"""Bulk actions: begun in one transaction, worked off in the background, each order at most once.

A row is taken by a conditional UPDATE in the transaction that does its work, so either both are
there or neither, whoever is killed when. Asking the provider can't be in a transaction: such rows
are marked, and marked again when their worker died; asking twice does no harm. The lease only keeps
two workers from the same run; rows are safe without it.
"""

import logging
import time
import uuid
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.core.exceptions import EmptyResultSet
from django.db import connection, models, transaction
from django.db.models import ExpressionWrapper, F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import User
from orders.checking import check_many
from orders.errors import NotPossible
from orders.models import Order
from orders.run_actions import PERMISSIONS, WORK
from orders.run_models import BulkRow, BulkRun
from orders.wakeups import kick_run
from wallet.errors import WalletError

logger = logging.getLogger(__name__)

MOST = 50_000
LEASE = timedelta(seconds=60)
_CHUNK = 50
_ASKED_AT_ONCE = 100

State = BulkRow.State


@transaction.atomic
def begin(
    *,
    action: BulkRun.Action,
    orders: QuerySet[Order],
    actor: User,
    token: uuid.UUID,
    parameters: Mapping[str, Any] | None = None,
    reason: str = "",
    address: str = "",
) -> BulkRun:
    """Write down what is to be done to which orders, and wake a worker.

    The orders are those that `orders` finds now. The same token gives the first run. Raises
    NotPossible when there is none, or more than MOST.
    """
    run, is_new = BulkRun.objects.get_or_create(
        token=token,
        defaults={
            "action": action,
            "parameters": dict(parameters or {}),
            "reason": reason.strip()[:300],
            "started_by": actor,
            "address": address[:45],
        },
    )
    if not is_new:
        return run
    run.total = _collect(run, orders)
    if not run.total:
        raise NotPossible(_("No order is chosen."))
    if run.total > MOST:
        raise NotPossible(_("At most %(most)s orders at once.") % {"most": f"{MOST:,}"})
    run.save(update_fields=["total"])
    _audit(run, actor, _("begun"), {**run.parameters, "reason": run.reason, "orders": run.total})
    transaction.on_commit(partial(kick_run, run.pk), robust=True)
    return run


def _collect(run: BulkRun, orders: QuerySet[Order]) -> int:
    """Note the orders' IDs in one statement, none of them passing through this process."""
    named = orders.order_by("pk").annotate(number=F("pk"))
    chosen = named.values_list("number", flat=True)[: MOST + 1]
    try:
        found, values = chosen.query.sql_with_params()
    except EmptyResultSet:
        return 0
    table = BulkRow._meta.db_table
    # `found` is Django's own statement; what people typed is in its values.
    insert = (
        f"INSERT INTO {table} (run_id, order_id, state, owner, result) "  # noqa: S608
        f"SELECT %s, chosen.number, 'waiting', '', '' FROM ({found}) chosen"
    )
    with connection.cursor() as cursor:
        cursor.execute(insert, [run.pk, *values])
        return int(cursor.rowcount)


@transaction.atomic
def stop(run_id: int, *, actor: User) -> int:
    """Do no more of it: how many orders never had their turn. What is done stays done."""
    now = timezone.now()
    # The rows before their run: in this order whoever works on them takes the locks.
    waiting = BulkRow.objects.filter(run=run_id, state=State.WAITING)
    left = waiting.update(state=State.STOPPED, done_at=now)
    run = BulkRun.objects.select_for_update(no_key=True).get(pk=run_id)
    if run.finished_at is not None:
        raise NotPossible(_("It has ended."))
    run.stopped_by, run.finished_at = actor, now
    run.save(update_fields=["stopped_by", "finished_at"])
    _audit(run, actor, _("stopped"), {"left": left})
    return left


def work_due(seconds: float = 20.0) -> int:
    """Go on with every open run for a while, a piece of each in turn; how many orders that were."""
    until = time.monotonic() + seconds
    done = 0
    while time.monotonic() < until:
        open_runs = BulkRun.objects.filter(finished_at__isnull=True).order_by("pk")
        now_done = sum(work(pk) for pk in list(open_runs.values_list("pk", flat=True)))
        if not now_done:
            break
        done += now_done
    return done


def work_on(run_id: int, seconds: float = 20.0) -> int:
    """Go on with one run for a while; how many orders that were."""
    until = time.monotonic() + seconds
    done = 0
    while now_done := work(run_id):
        done += now_done
        if time.monotonic() >= until:
            break
    return done


def work(run_id: int) -> int:
    """Do the next piece of a run, unless another worker has it; how many orders that were."""
    owner = uuid.uuid4().hex
    if not _take(run_id, owner):
        return 0
    try:
        run = BulkRun.objects.select_related("started_by").get(pk=run_id)
        with translation.override(run.started_by.language or settings.LANGUAGE_CODE):
            return _piece(run, owner)
    finally:
        BulkRun.objects.filter(pk=run_id, owner=owner).update(lease_until=None)


def _take(run_id: int, owner: str) -> bool:
    """The lease by the database's clock; whoever gets it takes over what its last owner left."""
    free = Q(lease_until__isnull=True) | Q(lease_until__lte=Now())
    mine = BulkRun.objects.filter(free, pk=run_id, finished_at__isnull=True)
    until: ExpressionWrapper[Any] = ExpressionWrapper(
        Now() + LEASE, output_field=models.DateTimeField()
    )
    if not mine.update(owner=owner, lease_until=until):
        return False
    abandoned = BulkRow.objects.filter(run_id=run_id, state=State.ASKING)
    abandoned.update(state=State.WAITING, owner="")
    return True


def _piece(run: BulkRun, owner: str) -> int:
    waiting = BulkRow.objects.filter(run=run, state=State.WAITING).order_by("pk")
    size = _ASKED_AT_ONCE if run.action == BulkRun.Action.CHECK else _CHUNK
    ids = list(waiting.values_list("pk", flat=True)[:size])
    if not ids:
        _finish(run)
        return 0
    if not _may(run):
        return _refuse_all(run)
    if run.action == BulkRun.Action.CHECK:
        return _check(run, ids, owner)
    return sum(_do(run, pk) for pk in ids)


def _may(run: BulkRun) -> bool:
    """Whether the person may still do it: rights are looked at when it is done, not when begun."""
    person = run.started_by
    return person.is_active and person.is_staff and person.has_perm(PERMISSIONS[run.action])


@transaction.atomic
def _refuse_all(run: BulkRun) -> int:
    waiting = BulkRow.objects.filter(run=run, state=State.WAITING)
    said = _("%(person)s may not do this any more.") % {"person": run.started_by}
    count = waiting.update(state=State.FAILED, result=said[:300], done_at=timezone.now())
    _count(run, failed=count)
    return count


def _do(run: BulkRun, row_id: int) -> int:
    """One order: its row is taken, its work done and its result written, or nothing of it is."""
    try:
        with transaction.atomic():
            return _do_row(run, row_id)
    except Exception:
        # The boundary of one order: whatever it was, the others must have their turn.
        logger.exception("bulk action failed run=%s row=%s", run.pk, row_id)
    with transaction.atomic():
        said = _("An error nobody expected; nothing was changed. The log has more.")
        failed = _take_row(row_id, State.FAILED, said)
        _count(run, failed=failed)
    return failed


def _do_row(run: BulkRun, row_id: int) -> int:
    if not _take_row(row_id, State.DONE, ""):
        return 0
    order = Order.objects.select_related("customer").get(bulk_rows=row_id)
    try:
        # Each verb is a transaction, here a savepoint: one that refuses has written nothing.
        said = WORK[run.action](run, order)
    except (NotPossible, WalletError) as exc:
        _say(row_id, State.FAILED, str(exc))
        _count(run, failed=1)
        return 1
    _say(row_id, State.DONE, said)
    _count(run, done=1)
    audit.record(
        f"{run.get_action_display()}: {said}", actor=run.started_by, target=f"order {order}",
        details={"bulk": run.pk}, address=run.address,
    )  # fmt: skip
    return 1


def _take_row(row_id: int, state: State, said: str) -> int:
    mine = BulkRow.objects.filter(pk=row_id, state=State.WAITING)
    return mine.update(state=state, result=said[:300], done_at=timezone.now())


def _say(row_id: int, state: State, said: str) -> None:
    BulkRow.objects.filter(pk=row_id).update(state=state, result=said[:300])


def _count(run: BulkRun, *, done: int = 0, failed: int = 0) -> None:
    # F() on counters, never on money.
    BulkRun.objects.filter(pk=run.pk).update(done=F("done") + done, failed=F("failed") + failed)


def _check(run: BulkRun, ids: list[int], owner: str) -> int:
    """Ask about many at once; a worker that lost its rows meanwhile writes nothing."""
    waiting = BulkRow.objects.filter(pk__in=ids, state=State.WAITING)
    waiting.update(state=State.ASKING, owner=owner)
    mine = BulkRow.objects.filter(run=run, state=State.ASKING, owner=owner)
    rows = list(mine.select_related("order"))
    told = check_many([row.order for row in rows])
    with transaction.atomic():
        done = failed = 0
        for row in rows:
            answer = told[row.order_id]
            state = State.DONE if answer.is_done else State.FAILED
            written = mine.filter(pk=row.pk).update(
                state=state, result=answer.said[:300], done_at=timezone.now()
            )
            done += written * answer.is_done
            failed += written * (not answer.is_done)
        _count(run, done=done, failed=failed)
    return len(rows)


@transaction.atomic
def _finish(run: BulkRun) -> None:
    last = BulkRun.objects.filter(pk=run.pk, finished_at__isnull=True)
    if not last.update(finished_at=timezone.now()):
        return
    run.refresh_from_db(fields=["done", "failed"])
    counts = {"done": run.done, "not done": run.failed}
    _audit(run, run.started_by, _("ended"), counts)


def _audit(run: BulkRun, actor: User, verb: str, details: Mapping[str, Any]) -> None:
    audit.record(
        f"{run.get_action_display()}: {verb}", actor=actor, target=f"bulk action {run.pk}",
        details=details, address=run.address,
    )  # fmt: skip
