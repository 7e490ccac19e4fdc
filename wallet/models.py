import uuid
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.files.storage import FileSystemStorage
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from wallet.money import LIMIT, STEP, MoneyField


class Account(models.Model):
    """A customer's prepaid balance; only `wallet.services` changes it."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="account", verbose_name=_("customer")
    )
    balance = MoneyField(_("balance"), default=0, editable=False)
    frozen_reason = models.CharField(
        _("frozen because"),
        max_length=200,
        blank=True,
        help_text=_("While this is set the account can't be charged."),
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("wallet")
        verbose_name_plural = _("wallets")
        permissions = [
            ("top_up_account", "Can credit a top-up"),
            ("adjust_account", "Can adjust a balance"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(balance__gte=0), name="account_balance_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(balance__lte=LIMIT), name="account_balance_storable"
            ),
        ]

    def __str__(self) -> str:
        return str(self.user)


class Entry(models.Model):
    """One movement of money, signed, with the balance after it; never changed, never deleted."""

    class Kind(models.TextChoices):
        TOP_UP = "top_up", _("Top-up")
        CHARGE = "charge", _("Order")
        REFUND = "refund", _("Refund")  # by the provider's verdict or status
        STAFF_REFUND = "staff_refund", _("Refund by staff")
        ADJUSTMENT = "adjustment", _("Adjustment")
        REVERSAL = "reversal", _("Reversal")

    REFUNDS: ClassVar[list[str]] = [Kind.REFUND, Kind.STAFF_REFUND]

    # Found by the index below that begins with it.
    account = models.ForeignKey(
        Account,
        models.PROTECT,
        related_name="entries",
        db_index=False,
        verbose_name=_("wallet"),
    )
    kind = models.CharField(_("type"), max_length=16, choices=Kind.choices)
    amount = MoneyField(_("amount"), help_text=_("Positive for the customer, negative against."))
    balance_after = MoneyField(_("balance after"))
    reference = models.CharField(_("reference"), max_length=100)
    # The order's number, not a foreign key: the wallet lies below the orders and outlives them.
    order_number = models.BigIntegerField(_("order"), null=True, blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("by"),
    )
    note = models.CharField(_("note"), max_length=300, blank=True)
    created_at = models.DateTimeField(_("date"), auto_now_add=True)

    class Meta:
        verbose_name = _("transaction")
        verbose_name_plural = _("transactions")
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["account", "-id"], name="entry_of_account"),
            models.Index(
                fields=["order_number"],
                name="entry_of_order",
                condition=Q(order_number__isnull=False),
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["kind", "reference"], name="entry_written_once"),
            models.UniqueConstraint(
                fields=["order_number"],
                condition=Q(kind="charge"),
                name="entry_one_charge_per_order",
            ),
            models.CheckConstraint(condition=~Q(amount=0), name="entry_amount_not_zero"),
            models.CheckConstraint(
                condition=Q(balance_after__gte=0), name="entry_balance_after_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(kind="charge", amount__lt=0)
                | Q(kind__in=["top_up", "refund", "staff_refund"], amount__gt=0)
                | Q(kind__in=["adjustment", "reversal"]),
                name="entry_sign_fits_kind",
            ),
            models.CheckConstraint(
                condition=~Q(kind__in=["charge", "refund", "staff_refund"])
                | Q(order_number__isnull=False),
                name="entry_of_order_names_it",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount}"


class TopUpMethod(models.Model):
    """A way to pay by hand, as the operator describes it."""

    name = models.CharField(_("name"), max_length=100)
    instructions = models.TextField(
        _("instructions"), help_text=_("Plain text: where to pay, and what to write as reference.")
    )
    min_amount = MoneyField(_("min"), default=1, validators=[MinValueValidator(STEP)])
    max_amount = MoneyField(_("max"), default=10_000, validators=[MaxValueValidator(LIMIT)])
    percent = models.DecimalField(
        _("bonus or fee %"),
        max_digits=6,
        decimal_places=3,
        default=0,
        validators=[MinValueValidator(Decimal("-99")), MaxValueValidator(Decimal(100))],
        help_text=_("Above 0 a bonus is added to what was paid, below 0 a fee is kept."),
    )
    is_offered = models.BooleanField(_("offered"), default=True)
    position = models.IntegerField(_("position"), default=0)

    class Meta:
        verbose_name = _("top-up method")
        verbose_name_plural = _("top-up methods")
        ordering = ["position", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(min_amount__gt=0) & Q(min_amount__lte=F("max_amount")),
                name="top_up_method_limits",
                violation_error_message=_("The minimum is above the maximum."),
            ),
            models.CheckConstraint(
                condition=Q(percent__gt=-100, percent__lte=100), name="top_up_method_percent"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ProofStorage(FileSystemStorage):
    """Where proofs of payment are kept: outside of everything that is served as it is."""

    def __init__(self) -> None:
        super().__init__(file_permissions_mode=0o600, directory_permissions_mode=0o700)

    @property
    def base_location(self) -> Path:  # read anew, as settings may change
        return Path(settings.VAR_DIR) / "proofs"

    @property
    def location(self) -> str:
        return str(self.base_location.absolute())


def proof_folder() -> FileSystemStorage:
    """The storage of the field, made when it is asked for: its folder is no part of a migration."""
    return ProofStorage()


class TopUpRequest(models.Model):
    """A payment that a customer says they made; credited once, when staff have found it."""

    class State(models.TextChoices):
        OPEN = "open", _("being checked")
        APPROVED = "approved", _("credited")
        REFUSED = "refused", _("refused")

    account = models.ForeignKey(
        Account, models.PROTECT, related_name="top_up_requests", verbose_name=_("wallet")
    )
    method = models.ForeignKey(
        TopUpMethod, models.PROTECT, related_name="requests", verbose_name=_("method")
    )
    amount = MoneyField(_("paid"))
    # With the bonus or the fee of the method as it was when the request was filed.
    credit = MoneyField(_("credit"))
    reference = models.CharField(_("reference"), max_length=100)
    proof = models.FileField(_("proof"), storage=proof_folder, max_length=100, blank=True)
    # Made by the page that drew the form: a form sent twice is one request.
    client_token = models.UUIDField(editable=False)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.OPEN)
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("decided by"),
    )
    decided_at = models.DateTimeField(_("decided"), null=True, blank=True)
    created_at = models.DateTimeField(_("filed"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("top-up request")
        verbose_name_plural = _("top-up requests")
        ordering = ["-pk"]
        permissions = [("decide_topuprequest", "Can approve or refuse a top-up request")]
        indexes = [
            models.Index(fields=["-id"], condition=Q(state="open"), name="top_up_request_open"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["account", "client_token"], name="top_up_request_sent_once"
            ),
            models.CheckConstraint(
                condition=Q(amount__gt=0) & Q(credit__gt=0), name="top_up_request_positive"
            ),
            models.CheckConstraint(
                condition=Q(state="open", decided_at__isnull=True)
                | (~Q(state="open") & Q(decided_at__isnull=False, decided_by__isnull=False)),
                name="top_up_request_decided_by_someone",
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"


class Ceiling(models.Model):
    """How much the members of a role may give away alone; empty: nothing is said of it."""

    group = models.OneToOneField(
        Group, models.CASCADE, related_name="ceiling", verbose_name=_("group")
    )
    refund = MoneyField(
        _("refund ceiling"),
        null=True,
        blank=True,
        help_text=_("Of one order in all. Above it a second person approves."),
    )
    top_up = MoneyField(
        _("top-up ceiling"),
        null=True,
        blank=True,
        help_text=_("Of one person within 24 hours. Above it a second person approves."),
    )

    class Meta:
        verbose_name = _("ceiling")
        verbose_name_plural = _("ceilings")
        constraints = [
            models.CheckConstraint(
                condition=(Q(refund__isnull=True) | Q(refund__gte=0))
                & (Q(top_up__isnull=True) | Q(top_up__gte=0)),
                name="ceiling_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return str(self.group)


class Approval(models.Model):
    """A movement of money above somebody's ceiling, waiting for a second person."""

    class Kind(models.TextChoices):
        REFUND = "refund", _("refund")
        TOP_UP = "top_up", _("top-up")
        ADJUSTMENT = "adjustment", _("adjustment")
        SETTLEMENT = "settlement", _("settlement by hand")

    class State(models.TextChoices):
        OPEN = "open", _("waiting")
        APPROVED = "approved", _("approved")
        REFUSED = "refused", _("refused")

    kind = models.CharField(_("type"), max_length=12, choices=Kind.choices)
    account = models.ForeignKey(
        Account, models.PROTECT, related_name="approvals", verbose_name=_("wallet")
    )
    order_number = models.BigIntegerField(_("order"), null=True)
    # The request of a customer that is credited with it.
    top_up_request = models.ForeignKey(
        TopUpRequest,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="approvals",
        verbose_name=_("top-up request"),
    )
    amount = MoneyField(_("amount"))
    # What a settlement says besides its amount.
    parameters = models.JSONField(_("parameters"), default=dict, editable=False)
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    # Passed on as the reference: however often it is approved, it is paid once.
    token = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    state = models.CharField(_("state"), max_length=8, choices=State.choices, default=State.OPEN)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", verbose_name=_("asked by")
    )
    requested_at = models.DateTimeField(_("asked"), default=timezone.now)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        related_name="+",
        verbose_name=_("decided by"),
    )
    decided_at = models.DateTimeField(_("decided"), null=True)
    # A refusal stays on the list of what needs attention until somebody has seen to it.
    seen_at = models.DateTimeField(_("seen to"), null=True, editable=False)

    class Meta:
        verbose_name = _("approval")
        verbose_name_plural = _("approvals")
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["-id"], condition=Q(state="open"), name="approval_open"),
            models.Index(
                fields=["-id"],
                condition=Q(state="refused", seen_at__isnull=True),
                name="approval_refused",
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="approval_amount_positive"),
            models.CheckConstraint(
                condition=Q(decided_by__isnull=True) | ~Q(decided_by=F("requested_by")),
                name="approval_by_a_second_person",
            ),
            models.CheckConstraint(
                condition=Q(state="open", decided_at__isnull=True, decided_by__isnull=True)
                | (~Q(state="open") & Q(decided_at__isnull=False)),
                name="approval_decided_has_time",
            ),
            models.UniqueConstraint(
                fields=["top_up_request"],
                condition=Q(state="open"),
                name="approval_one_open_per_request",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount}"

    @property
    def is_refusal_unseen(self) -> bool:
        """It was refused, and nobody has seen to that yet."""
        return self.state == self.State.REFUSED and self.seen_at is None
