"""The panels we buy from: how they are reached, what they said, and what their errors mean."""

from collections.abc import Mapping
from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from accounts.encryption import EncryptedTextField
from catalog.models.rules import RULE_FIELDS, Percent, PriceLayer, SiteRules, complete
from catalog.pricing import Rule
from upstream.client import Client, Timeouts
from upstream.errors import Kind, NotSent
from upstream.kept import Kept
from wallet.money import MoneyField, RateField

# Those of this process to all providers, for submissions that follow each other closely.
connections = Kept()

# Of the last list that was applied: what the next one is recognised by.
DIGESTS = ("catalogue_sha256", "rows_sha256", "contents_sha256")


class ProviderQuerySet(models.QuerySet["Provider"]):
    def locked(self, provider_id: int) -> "Provider":
        """The provider's row, kept from others who change prices, with the site's rule; one query."""
        site = SiteRules.objects.all()
        columns = {f"site_{name}": models.Subquery(site.values(name)[:1]) for name in RULE_FIELDS}
        provider = self.select_for_update(no_key=True).annotate(**columns).get(pk=provider_id)
        rule = Rule(*(getattr(provider, f"site_{name}") for name in RULE_FIELDS))
        provider.site_rule = complete(rule)
        return provider


class Provider(PriceLayer):
    """A panel we buy from."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    url = models.URLField(_("API address"), max_length=300)
    api_key = EncryptedTextField(_("API key"))
    currency = models.CharField(_("currency"), max_length=8, default="USD")
    exchange_rate = RateField(
        _("exchange rate"),
        default=1,
        help_text=_("Units of this site's currency for one unit of the provider's."),
    )
    is_enabled = models.BooleanField(_("enabled"), default=True)
    loss_tolerance = Percent(
        _("tolerated loss %"),
        null=False,
        blank=False,
        default=0,
        help_text=_(
            "At 0 nothing is sold or sent whose cost reaches its price; "
            "at 5 the cost may be up to 5 % above it."
        ),
    )
    hold_cost_up = Percent(
        _("hold when cost rises by more than %"),
        default=50,
        help_text=_("Such a change waits for someone, and the service is not sold meanwhile."),
    )
    hold_vanishing = Percent(
        _("refuse a list that lacks more than %"),
        null=False,
        blank=False,
        default=30,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text=_("Of the services that could be sold before; someone may still apply it."),
    )
    hold_retyped = models.BooleanField(_("hold when the type changes"), default=True)
    hold_renamed = models.BooleanField(
        _("hold when the name is no longer recognisable"), default=True
    )
    hold_below_cost = models.BooleanField(
        _("hold when a pinned price falls below cost"), default=True
    )
    sync_names = models.BooleanField(_("names follow the provider"), default=True)
    sync_descriptions = models.BooleanField(_("descriptions follow the provider"), default=True)
    sync_categories = models.BooleanField(_("categories follow the provider"), default=True)
    sync_limits = models.BooleanField(_("limits follow the provider"), default=True)
    sync_flags = models.BooleanField(
        _("refill, cancel and drip-feed follow the provider"), default=True
    )
    holds_new_services = models.BooleanField(
        _("hold new services"),
        default=False,
        help_text=_("New services wait for someone to release them instead of going on sale."),
    )
    error_wins = models.BooleanField(
        _("error wins over order ID"),
        default=False,
        help_text=_("This panel answers refusals with both an error and an order ID."),
    )
    comments_need_quantity = models.BooleanField(
        _("send quantity with comments"),
        default=False,
        help_text=_("This panel refuses line-counted orders unless the quantity is sent too."),
    )
    refills_by_staff = models.BooleanField(
        _("refills wait for staff"),
        default=False,
        help_text=_("For a provider that has no automatic refill, or whose refills you approve."),
    )
    idempotency_param = models.CharField(
        _("idempotency parameter"),
        max_length=40,
        blank=True,
        help_text=_("Name of the request ID parameter, if this panel has one, such as request_id."),
    )
    status_calls_per_minute = models.PositiveIntegerField(
        _("status calls per minute"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Each asks about up to 100 orders. Empty: no limit."),
    )
    balance = MoneyField(_("balance"), null=True, blank=True, editable=False)
    balance_checked_at = models.DateTimeField(_("balance checked"), null=True, editable=False)
    # Why the last answer was not kept as the balance; empty when it was.
    balance_note = models.CharField(_("balance note"), max_length=200, blank=True, editable=False)
    # The hash of the last list that was applied, and of what its prices were made with: an
    # identical answer is not even parsed.
    catalogue_sha256 = models.CharField(max_length=64, blank=True, editable=False)
    # The same of its rows' texts, whatever their order; empty when the texts don't tell.
    rows_sha256 = models.CharField(max_length=64, blank=True, editable=False)
    # The same of what that list says, whatever the order of its services and its spacing: such an
    # answer is parsed, and not compared.
    contents_sha256 = models.CharField(max_length=64, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects: ClassVar[ProviderQuerySet] = ProviderQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("provider")
        verbose_name_plural = _("providers")
        permissions = [("sync_provider", "Can preview and apply a provider's list")]
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(exchange_rate__gt=0), name="provider_rate_positive"),
        ]

    def __str__(self) -> str:
        return self.name

    @cached_property
    def site_rule(self) -> Rule:
        """The site's price rule, looked up once for as long as this row is in hand."""
        return SiteRules.current()

    def client(self, rules: Mapping[str, Kind] | None = None) -> Client:
        """A client for this provider; use it as a context manager, outside transactions.

        `rules` are the meanings of its error texts, looked up unless they are given. Raises NotSent
        when its address or key can't be used, as a call of the client would.
        """
        if rules is None:
            rules = {rule.text: Kind(rule.kind) for rule in self.error_rules.all()}
        try:
            return Client(
                url=self.url,
                key=self.api_key,
                allow_private=settings.ALLOW_PRIVATE_UPSTREAM,
                timeouts=Timeouts(
                    connect=float(settings.UPSTREAM_CONNECT_TIMEOUT),
                    read=float(settings.UPSTREAM_READ_TIMEOUT),
                    total=float(settings.UPSTREAM_TOTAL_TIMEOUT),
                ),
                rules=rules,
                error_wins=self.error_wins,
                kept=connections,
            )
        except ValueError:
            raise NotSent("the provider's address or key can't be used") from None


