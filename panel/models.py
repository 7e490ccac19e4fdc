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

    def __str__(self) -> str:
        return self.name


class Alert(models.Model):
    """Something that needed a person: open until it stayed away for a while, and told once."""

    key = models.CharField(_("trouble"), max_length=100)
    text = models.CharField(_("what"), max_length=300)
    began_at = models.DateTimeField(_("since"))
    seen_at = models.DateTimeField(_("last seen"))
    over_at = models.DateTimeField(_("over"), null=True, blank=True)
    mailed_at = models.DateTimeField(_("mailed"), null=True, blank=True)
    posted_at = models.DateTimeField(_("sent to the webhook"), null=True, blank=True)

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["key"], condition=models.Q(over_at=None), name="alert_open_once"
            ),
        ]

    def __str__(self) -> str:
        return self.text
