"""The periodic jobs and the alerts in the admin."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.staff import Dialog, NotDone, ReadOnlyAdmin, column, dialog
from panel.models import Alert, Job
from panel.periodic import due_since, run_periodic_job
from panel.schedule import PeriodicJob


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """Each periodic job and how its last run went."""

    list_display = (
        "name", "outcome", "started_at", "finished_at", "seconds", "next_run", "result",
    )  # fmt: skip
    actions_detail = ("run_now",)
    fields = ("name", "succeeded", ("started_at", "finished_at", "seconds"), "result")

    @column(_("outcome"), label={"ok": "success", "failed": "danger", "open": "info"})
    def outcome(self, job: Job) -> tuple[str, Any]:
        if job.succeeded is None:
            return "open", _("never ended")
        return ("ok", _("succeeded")) if job.succeeded else ("failed", _("failed"))

    def has_run_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return request.user.has_perm("panel.run_job")

    @column(_("next run"))
    def next_run(self, job: Job) -> Any:
        declared = settings.PERIODIC_JOBS.get(job.name)
        if declared is None:
            return _("no longer run")
        moment = next_run(declared, job.started_at, timezone.now())
        return _("now") if moment is None else moment

    @dialog(
        Dialog(
            title=_("Run now"),
            button=_("Run it"),
            permission="run",
            icon="play_arrow",
            text=_("Runs the job in this process; the page waits for its end."),
        )
    )
    def run_now(self, request: HttpRequest, form: Any, job: Job) -> Any:  # noqa: ARG002
        if job.name not in settings.PERIODIC_JOBS:
            raise NotDone(_("This job is no longer run."))
        if not run_periodic_job(job.name, now=True):
            raise NotDone(_("The job runs at this moment."))
        job.refresh_from_db()
        if not job.succeeded:
            raise NotDone(job.result)
        return job.result or _("Done.")


def next_run(declared: PeriodicJob, started: datetime | None, now: datetime) -> datetime | None:
    """When the job is due next; None when it is due now."""
    if started is None:
        return None
    if declared.hour is not None:
        latest = due_since(declared, now)
        if latest is not None and started < latest:
            return None
        return latest + timedelta(days=1) if latest is not None else None
    due = started + declared.period
    return due if due > now else None


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    """What needed a person, since when, and whether it was told."""

    list_display = ("text", "began_at", "over_at", "mailed_at", "posted_at")
    fields = ("text", "key", ("began_at", "seen_at", "over_at"), ("mailed_at", "posted_at"))
