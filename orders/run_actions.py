"""What a bulk action does to one order: the desk's own verbs, under the name of who started it."""

import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from orders import approvals, desk, requests
from orders.errors import NotPossible
from orders.models import Order
from orders.run_models import BulkRun
from orders.states import Status

# Does it, in the caller's transaction, and says what came of it; raises NotPossible.
Work = Callable[[BulkRun, Order], str]

PERMISSIONS: Mapping[str, str] = MappingProxyType(
    {
        BulkRun.Action.CHECK: "orders.ask_provider",
        BulkRun.Action.REFILL: "orders.ask_provider",
        BulkRun.Action.CANCEL: "orders.ask_provider",
        BulkRun.Action.REFUND: "orders.refund_order",
        BulkRun.Action.COUNTS: "orders.refund_order",
        BulkRun.Action.SETTLE: "orders.refund_order",
    }
)


def token_of(run: BulkRun, order: Order) -> uuid.UUID:
    """The same for every try at this row: money moves under it once."""
    return uuid.uuid5(run.token, str(order.pk))


def _refill(run: BulkRun, order: Order) -> str:
    requests.request_refill(order_id=order.pk, actor=run.started_by)
    return _("Refill requested; the provider may refuse.")


def _cancel(run: BulkRun, order: Order) -> str:
    if requests.cancel_order(order_id=order.pk, actor=run.started_by) is None:
        return _("The order was withdrawn before it was sent, and refunded.")
    return _("Cancel requested; the provider may refuse.")


def _refund(run: BulkRun, order: Order) -> str:
    entry = approvals.refund_or_ask(
        order,
        amount=_amount(run.parameters, order),
        reason=run.reason,
        actor=run.started_by,
        token=token_of(run, order),
    )
    return _waits() if entry is None else _given(entry.amount)


def _amount(parameters: Mapping[str, str], order: Order) -> Decimal | None:
    if parameters["what"] == "amount":
        return Decimal(parameters["amount"])
    if parameters["what"] == "left":
        return None
    amount = desk.undelivered(order)
    if not amount:
        raise NotPossible(_("It is not known what was not delivered."))
    return amount


def _counts(run: BulkRun, order: Order) -> str:
    """An empty count stays what it was."""
    start_count, remains = run.parameters.get("start_count"), run.parameters.get("remains")
    desk.set_counts(
        order_id=order.pk,
        start_count=order.start_count if start_count is None else start_count,
        remains=order.remains if remains is None else remains,
        reason=run.reason,
        actor=run.started_by,
    )
    return _("The counts are set.")


def _settle(run: BulkRun, order: Order) -> str:
    given = approvals.settle_or_ask(
        order,
        end=Status(run.parameters["end"]),
        remains=run.parameters.get("remains"),
        reason=run.reason,
        actor=run.started_by,
        token=token_of(run, order),
    )
    return _waits() if given is None else _given(given)


def _given(amount: Decimal) -> str:
    return _("%(amount)s refunded.") % {"amount": number_format(amount.normalize(), use_l10n=True)}


def _waits() -> str:
    return _("This is above your ceiling; it waits for a second person.")


# Checking asks the provider, so it is done for many orders at once, outside transactions.
WORK: Mapping[str, Work] = MappingProxyType(
    {
        BulkRun.Action.REFILL: _refill,
        BulkRun.Action.CANCEL: _cancel,
        BulkRun.Action.REFUND: _refund,
        BulkRun.Action.COUNTS: _counts,
        BulkRun.Action.SETTLE: _settle,
    }
)
