"""Prices that not everybody pays: groups with a discount, and one customer's price."""

from decimal import Decimal

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from catalog.models.services import Service
from wallet.money import RateField


class CustomerGroup(models.Model):
    """Customers who pay less than the list says."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    discount_percent = models.DecimalField(
        _("discount %"),
        max_digits=6,
        decimal_places=3,
        default=0,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
    )
    may_undercut = models.BooleanField(
        _("may fall below the minimum margin"),
        default=False,
        help_text=_("Even below cost. Such prices are marked."),
    )

    class Meta:
        verbose_name = _("customer group")
        verbose_name_plural = _("customer groups")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(discount_percent__gte=0, discount_percent__lt=100),
                name="customer_group_discount_is_part",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class GroupMember(models.Model):
    """A customer's place in a group; one at most."""

    group = models.ForeignKey(
        CustomerGroup, models.CASCADE, related_name="members", verbose_name=_("customer group")
    )
    customer = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="group_member",
        verbose_name=_("customer"),
    )

    class Meta:
        verbose_name = _("member")
        verbose_name_plural = _("members")

    def __str__(self) -> str:
        return str(self.customer)


class CustomerPrice(models.Model):
    """The price of one service for one customer; wins over the list and over a group's discount."""

    customer = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", verbose_name=_("customer")
    )
    service = models.ForeignKey(
        Service, models.CASCADE, related_name="customer_prices", verbose_name=_("service")
    )
    rate = RateField(_("price per 1000"), validators=[MinValueValidator(Decimal("0.0000001"))])
    may_undercut = models.BooleanField(
        _("may fall below the minimum margin"),
        default=False,
        help_text=_("Even below cost. Such prices are marked."),
    )

    class Meta:
        verbose_name = _("customer price")
        verbose_name_plural = _("customer prices")
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "service"], name="customer_price_once_per_service"
            ),
            models.CheckConstraint(condition=Q(rate__gt=0), name="customer_price_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.customer} · {self.service}"