class BalanceSample(models.Model):
    """Our balance at a provider, as it was at some moment between asking and the answer."""

    provider = models.ForeignKey(
        Provider, models.CASCADE, related_name="balance_samples", verbose_name=_("provider")
    )
    asked_at = models.DateTimeField(_("asked"))
    answered_at = models.DateTimeField(_("answered"))
    amount = MoneyField(_("balance"))

    class Meta:
        verbose_name = _("balance reading")
        verbose_name_plural = _("balance readings")
        ordering = ["-pk"]
        indexes = [models.Index(fields=["provider", "asked_at"], name="balance_of_provider")]

    def __str__(self) -> str:
        return f"{self.provider} {self.answered_at:%Y-%m-%d %H:%M}"


class ErrorRule(models.Model):
    """What one of a provider's error texts means, as an admin once decided."""

    provider = models.ForeignKey(
        Provider, models.CASCADE, related_name="error_rules", verbose_name=_("provider")
    )
    # Normalised by upstream.verdicts.normalise, so that the look-up is exact.
    text = models.CharField(_("error text"), max_length=300)
    kind = models.CharField(_("means"), max_length=20)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("error rule")
        verbose_name_plural = _("error rules")
        constraints = [
            models.UniqueConstraint(fields=["provider", "text"], name="error_rule_one_meaning"),
        ]

    def __str__(self) -> str:
        return self.text


class ExchangeRate(models.Model):
    """One change of a provider's exchange rate."""

    provider = models.ForeignKey(
        Provider, models.CASCADE, related_name="exchange_rates", verbose_name=_("provider")
    )
    at = models.DateTimeField(_("when"), default=timezone.now)
    old = RateField(_("from"), null=True)
    new = RateField(_("to"))
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+", verbose_name=_("who")
    )

    class Meta:
        verbose_name = _("change of an exchange rate")
        verbose_name_plural = _("changes of exchange rates")
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.old} → {self.new}"
