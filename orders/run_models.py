"""One action of the desk for many orders, worked off in the background, and what came of each."""

import uuid
from datetime import datetime, timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

# Every open run gets a piece in turn, and a piece takes far less than this.
STILL_AFTER = timedelta(minutes=15)


class BulkRunQuerySet(models.QuerySet["BulkRun"]):
    """What is asked about runs."""

    def stuck(self, now: datetime) -> "BulkRunQuerySet":
        """Runs that are open and of which no order had its turn for a quarter of an hour."""
        since = now - STILL_AFTER
        moved = BulkRow.objects.filter(run=OuterRef("pk"), done_at__gte=since)
        return self.filter(~Exists(moved), finished_at__isnull=True, created_at__lt=since)


class BulkRun(models.Model):
    """What was asked for, by whom, and how far it is. `orders.runs` works it off."""

    class Action(models.TextChoices):
        """Values are stored, so a name changes only with a migration."""

        CHECK = "check", _("Check now")
        REFILL = "refill", _("Request refills")
        CANCEL = "cancel", _("Cancel orders")
        REFUND = "refund", _("Refund")
        COUNTS = "counts", _("Set counts")
        SETTLE = "settle", _("Settle by hand")

    # Made by the page that drew the form: a form sent twice is one run.
    token = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    action = models.CharField(_("action"), max_length=10, choices=Action.choices)
    # What the action needs besides the order; amounts as text.
    parameters = models.JSONField(_("parameters"), default=dict)
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        related_name="bulk_runs",
        verbose_name=_("started by"),
    )
    address = models.CharField(max_length=45, blank=True, editable=False)
    total = models.IntegerField(_("orders"), default=0)
    done = models.IntegerField(_("done"), default=0)
    failed = models.IntegerField(_("not done"), default=0)
    owner = models.CharField(max_length=32, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(_("started"), default=timezone.now, editable=False)
    finished_at = models.DateTimeField(_("ended"), null=True, editable=False)
    stopped_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        related_name="+",
        verbose_name=_("stopped by"),
    )

    objects: ClassVar[BulkRunQuerySet] = BulkRunQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("bulk action")
        verbose_name_plural = _("bulk actions")
        ordering = ["-pk"]
        indexes = [
            models.Index(
                fields=["id"], condition=Q(finished_at__isnull=True), name="bulk_run_open"
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.get_action_display()}"

    @property
    def ended(self) -> int:
        """How many orders it is through with."""
        return self.done + self.failed


class BulkRow(models.Model):
    """One order of a run: its turn comes once."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        ASKING = "asking", _("asking the provider")
        DONE = "done", _("done")
        FAILED = "failed", _("not done")
        STOPPED = "stopped", _("stopped before its turn")

    run = models.ForeignKey(BulkRun, models.CASCADE, related_name="rows", verbose_name=_("run"))
    order = models.ForeignKey(
        "orders.Order", models.CASCADE, related_name="bulk_rows", verbose_name=_("order")
    )
    state = models.CharField(_("state"), max_length=8, choices=State.choices, default=State.WAITING)
    owner = models.CharField(max_length=32, blank=True, editable=False)
    result = models.CharField(_("result"), max_length=300, blank=True)
    done_at = models.DateTimeField(_("when"), null=True)

    class Meta:
        verbose_name = _("result of a bulk action")
        verbose_name_plural = _("results of bulk actions")
        ordering = ["pk"]
        indexes = [
            models.Index(
                fields=["run", "id"], condition=Q(done_at__isnull=True), name="bulk_row_waiting"
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["run", "order"], name="bulk_row_once_per_order"),
            models.CheckConstraint(
                condition=Q(state__in=["waiting", "asking"], done_at__isnull=True)
                | Q(state__in=["done", "failed", "stopped"], done_at__isnull=False),
                name="bulk_row_done_has_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.run_id}: #{self.order_id}"
