"""What each periodic job does, for beat and for "run now" alike."""

import dataclasses
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts import mail
from catalog import history, proving, sync
from catalog.services import ensure_first_provider
from orders import (
    api_add,
    audit,
    callbacks,
    following,
    fulfilment,
    reckoning,
    reconcile,
    requests,
    restore,
    runs,
    sales,
    timing,
)
from panel import alerts, retention
from panel.jobs import run_job
from panel.schedule import PeriodicJob

logger = logging.getLogger(__name__)


class LedgerDiffers(Exception):
    """The audit found what must not be; its first finding is the message."""


class AuditLogDiffers(Exception):
    """The audit log or the price history was altered; the first problem is the message."""


def run_periodic_job(name: str, *, now: bool = False) -> bool:
    """Run the named job if it is due, or in any case with `now`; True when it ran here."""
    job: PeriodicJob = settings.PERIODIC_JOBS[name]
    return run_job(name, job.period, WORK[name], due_since=due_since(job, timezone.now()), now=now)


def due_since(job: PeriodicJob, now: datetime) -> datetime | None:
    """The latest hour a nightly job waited for; None for a job that only has a period."""
    if job.hour is None:
        return None
    today = now.replace(hour=job.hour, minute=0, second=0, microsecond=0)
    return today if today <= now else today - timedelta(days=1)


def sentence(report: Any) -> str:
    """A report's fields and values, as the job's row shows them."""
    return ", ".join(
        f"{field.name.replace('_', ' ')} {getattr(report, field.name)}"
        for field in dataclasses.fields(report)
    )


def _sweep() -> str:
    return str(fulfilment.sweep())


def _poll_orders() -> str:
    return sentence(following.poll_due())


def _send_requests() -> str:
    return f"{requests.send_due()} sent"


def _work_on_runs() -> str:
    return f"{runs.work_due()} orders"


def _poll_requests() -> str:
    return f"{requests.poll_due()} checked"


def _reconcile() -> str:
    """Look for lost answers; beside it, note that this database is the newest there is."""
    restore.advance()
    return str(reconcile.reconcile_due())


def _sync_catalog() -> str:
    # The environment's provider is there from the first run on, whichever process that is in.
    ensure_first_provider()
    return "; ".join(f"{run.provider}: {run.get_outcome_display()}" for run in sync.sync_all())


def _refresh_balances() -> str:
    return f"{sync.refresh_balances()} read"


def _send_callbacks() -> str:
    return f"{callbacks.run()} delivered"


def _forget_old() -> str:
    return f"{api_add.forget_old()} calls, {callbacks.forget_old()} callback messages"


def _apply_retention() -> str:
    return f"{retention.forget_old(timezone.now())} forgotten"


def _check_ledger() -> str:
    """Audit all money; a wallet that does not add up takes no more orders."""
    findings = audit.check()
    errors = [finding for finding in findings if finding.is_error]
    for finding in errors:
        logger.error("Audit: %s", finding)
        audit.freeze(finding)
    if errors:
        raise LedgerDiffers(f"{len(errors)} findings, first: {errors[0]}")
    return f"no errors, {len(findings)} notes"


def _check_audit() -> str:
    """Prove that nothing of the audit log or the price history was changed or removed."""
    proof = proving.prove(timezone.now())
    for problem in proof.problems:
        logger.error("Audit log: %s", problem)
    if proof.problems:
        raise AuditLogDiffers(f"{len(proof.problems)} problems, first: {proof.problems[0]}")
    return f"no problems in entries {proof.since + 1} to {proof.until}" if proof.until else "empty"


def _send_alerts() -> str:
    return sentence(alerts.run_alerts(timezone.now()))


def _refresh_times() -> str:
    return f"{timing.measure(timezone.now())} services"


def _send_mails() -> str:
    return sentence(mail.send_due())


def _roll_up_sales() -> str:
    return f"{sales.roll_up()} days"


def _reckon_providers() -> str:
    return f"{reckoning.reckon_all(timezone.now())} days with money unexplained"


def _heal_sales() -> str:
    return f"{sales.heal(timezone.now())} days differed"


def _prune_history() -> str:
    return f"{history.prune(timezone.now())} changes forgotten"


WORK: dict[str, Callable[[], str]] = {
    "sweep": _sweep,
    "poll_orders": _poll_orders,
    "send_requests": _send_requests,
    "poll_requests": _poll_requests,
    "bulk_runs": _work_on_runs,
    "reconcile": _reconcile,
    "sync_catalog": _sync_catalog,
    "refresh_balances": _refresh_balances,
    "send_callbacks": _send_callbacks,
    "forget_old": _forget_old,
    "apply_retention": _apply_retention,
    "send_alerts": _send_alerts,
    "check_ledger": _check_ledger,
    "check_audit": _check_audit,
    "send_mails": _send_mails,
    "refresh_times": _refresh_times,
    "roll_up_sales": _roll_up_sales,
    "heal_sales": _heal_sales,
    "reckon_providers": _reckon_providers,
    "prune_history": _prune_history,
}
