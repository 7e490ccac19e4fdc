"""The periodic jobs in the admin."""

from typing import Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from accounts.staff import ReadOnlyAdmin, column
from panel.models import Job


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
