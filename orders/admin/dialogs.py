"""The buttons of an order's page: each asks first, and calls one function of the desk."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.staff import Dialog, ReadOnlyAdmin, ReasonForm, dialog, figure, may, staff_member
from catalog.models import ErrorRule
from orders import approvals, desk, following, reconcile, refills, requests
from orders.admin.forms import (
    BindForm,
    CountsForm,
    LossForm,
    MeaningForm,
    RefundForm,
    SettleForm,
    UnknownForm,
    left_of,
    unrecognised,
)
from orders.admin.texts import REFUSALS, VERDICTS
from orders.attention import Attention
from orders.decisions import FOLLOWED
from orders.errors import NotPossible
from orders.models import Order
from orders.states import FINAL, Dispatch, Status
from upstream.verdicts import normalise
from wallet.admin import WAITS


class OrderDialogs(ReadOnlyAdmin):
    """What can be done about one order; which of it makes sense now says `possible`."""

    actions_detail = (
        "check_now", "send_at_loss", "refund", "refill", "cancel", "settle", "look_now", "set_counts", "bind_unknown", "refund_unknown",
        "resend_unknown", "explain", "acknowledge",
    )  # fmt: skip

    has_ask_permission = may("orders.ask_provider")
    has_refund_permission = may("orders.refund_order")
    has_resolve_permission = may("orders.resolve_order")
    has_explain_permission = may("catalog.add_errorrule")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Only the buttons that do something for this order now."""
        order = self.get_object(request, str(object_id))
        makes_sense = possible(order) if order else set()
        prefix = f"{self.opts.app_label}_{self.opts.model_name}_"
        return [
            action
            for action in super().get_actions_detail(request, object_id)
            if action.action_name.removeprefix(prefix) in makes_sense
        ]

    @dialog(
        Dialog(
            title=_("Check now"),
            button=_("Ask the provider"),
            permission="ask",
            icon="sync",
            text=_("Asks the provider for the order's status and applies the answer."),
            refusals=REFUSALS,
        )
    )
    def check_now(self, request: HttpRequest, form: Any, order: Order) -> Any:  # noqa: ARG002
        return _("The order is: %(status)s.") % {
            "status": following.check_now(order.pk).get_status_display()
        }

    @dialog(
        Dialog(
            title=_("Send in spite of the loss"),
            button=_("Send it"),
            permission="resolve",
            icon="send",
            form=LossForm,
            is_dangerous=True,
            text=_("The order waits because it would cost as much as it brings, or more."),
            refusals=REFUSALS,
        )
    )
    def send_at_loss(self, request: HttpRequest, form: LossForm, order: Order) -> Any:
        desk.send_at_loss(
            order_id=order.pk, reason=form.cleaned_data["reason"], actor=staff_member(request)
        )
        return _("The order waits to be sent.")

    @dialog(
        Dialog(
            title=_("Refund"),
            button=_("Refund"),
            permission="refund",
            icon="undo",
            form=RefundForm,
            is_dangerous=True,
            refusals=REFUSALS,
        )
    )
    def refund(self, request: HttpRequest, form: RefundForm, order: Order) -> Any:
        entry = approvals.refund_or_ask(
            order,
            amount=form.cleaned_data["amount"],
            reason=form.cleaned_data["reason"],
            actor=staff_member(request),
            token=form.cleaned_data["token"],
        )
        if entry is None:
            return WAITS
        return _("%(amount)s refunded.") % {"amount": figure(entry.amount)}

    @dialog(
        Dialog(
            title=_("Set counts"),
            button=_("Set"),
            permission="refund",
            icon="pin",
            form=CountsForm,
            text=_("Corrects start count and remains; no money moves."),
            refusals=REFUSALS,
        )
    )
    def set_counts(self, request: HttpRequest, form: CountsForm, order: Order) -> Any:
        desk.set_counts(
            order_id=order.pk,
            start_count=form.cleaned_data["start_count"],
            remains=form.cleaned_data["remains"],
            reason=form.cleaned_data["reason"],
            actor=staff_member(request),
        )
        return _("The counts are set.")

    @dialog(
        Dialog(
            title=_("Settle by hand"),
            button=_("Settle it"),
            permission="refund",
            icon="gavel",
            form=SettleForm,
            is_dangerous=True,
            text=_(
                "The order ends as you say and is not followed any more; its money follows as if "
                "the provider had said it."
            ),
            refusals=REFUSALS,
        )
    )
    def settle(self, request: HttpRequest, form: SettleForm, order: Order) -> Any:
        given = approvals.settle_or_ask(
            order,
            end=Status(form.cleaned_data["end"]),
            remains=form.cleaned_data["remains"],
            reason=form.cleaned_data["reason"],
            actor=staff_member(request),
            token=form.cleaned_data["token"],
        )
        if given is None:
            return WAITS
        return _("The order has ended; %(amount)s refunded.") % {"amount": figure(given)}

    @dialog(
        Dialog(
            title=_("Refill"),
            button=_("Request a refill"),
            permission="ask",
            icon="autorenew",
            refusals=REFUSALS,
        )
    )
    def refill(self, request: HttpRequest, form: Any, order: Order) -> Any:  # noqa: ARG002
        requests.request_refill(order_id=order.pk, actor=staff_member(request))
        return _("Refill requested; the provider may refuse.")

    @dialog(
        Dialog(
            title=_("Cancel order"),
            button=_("Cancel this order"),
            permission="ask",
            icon="cancel",
            text=_(
                "An order that was not sent is withdrawn and refunded; else the provider is asked."
            ),
            is_dangerous=True,
            refusals=REFUSALS,
        )
    )
    def cancel(self, request: HttpRequest, form: Any, order: Order) -> Any:  # noqa: ARG002
        asked = requests.cancel_order(order_id=order.pk, actor=staff_member(request))
        if asked is None:
            return _("The order was withdrawn before it was sent, and refunded.")
        return _("Cancel requested; the provider may refuse.")

    @dialog(
        Dialog(
            title=_("Look for it now"),
            button=_("Look now"),
            permission="resolve",
            icon="search",
            text=_("Asks the provider about the IDs in question, with a new budget of calls."),
            refusals=REFUSALS,
        )
    )
    def look_now(self, request: HttpRequest, form: Any, order: Order) -> Any:  # noqa: ARG002
        seen = reconcile.look_now(order.pk)
        if seen is None:
            return _("The order was found at the provider.")
        return VERDICTS.get(seen.verdict, seen.verdict)

    @dialog(
        Dialog(
            title=_("Found at the provider"),
            button=_("Bind to this ID"),
            permission="resolve",
            icon="link",
            form=BindForm,
            text=_("The order is in the provider's list: it goes on under the ID given there."),
            refusals=REFUSALS,
        )
    )
    def bind_unknown(self, request: HttpRequest, form: BindForm, order: Order) -> Any:
        upstream_id = form.cleaned_data["upstream_id"]
        desk.bind_unknown(
            order_id=order.pk,
            upstream_id=upstream_id,
            reason=form.cleaned_data["reason"],
            actor=staff_member(request),
        )
        return _("The order is bound to %(id)s.") % {"id": upstream_id}

    @dialog(
        Dialog(
            title=_("Refund unconfirmed order"),
            button=_("Refund in full"),
            permission="resolve",
            icon="undo",
            form=UnknownForm,
            is_dangerous=True,
            text=_("The customer gets the whole charge back; the order is not sent again."),
            refusals=REFUSALS,
        )
    )
    def refund_unknown(self, request: HttpRequest, form: UnknownForm, order: Order) -> Any:
        desk.refund_unknown(
            order_id=order.pk, reason=form.cleaned_data["reason"], actor=staff_member(request)
        )
        return _("The order is refunded in full.")

    @dialog(
        Dialog(
            title=_("Send again"),
            button=_("It is not there: send again"),
            permission="resolve",
            icon="send",
            form=UnknownForm,
            is_dangerous=True,
            text=_(
                "Only when you looked at the provider's own list and the order is not there: "
                "if it is, the customer's order will be placed twice."
            ),
            refusals=REFUSALS,
        )
    )
    def resend_unknown(self, request: HttpRequest, form: UnknownForm, order: Order) -> Any:
        desk.resend_unknown(
            order_id=order.pk, reason=form.cleaned_data["reason"], actor=staff_member(request)
        )
        return _("The order waits to be sent again.")

    @dialog(
        Dialog(
            title=_("What does this error mean?"),
            button=_("Remember"),
            permission="explain",
            icon="rule",
            form=MeaningForm,
            text=_(
                "From now on this provider's text has this meaning. "
                "The order itself stays as it is until you settle it."
            ),
            refusals=REFUSALS,
        )
    )
    def explain(self, request: HttpRequest, form: MeaningForm, order: Order) -> Any:  # noqa: ARG002
        attempt = unrecognised(order)
        text = normalise(attempt.reason)[:300] if attempt else ""
        if not text:
            raise NotPossible(_("No unrecognised answer of this order has a text."))
        ErrorRule.objects.update_or_create(
            provider_id=order.provider_id,
            text=text,
            defaults={"kind": form.cleaned_data["kind"]},
        )
        return _("The text is remembered.")

    @dialog(
        Dialog(
            title=_("Seen to"),
            button=_("Take off the list"),
            permission="resolve",
            icon="check",
            form=ReasonForm,
            text=_("Somebody looked and nothing is left to do; the reason is kept."),
            refusals=REFUSALS,
        )
    )
    def acknowledge(self, request: HttpRequest, form: ReasonForm, order: Order) -> Any:
        desk.acknowledge(
            order_id=order.pk, reason=form.cleaned_data["reason"], actor=staff_member(request)
        )
        return _("The order needs no attention any more.")


def possible(order: Order) -> set[str]:
    """The names of the actions that make sense for the order as it is."""
    now = timezone.now()
    names = {"explain"} if unrecognised(order) else set()
    if order.dispatch == Dispatch.UNKNOWN:
        return names | {"look_now", "bind_unknown", "refund_unknown", "resend_unknown"}
    if order.attention == Attention.LOSS and order.dispatch == Dispatch.QUEUED:
        names.add("send_at_loss")
    elif order.attention:
        names.add("acknowledge")
    if order.upstream_id:
        names.add("check_now")
    if order.dispatch in FOLLOWED and order.status not in FINAL:
        names.add("settle")
    if order.dispatch == Dispatch.ACCEPTED:
        names.add("set_counts")
    if left_of(order) > 0 and order.dispatch == Dispatch.ACCEPTED:
        names.add("refund")
    if not refills.refill_refusal(order, now):
        names.add("refill")
    if not requests.cancel_refusal(order, now):
        names.add("cancel")
    return names
