"""Why staff should look at an order; `Order.attention` holds one of these, or nothing."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Attention(models.TextChoices):
    """Values are stored, so a name changes only with a migration."""

    PARTIAL_REMAINS = "partial_remains", _("Partial, but what remains is not said")
    REMAINS_RANGE = "remains_range", _("More remains than was ordered")
    PARTIAL_PACKAGE = "partial_package", _("A package was delivered in part")
    UNKNOWN_STATUS = "unknown_status", _("The provider's status is not known here")
    STATUS_MISSING = "status_missing", _("The provider does not know the order")
    CONTRARY = "contrary", _("The provider changed a final status; no money moved")
    LATE_REVERSAL = "late_reversal", _("Refunded after it had been final")
    STUCK = "stuck", _("Not finished after 90 days; no longer checked")
    PARTS_MISSING = "parts_missing", _("The provider does not list every part order")
    LOSS = "loss", _("Not sent: its cost has reached its price")
    PART_TAKEN = "part_taken", _("A part order's ID belongs to another order")


# These say that the last answer was odd; the next good one takes them away.
PASSING = [Attention.UNKNOWN_STATUS, Attention.STATUS_MISSING]
