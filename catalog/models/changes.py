"""What changed in the catalogue, planned, held or done, and by which sync or person."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from catalog.models.providers import Provider
from catalog.models.services import Service


class SyncRun(models.Model):
    """One synchronisation of a provider's catalogue, and what it found."""

    class Outcome(models.TextChoices):
        RUNNING = "running", _("running")
        APPLIED = "applied", _("applied")
        UNCHANGED = "unchanged", _("nothing changed")
        REFUSED = "refused", _("refused")  # empty or suddenly short: nothing was changed
        FAILED = "failed", _("failed")  # no usable answer: nothing was changed

    provider = models.ForeignKey(
        Provider, models.CASCADE, related_name="sync_runs", verbose_name=_("provider")
    )
    outcome = models.CharField(
        _("outcome"), max_length=10, choices=Outcome.choices, default=Outcome.RUNNING
    )
    started_at = models.DateTimeField(_("started"), default=timezone.now, editable=False)
    finished_at = models.DateTimeField(_("finished"), null=True)
    added = models.IntegerField(_("added"), default=0)
    changed = models.IntegerField(_("changed"), default=0)
    repriced = models.IntegerField(_("repriced"), default=0)
    vanished = models.IntegerField(_("vanished"), default=0)
    returned = models.IntegerField(_("returned"), default=0)
    held = models.IntegerField(_("held"), default=0)
    refused = models.IntegerField(_("refused"), default=0)
    note = models.CharField(_("note"), max_length=300, blank=True)
    # Up to 200 of [upstream_id, name, reason].
    refused_rows = models.JSONField(_("refused rows"), default=list)
    # The entry of the audit log that holds the hash of its changes; 0 when it made none.
    audit_number = models.BigIntegerField(_("audit entry"), null=True, editable=False)

    class Meta:
        verbose_name = _("catalogue sync")
        verbose_name_plural = _("catalogue syncs")
        ordering = ["-pk"]
        indexes = [
            models.Index(
                fields=["id"],
                condition=Q(outcome="applied", audit_number__isnull=True),
                name="sync_run_not_in_audit_log",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.started_at:%Y-%m-%d %H:%M}"


class BulkChange(models.Model):
    """Changes of many services that somebody planned, saw row by row, and then applied or dropped.

    `rows` is what the preview shows and exactly what is written: lists of service ID, title, the
    values of each field before and after, and the price before and after.
    """

    title = models.CharField(_("what"), max_length=200)
    rows = models.JSONField(_("rows"), default=list)
    # [line or service, sentence] of what can't be done.
    problems = models.JSONField(_("problems"), default=list)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", verbose_name=_("who")
    )
    planned_at = models.DateTimeField(_("planned"), default=timezone.now)
    applied_at = models.DateTimeField(_("applied"), null=True)
    undone_at = models.DateTimeField(_("undone"), null=True)

    class Meta:
        verbose_name = _("bulk change")
        verbose_name_plural = _("bulk changes")
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(undone_at__isnull=True) | Q(applied_at__isnull=False),
                name="bulk_change_applied_before_undone",
            ),
        ]

    def __str__(self) -> str:
        return self.title


class ServiceChange(models.Model):
    """One moment at which a service changed: every field with its value before and after.

    Made by a sync run, by a person, or (with neither) by the panel itself.
    """

    service = models.ForeignKey(
        Service, models.CASCADE, related_name="changes", verbose_name=_("service")
    )
    at = models.DateTimeField(_("when"), default=timezone.now)
    # Field name to [before, after], both as text, number or bool.
    fields = models.JSONField(_("changes"))
    run = models.ForeignKey(
        SyncRun, models.SET_NULL, null=True, related_name="changes", verbose_name=_("sync")
    )
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+", verbose_name=_("who")
    )
    bulk = models.ForeignKey(
        BulkChange,
        models.SET_NULL,
        null=True,
        related_name="changes",
        verbose_name=_("bulk change"),
    )
    # The entry of the audit log that holds the hash of this and what was changed with it; a sync's
    # rows have that of their run.
    audit_number = models.BigIntegerField(_("audit entry"), null=True, editable=False)

    class Meta:
        verbose_name = _("change of a service")
        verbose_name_plural = _("history of services")
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["service", "-id"], name="change_of_service"),
            models.Index(fields=["at"], name="change_by_age"),
            models.Index(
                fields=["audit_number"],
                condition=Q(audit_number__isnull=False),
                name="change_in_audit_log",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.service_id} {self.at:%Y-%m-%d %H:%M}"


class HeldChange(models.Model):
    """A change of the provider's list that crosses a threshold and waits for a person."""

    class Reason(models.TextChoices):
        COST = "cost", _("cost rises too much")
        BELOW_COST = "below_cost", _("the pinned price falls below cost")
        TYPE = "type", _("the type changes")
        NAME = "name", _("the name is another one")

    class State(models.TextChoices):
        OPEN = "open", _("waiting")
        ACCEPTED = "accepted", _("accepted")
        IGNORED = "ignored", _("ignored")
        OUTDATED = "outdated", _("outdated")  # the provider's list has moved on

    service = models.ForeignKey(
        Service, models.CASCADE, related_name="held_changes", verbose_name=_("service")
    )
    run = models.ForeignKey(
        SyncRun, models.SET_NULL, null=True, related_name="held_changes", verbose_name=_("sync")
    )
    reasons = models.JSONField(_("because"))  # of Reason
    fields = models.JSONField(_("changes"))  # as in ServiceChange
    # The whole listed row in the order of catalog.rows.Facts, to be applied when it is accepted.
    facts = models.JSONField(default=list, editable=False)
    # Whether the service had been held before, and stays so when this is decided.
    was_held = models.BooleanField(default=False, editable=False)
    state = models.CharField(_("state"), max_length=8, choices=State.choices, default=State.OPEN)
    found_at = models.DateTimeField(_("found"), default=timezone.now)
    decided_at = models.DateTimeField(_("decided"), null=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+", verbose_name=_("by")
    )

    class Meta:
        verbose_name = _("held change")
        verbose_name_plural = _("held changes")
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["-id"], condition=Q(state="open"), name="held_change_open"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["service"], condition=Q(state="open"), name="held_change_one_open"
            ),
        ]

    def __str__(self) -> str:
        return str(self.service)
