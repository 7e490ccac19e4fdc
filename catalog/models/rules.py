"""Price rules: what each layer says of prices."""

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from catalog.pricing import Rule
from wallet.money import RateField

# The fields of one layer, in the order of `catalog.pricing.Rule`.
RULE_FIELDS = ("markup_percent", "markup_fixed", "margin_min", "rounding_step")


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


class PriceLayer(models.Model):
    """One layer of price rules; what it leaves empty, the layer below it decides."""

    markup_percent = Percent(_("markup %"))
    markup_fixed = RateField(
        _("fixed markup"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text=_("Added to each price per 1000, in this site's currency."),
    )
    margin_min = Percent(
        _("minimum margin %"),
        validators=[MinValueValidator(0), MaxValueValidator(99)],
        help_text=_("Of the price: at 20, at least a fifth of every price stays here."),
    )
    rounding_step = RateField(
        _("rounding step"),
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal("0.0000001"))],
        help_text=_("Prices are rounded up to a multiple of it, such as 0.05."),
    )

    class Meta:
        abstract = True

    @property
    def rule(self) -> Rule:
        """What this layer says of prices."""
        return Rule(self.markup_percent, self.markup_fixed, self.margin_min, self.rounding_step)


def complete(site: Rule) -> Rule:
    """The site's rule, with MARKUP_PERCENT when it says nothing of markup."""
    return site if site.makes_markup else site._replace(percent=settings.MARKUP_PERCENT)


class SiteRules(PriceLayer):
    """The lowest layer of price rules, in one row; without a markup MARKUP_PERCENT holds."""

    class Meta:
        verbose_name = _("price rules")
        verbose_name_plural = _("price rules")
        constraints = [models.CheckConstraint(condition=Q(pk=1), name="site_rules_one_row")]

    def __str__(self) -> str:
        return str(_("Price rules of the whole site"))

    @classmethod
    def current(cls) -> Rule:
        """The site's rule as it is now, in one query; complete, because nothing lies below it."""
        row = cls.objects.first() or cls()
        return complete(row.rule)
