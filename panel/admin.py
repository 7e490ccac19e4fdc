"""The periodic jobs and the alerts in the admin."""

from typing import Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from accounts.staff import ReadOnlyAdmin, column
from panel.models import Alert, Job


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """Each periodic job and how its last run went."""

    list_display = ("name", "outcome", "started_at", "finished_at", "seconds", "result")
    fields = ("name", "succeeded", ("started_at", "finished_at", "seconds"), "result")

    @column(_("outcome"), label={"ok": "success", "failed": "danger", "open": "info"})
    def outcome(self, job: Job) -> tuple[str, Any]:
        if job.succeeded is None:
            return "open", _("never ended")
        return ("ok", _("succeeded")) if job.succeeded else ("failed", _("failed"))


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    """What needed a person, since when, and whether it was told."""

    list_display = ("text", "began_at", "over_at", "mailed_at", "posted_at")
    fields = ("text", "key", ("began_at", "seen_at", "over_at"), ("mailed_at", "posted_at"))
