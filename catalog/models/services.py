"""What is sold: services under their categories, and those a customer keeps at hand."""

from decimal import Decimal
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from catalog.models.providers import Provider
from catalog.models.rules import PriceLayer
from wallet.money import RateField


class Category(PriceLayer):
    """A heading of the catalogue, shared by all providers that use the same name."""

    name = models.CharField(_("name as given"), max_length=300, unique=True, editable=False)
    own_name = models.CharField(_("own name"), max_length=300, blank=True)
    position = models.IntegerField(_("position"), default=0)
    is_visible = models.BooleanField(_("shown"), default=True)
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


class Service(PriceLayer):
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

    class RefillBy(models.TextChoices):
        """Who carries a refill out; empty where the provider's row says it."""

        ITSELF = "itself", _("go to the provider by themselves")
        STAFF = "staff", _("wait for staff")

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
    keeps_category = models.BooleanField(
        _("stays in its category"),
        default=False,
        help_text=_("Whatever category the provider's list names."),
    )
    # What the provider asks now, while a change of it is held or was ignored: the margin guard
    # reckons with it, though prices don't.
    listed_cost_rate = RateField(_("cost rate as listed now"), null=True, editable=False)
    # Which listed row was held or ignored, so that it isn't held again at every sync.
    set_aside = models.CharField(max_length=32, blank=True, editable=False)
    min_quantity = models.BigIntegerField(_("min"), default=1)
    max_quantity = models.BigIntegerField(_("max"), default=1)
    refill = models.BooleanField(_("refill"), default=False)
    cancel = models.BooleanField(_("cancel"), default=False)
    dripfeed = models.BooleanField(_("drip-feed"), default=False)
    refill_by = models.CharField(
        _("refills"), max_length=8, choices=RefillBy.choices, blank=True, default=""
    )
    refill_days = models.PositiveIntegerField(
        _("refill within (days)"),
        null=True,
        blank=True,
        help_text=_("After the order's end; 0: for ever. Empty: the site's rule."),
    )
    refill_every_hours = models.PositiveIntegerField(
        _("hours between refills"),
        null=True,
        blank=True,
        help_text=_("Empty: the site's rule."),
    )
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
    # Whatever writes a service with `update` or in bulk sets it too: staff look for what changed.
    changed_at = models.DateTimeField(_("last change"), auto_now=True)

    objects: ClassVar[models.Manager["Service"]] = ServiceQuerySet.as_manager()

    class Meta:
        verbose_name = _("service")
        verbose_name_plural = _("services")
        ordering = ["category__position", "category__name", "position", "pk"]
        indexes = [
            models.Index(fields=["category", "position", "id"], name="service_in_category"),
            # Counts what is on sale of each category without reading a row; small, as its keys repeat.
            models.Index(
                fields=["category", "provider"],
                condition=Q(is_sold=True, is_present=True, is_held=False, refusal=""),
                name="service_sold_in_category",
            ),
            # The price list by price, from either end.
            models.Index(
                fields=["price_rate", "id"],
                condition=Q(is_sold=True, is_present=True, is_held=False, refusal=""),
                name="service_sold_by_price",
            ),
        ]
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
    def offers_refill(self) -> bool:
        """Whether its orders can be refilled: by the provider's flag, or because staff do it."""
        return self.refill or self.refill_by == self.RefillBy.STAFF

    @property
    def is_refilled_by_staff(self) -> bool:
        """Whether a refill waits for staff instead of going to the provider."""
        if self.refill_by:
            return self.refill_by == self.RefillBy.STAFF
        return Provider.objects.filter(pk=self.provider_id, refills_by_staff=True).exists()

    @property
    def newest_cost_rate(self) -> Decimal:
        """What an order would cost now, per 1,000 units in the provider's currency."""
        listed = self.listed_cost_rate
        return Decimal(self.cost_rate if listed is None else listed)

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
