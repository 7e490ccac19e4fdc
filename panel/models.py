from django.db import models
from django.utils.translation import gettext_lazy as _


class Job(models.Model):
    """A periodic job: who holds it now, and how its last run went."""

    name = models.CharField(_("job"), max_length=60, primary_key=True)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    owner = models.CharField(max_length=64, blank=True, editable=False)
    started_at = models.DateTimeField(_("last run"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    seconds = models.FloatField(_("seconds"), null=True, blank=True)
    succeeded = models.BooleanField(_("succeeded"), null=True, blank=True)
    result = models.CharField(_("result"), max_length=300, blank=True)

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        ordering = ["name"]
        permissions = [("run_job", "Can run a job now")]

    def __str__(self) -> str:
        return self.name
