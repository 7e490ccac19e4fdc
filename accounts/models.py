from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.encryption import EncryptedTextField


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email__iexact=username)


class User(AbstractBaseUser, PermissionsMixin):
    """A customer or a member of staff, known by e-mail address."""

    email = models.EmailField(_("e-mail address"), unique=True)
    name = models.CharField(_("name"), max_length=150, blank=True)
    language = models.CharField(_("language"), max_length=8, choices=settings.LANGUAGES, blank=True)
    time_zone = models.CharField(_("time zone"), max_length=64, blank=True)
    is_active = models.BooleanField(
        _("active"),
        default=True,
        help_text=_("Switch off instead of deleting: orders and money stay."),
    )
    is_staff = models.BooleanField(_("staff"), default=False)
    date_joined = models.DateTimeField(_("joined"), default=timezone.now, editable=False)
    # Which of accounts.mail.Kind the person does not want.
    mail_off = models.JSONField(default=list, blank=True, editable=False)
    # In the site's currency; empty: no mail about a low balance.
    low_balance = models.DecimalField(
        _("low balance"), max_digits=15, decimal_places=6, null=True, blank=True
    )
    # The version of the terms of use that was accepted, and when.
    terms_version = models.CharField(_("terms accepted"), max_length=40, blank=True, editable=False)
    terms_at = models.DateTimeField(_("terms accepted at"), null=True, blank=True, editable=False)
    # When everything that says who this was went; the row stays, for the ledger and the orders.
    deleted_at = models.DateTimeField(_("deleted"), null=True, blank=True, editable=False)
    # When the links of their orders went too: see KEEP_DELETED_LINKS_DAYS.
    links_deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    EMAIL_FIELD = "email"
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        permissions = [
            ("hand_out_rights", "Can make people staff and give them roles"),
            ("look_at_customer", "Can look at a customer's pages"),
            ("delete_customer_data", "Can delete a customer's account and personal data"),
        ]
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_unique_any_case")]

    def __str__(self) -> str:
        if self.deleted_at:
            return str(_("Deleted customer %(number)s")) % {"number": self.pk}
        return self.email


class Mail(models.Model):
    """A mail to be sent: written with what it is about, sent later by a job, at least once."""

    # None when somebody without an account is told so.
    user = models.ForeignKey(
        User, models.CASCADE, null=True, related_name="mails", verbose_name=_("user")
    )
    # Empty: the user's own address.
    to = models.EmailField(_("recipient"), blank=True)
    kind = models.CharField(_("kind"), max_length=30)  # accounts.mail.Kind, or ACCOUNT
    # A letter that is finished, its first line the subject; it may hold a link that opens the
    # account, so it is encrypted, and gone once it is sent.
    sealed = EncryptedTextField(blank=True, editable=False)
    # Plain text and numbers; amounts as text.
    values = models.JSONField(default=dict)
    attempts = models.IntegerField(_("attempts"), default=0)
    not_before = models.DateTimeField(_("not before"), default=timezone.now)
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True)
    error = models.CharField(_("error"), max_length=100, blank=True)
    created_at = models.DateTimeField(_("written"), default=timezone.now)

    class Meta:
        verbose_name = _("mail")
        verbose_name_plural = _("mails")
        ordering = ["-pk"]
        indexes = [
            models.Index(
                fields=["not_before", "id"],
                condition=models.Q(sent_at__isnull=True),
                name="mail_to_send",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(user__isnull=False) | ~models.Q(to=""),
                name="mail_goes_to_somebody",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class Device(models.Model):
    """A browser session of a user, as the list of sessions shows it."""

    user = models.ForeignKey(User, models.CASCADE, related_name="devices", verbose_name=_("user"))
    session_key = models.CharField(max_length=40, unique=True)
    agent = models.CharField(_("browser"), max_length=60, blank=True)
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    signed_in_at = models.DateTimeField(_("signed in"), default=timezone.now)

    class Meta:
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        ordering = ["-signed_in_at"]

    def __str__(self) -> str:
        return self.agent


class ApiKey(models.Model):
    """A key of a customer for API v2. Only its hash is kept: the key itself is shown once."""

    user = models.ForeignKey(
        User, models.PROTECT, related_name="api_keys", verbose_name=_("customer")
    )
    name = models.CharField(_("name"), max_length=60)
    # The first characters, so that a person can tell keys apart.
    prefix = models.CharField(_("begins with"), max_length=12, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    # Addresses and networks in CIDR notation, one per line; empty: from everywhere.
    allowed_from = models.TextField(_("allowed addresses"), blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class AuditEntry(models.Model):
    """What a member of staff did, chained: each entry carries the hash of the one before.

    Only `accounts.audit.record` writes them, and nothing changes or deletes one.
    """

    number = models.BigIntegerField(_("number"), unique=True)
    at = models.DateTimeField(_("when"))
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+", verbose_name=_("who")
    )
    action = models.CharField(_("what"), max_length=200)
    target = models.CharField(_("on what"), max_length=200, blank=True)
    # Field name to [before, after], and whatever else describes the action.
    details = models.JSONField(_("details"), default=dict)
    address = models.CharField(_("from where"), max_length=45, blank=True)
    previous_hash = models.CharField(max_length=64, blank=True)
    hash = models.CharField(_("hash"), max_length=64)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit log")
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"{self.number} {self.action}"


class AuditHead(models.Model):
    """The last entry of the chain, in one row that writers lock: a cut-off end shows against it."""

    number = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64, blank=True)

    class Meta:
        verbose_name = _("end of the audit log")
        verbose_name_plural = _("ends of the audit log")

    def __str__(self) -> str:
        return str(self.number)


class AuditProof(models.Model):
    """The last entry up to which the nightly check found the log whole, in one row."""

    number = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64, blank=True)
    # When all of it was last looked at, from the first entry on.
    whole_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return str(self.number)
