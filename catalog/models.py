import re
from collections.abc import Mapping
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.encryption import EncryptedTextField
from upstream.client import Client, Timeouts
from upstream.errors import Kind
from wallet.money import MoneyField, RateField


class Percent(models.DecimalField[Any, Any]):
    """A markup in percent of cost; empty means that the next layer decides."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        defaults = {
            "max_digits": 9,
            "decimal_places": 3,
            "null": True,
            "blank": True,
            "validators": [MinValueValidator(0)],
        }
        super().__init__(*args, **{**defaults, **kwargs})  # type: ignore[arg-type]


class Provider(models.Model):
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
    markup_percent = Percent(_("markup %"))
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
    idempotency_param = models.CharField(
        _("idempotency parameter"),
        max_length=40,
        blank=True,
        help_text=_("Name of the request ID parameter, if this panel has one, such as request_id."),
    )
    balance = MoneyField(_("balance"), null=True, blank=True, editable=False)
    balance_checked_at = models.DateTimeField(_("balance checked"), null=True, editable=False)
    # Why the last answer was not kept as the balance; empty when it was.
    balance_note = models.CharField(_("balance note"), max_length=200, blank=True, editable=False)
    # The hash of the last list that was applied, and of what its prices were made with: an
    # identical answer is not even parsed.
    catalogue_sha256 = models.CharField(max_length=64, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("provider")
        verbose_name_plural = _("providers")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(exchange_rate__gt=0), name="provider_rate_positive"),
        ]

    def __str__(self) -> str:
        return self.name

    def client(self, rules: Mapping[str, Kind] | None = None) -> Client:
        """A client for this provider; use it as a context manager, outside transactions.

        `rules` are the meanings of its error texts, looked up unless they are given.
        """
        if rules is None:
            rules = {rule.text: Kind(rule.kind) for rule in self.error_rules.all()}
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
        )


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


class Category(models.Model):
    """A heading of the catalogue, shared by all providers that use the same name."""

    name = models.CharField(_("name as given"), max_length=300, unique=True, editable=False)
    own_name = models.CharField(_("own name"), max_length=300, blank=True)
    position = models.IntegerField(_("position"), default=0)
    is_visible = models.BooleanField(_("shown"), default=True)
    markup_percent = Percent(_("markup %"))
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = _("category")
        verbose_name_plural = _("categories")
        ordering = ["position", "name"]

    def __str__(self) -> str:
        return self.title

    @property
    def title(self) -> str:
        return self.own_name or self.name


class ServiceQuerySet(models.QuerySet["Service"]):
    def on_sale(self) -> "ServiceQuerySet":
        """What a customer can order now."""
        return self.filter(
            is_sold=True,
            is_present=True,
            is_held=False,
            refusal="",
            provider__is_enabled=True,
            category__is_visible=True,
        )


class Service(models.Model):
    """Something a provider sells, and the price at which we sell it on."""

    class Refusal(models.TextChoices):
        """Why a row of the provider's list can't be sold."""

        RATE_MISSING = "rate_missing", _("no rate")
        RATE_ZERO = "rate_zero", _("rate is zero or negative")
        RATE_ABSURD = "rate_absurd", _("rate is absurdly high")
        LIMITS = "limits", _("minimum is above maximum")
        TYPE = "type", _("unknown type")
        SEPARATOR = "separator", _("separator, not a service")
        NAME = "name", _("no name")

    provider = models.ForeignKey(
        Provider, models.PROTECT, related_name="services", verbose_name=_("provider")
    )
    category = models.ForeignKey(
        Category, models.PROTECT, related_name="services", verbose_name=_("category")
    )
    upstream_id = models.CharField(_("upstream ID"), max_length=64)
    name = models.CharField(_("name as given"), max_length=500)
    own_name = models.CharField(_("own name"), max_length=500, blank=True)
    description = models.TextField(_("description as given"), blank=True)
    own_description = models.TextField(_("own description"), blank=True)
    type = models.CharField(_("type as given"), max_length=100, blank=True)
    # The key of upstream.order_types; empty when the type is not known.
    order_type = models.CharField(_("order type"), max_length=40, blank=True)
    # In the provider's currency, per 1,000 units (flat for packages).
    cost_rate = RateField(_("cost rate"), default=0)
    # In the site's currency; never below cost.
    price_rate = RateField(_("price rate"), default=0)
    pinned_rate = RateField(
        _("pinned price"),
        null=True,
        blank=True,
        help_text=_("Wins over every markup; raised to cost when cost rises above it."),
    )
    markup_percent = Percent(_("markup %"))
    min_quantity = models.BigIntegerField(_("min"), default=1)
    max_quantity = models.BigIntegerField(_("max"), default=1)
    refill = models.BooleanField(_("refill"), default=False)
    cancel = models.BooleanField(_("cancel"), default=False)
    dripfeed = models.BooleanField(_("drip-feed"), default=False)
    is_sold = models.BooleanField(_("sold"), default=True)
    is_present = models.BooleanField(_("present upstream"), default=True, editable=False)
    is_held = models.BooleanField(
        _("held"),
        default=False,
        help_text=_("New or returned: not sold until someone releases it."),
    )
    refusal = models.CharField(
        _("not usable because"), max_length=20, choices=Refusal.choices, blank=True, editable=False
    )
    position = models.IntegerField(_("position"), default=0, editable=False)
    created_at = models.DateTimeField(_("first seen"), auto_now_add=True)
    # Whatever writes a service with `update` or in bulk sets it too: the API's price list follows it.
    changed_at = models.DateTimeField(_("last change"), auto_now=True)

    objects: ClassVar[models.Manager["Service"]] = ServiceQuerySet.as_manager()

    class Meta:
        verbose_name = _("service")
        verbose_name_plural = _("services")
        ordering = ["category__position", "category__name", "position", "pk"]
        indexes = [models.Index(fields=["category", "position", "id"], name="service_in_category")]
        constraints = [
            models.UniqueConstraint(fields=["provider", "upstream_id"], name="service_known_once"),
            models.CheckConstraint(
                condition=Q(cost_rate__gte=0) & Q(price_rate__gte=0),
                name="service_rates_not_negative",
            ),
            models.CheckConstraint(
                condition=~Q(refusal="")
                | Q(price_rate__gt=0, cost_rate__gt=0, min_quantity__lte=F("max_quantity")),
                name="service_usable_has_price_and_limits",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pk} {self.title}"

    @property
    def title(self) -> str:
        return self.own_name or self.name

    @property
    def text(self) -> str:
        return self.own_description or self.description


class Favourite(models.Model):
    """A service that a customer keeps at hand."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="favourites", verbose_name=_("user")
    )
    service = models.ForeignKey(
        Service, models.CASCADE, related_name="+", verbose_name=_("service")
    )

    class Meta:
        verbose_name = _("favourite")
        verbose_name_plural = _("favourites")
        constraints = [
            models.UniqueConstraint(fields=["user", "service"], name="favourite_kept_once")
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.service_id}"


