"""The words and colours in which the admin tells of orders, and the sentences for refusals."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from accounts.staff import Refusals
from catalog.admin import UPSTREAM_REFUSALS
from orders.attention import Attention
from orders.errors import NotPossible
from orders.states import Dispatch, Status
from wallet.admin import REFUSALS as WALLET_REFUSALS

REFUSALS: Refusals = {NotPossible: str, **WALLET_REFUSALS, **UPSTREAM_REFUSALS}

STATUS_COLOURS: dict[str, str] = {
    Status.PENDING: "info",
    Status.PROCESSING: "info",
    Status.IN_PROGRESS: "primary",
    Status.COMPLETED: "success",
    Status.PARTIAL: "warning",
    Status.CANCELED: "danger",
}
DISPATCH_COLOURS: dict[str, str] = {
    Dispatch.ACCEPTED: "success",
    Dispatch.UNKNOWN: "danger",
    Dispatch.REJECTED: "warning",
    Dispatch.SENDING: "primary",
    Dispatch.CLAIMED: "primary",
    Dispatch.QUEUED: "info",
    Dispatch.WITHDRAWN: "default",
    Dispatch.CHILD: "default",
}


# Set while following an order, and while sending it.
ATTENTION: dict[str, Any] = {
    **dict(Attention.choices),
    "unknown": _("Sent, and the answer was lost"),
    "unrecognised": _("The provider answered with an error nobody has explained yet"),
    "repeated_id": _("The provider gave it another order's ID"),
    "resend_refused": _("Not sent again: an earlier attempt may have arrived"),
    "placed_after_refund": _("Accepted by the provider after it was refunded"),
    "account": _("The provider refuses our key or account"),
    "absent": _("Sent, the answer was lost, and it is not at the provider"),
}

# orders.matching.Verdict and Reason, and what keeps a search from going on.
VERDICTS: dict[str, Any] = {
    "": _("nothing yet"),
    "wait": _("still looking"),
    "placed": _("found"),
    "absent": _("not at the provider"),
    "review": _("a person has to decide"),
}
REASONS: dict[str, Any] = {
    "only_fit": _("one order there fits this one and no other"),
    "only_way": _("among the orders that fit, this can be only one"),
    "nothing_fits": _("every ID in question was asked for, and nothing fits"),
    "no_anchor": _("waits for a later order of ours, which ends the range of IDs"),
    "scanning": _("not every ID in question was asked for yet"),
    "budget": _("the calls for this order are used up"),
    "ambiguous": _("several orders and IDs fit each other"),
    "unexplained": _("an order there fits nothing here"),
    "review_only": _("someone else orders on this account"),
    "balance": _("our balance there says the opposite"),
}
HINDRANCES: dict[str, Any] = {
    "": _("on"),
    "off": _("switched off for this provider"),
    "canary": _("off: the test of this provider failed"),
    "untested": _("waits for the test of this provider"),
    "disorder": _("off: the provider's IDs are not in order, or too few"),
    "paused": _("paused for ten minutes"),
    "review_only": _("on, without deciding"),
}
