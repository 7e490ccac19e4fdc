"""The states of an order, of its way to the provider, and of requests about it.

Pure: no database, no network. Values are stored, so a name changes only with a migration.
"""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Dispatch(models.TextChoices):
    """How far an order is on its way to the provider, and where the customer's money is."""

    QUEUED = "queued", _("queued")  # paid, not sent; may be sent from not_before on
    CLAIMED = "claimed", _("claimed")  # a worker is connecting; no byte has left
    SENDING = "sending", _("sending")  # a byte may have left; never sent again by itself
    ACCEPTED = "accepted", _("accepted")  # the provider gave it an ID
    REJECTED = "rejected", _("rejected")  # the provider refused it; refunded in full
    UNKNOWN = "unknown", _("unconfirmed")  # sent, and the answer was lost; the money is held
    WITHDRAWN = "withdrawn", _("withdrawn")  # cancelled before it was sent; refunded in full
    CHILD = "child", _("child")  # made by the provider for a drip-feed or subscription


# In these a worker holds the order under a lease.
LEASED = [Dispatch.CLAIMED, Dispatch.SENDING]


class Status(models.TextChoices):
    """What the customer sees."""

    PENDING = "pending", _("Pending")
    PROCESSING = "processing", _("Processing")
    IN_PROGRESS = "in_progress", _("In progress")
    COMPLETED = "completed", _("Completed")
    PARTIAL = "partial", _("Partial")
    CANCELED = "canceled", _("Canceled")


OPEN = [Status.PENDING, Status.PROCESSING, Status.IN_PROGRESS]
FINAL = [Status.COMPLETED, Status.PARTIAL, Status.CANCELED]


class Outcome(models.TextChoices):
    """What became of one attempt to send an order, a refill or a cancel request."""

    CLAIMED = "claimed", _("claimed")
    SENDING = "sending", _("sending")
    ACCEPTED = "accepted", _("accepted")
    REJECTED = "rejected", _("rejected")
    NOT_SENT = "not_sent", _("not sent")
    UNKNOWN = "unknown", _("unconfirmed")
    ABSENT = "absent", _("proved absent")  # it was sent, and it is proved that nothing was placed
    # Unconfirmed, and sent once more under the same request ID, which the provider answers alike.
    REPEATED = "repeated", _("repeated")


# An attempt in one of these may have reached the provider: an order has at most one of them.
MAY_HAVE_REACHED = [Outcome.SENDING, Outcome.UNKNOWN, Outcome.ACCEPTED]
# Attempts that may be an order at the provider whose ID nobody has told us: they were sent, and
# what was said of them since is a statement and no answer.
UNDECIDED = [Outcome.SENDING, Outcome.UNKNOWN, Outcome.ABSENT, Outcome.REPEATED]


class RequestState(models.TextChoices):
    """A refill or a cancel request."""

    ASKED = "asked", _("waiting for staff")  # nothing is sent before they approve it
    QUEUED = "queued", _("requested")
    SENDING = "sending", _("sending")
    ACCEPTED = "accepted", _("at the provider")
    COMPLETED = "completed", _("completed")
    REJECTED = "rejected", _("refused")
    UNKNOWN = "unknown", _("unconfirmed")


REQUEST_OPEN = [
    RequestState.ASKED,
    RequestState.QUEUED,
    RequestState.SENDING,
    RequestState.ACCEPTED,
    RequestState.UNKNOWN,
]