class LinkRule(models.Model):
    """Something the operator refuses in orders, and what the customer is told."""

    class Kind(models.TextChoices):
        HOST = "host", _("host")
        WORD = "word", _("word")
        PATTERN = "pattern", _("pattern")

    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices)
    text = models.CharField(
        _("text"),
        max_length=200,
        help_text=_(
            "A host such as example.com, with everything below it; a word, found anywhere in an order; "
            "or a pattern for whole links, in which * stands for anything and ? for one character."
        ),
    )
    message = models.CharField(
        _("message"), max_length=200, blank=True, help_text=_("What the customer reads.")
    )
    is_on = models.BooleanField(_("on"), default=True)

    class Meta:
        verbose_name = _("link rule")
        verbose_name_plural = _("link rules")
        constraints = [models.UniqueConstraint(fields=["kind", "text"], name="link_rule_once")]

    def __str__(self) -> str:
        return self.text

    def clean(self) -> None:
        self.text = self.text.strip().casefold()
        if self.kind == self.Kind.HOST and not re.fullmatch(r"[\w-]+(\.[\w-]+)+", self.text):
            raise ValidationError({"text": _("Enter a host such as example.com.")})
        if len(self.text.replace("*", "").replace("?", "")) < 3:
            raise ValidationError({"text": _("This would refuse almost everything.")})


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
    refused = models.IntegerField(_("refused"), default=0)
    note = models.CharField(_("note"), max_length=300, blank=True)
    # Up to 200 of [upstream_id, name, reason].
    refused_rows = models.JSONField(_("refused rows"), default=list)

    class Meta:
        verbose_name = _("catalogue sync")
        verbose_name_plural = _("catalogue syncs")
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.provider} {self.started_at:%Y-%m-%d %H:%M}"
