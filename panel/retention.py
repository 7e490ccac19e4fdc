"""What is kept for a while and then goes, all of it in one hourly job."""

from collections.abc import Callable
from datetime import datetime

from django.conf import settings
from django.db.models import QuerySet

from accounts.keeping import before, delete_in_parts, forget_mails, forget_sessions
from catalog.models import Provider, SyncRun
from orders import retention
from panel.models import Alert
from wallet.topups import forget_orphans

# The alert about a list that can't be read looks at the last three.
_RUNS_KEPT = 3


def forget_runs(now: datetime) -> int:
    """Alerts that are over and catalogue syncs that changed nothing, after KEEP_RUNS_DAYS."""
    limit = before(settings.KEEP_RUNS_DAYS, now)
    if limit is None:
        return 0
    alerts = delete_in_parts(Alert.objects.filter(over_at__lt=limit))
    return alerts + sum(
        delete_in_parts(_old_runs(number, limit))
        for number in Provider.objects.values_list("pk", flat=True)
    )


def _old_runs(provider_id: int, limit: datetime) -> "QuerySet[SyncRun]":
    runs = SyncRun.objects.filter(provider_id=provider_id)
    kept = list(runs.order_by("-pk").values_list("pk", flat=True)[:_RUNS_KEPT])
    # A run that changed something stays as long as its changes do: PRICE_HISTORY_DAYS.
    return runs.filter(started_at__lt=limit, changes=None, held_changes=None).exclude(pk__in=kept)


FORGOTTEN: dict[str, Callable[[datetime], int]] = {
    "timeline lines": retention.forget_timelines,
    "answers": retention.forget_answers,
    "mails": forget_mails,
    "sessions": forget_sessions,
    "runs": forget_runs,
    "readings": retention.forget_readings,
    "bulk results": retention.forget_bulk_runs,
    "orders' links": retention.forget_links,
    "receipts": forget_orphans,
}


def forget_old(now: datetime) -> str:
    """Forget a bounded part of everything that is old enough; what that was, in a sentence."""
    counted = {name: forget(now) for name, forget in FORGOTTEN.items()}
    return ", ".join(f"{count} {name}" for name, count in counted.items() if count) or "nothing"
