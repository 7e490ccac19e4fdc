"""Money above a ceiling in the admin: a second person says yes or no."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from accounts.staff import (
    Dialog,
    ReadOnlyAdmin,
    column,
    dialog,
    figure,
    may,
    order_link,
    staff_member,
)
from orders import approvals
from orders.admin.texts import REFUSALS
from orders.states import Status
from wallet.ceilings import NotYours, refuse, see_refusal
from wallet.models import Approval

_NOT_YOURS = _("Only a second person with a high enough ceiling can decide this, and only once.")


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    """What waits for a second person; nobody approves their own."""

    list_display = ("kind", "amount_column", "account", "order_link", "reason", "requested_by",
                    "requested_at", "state_column", "decided_by")  # fmt: skip
    list_select_related = ("account__user", "requested_by", "decided_by", "top_up_request")
    list_filter = (("state", ChoicesDropdownFilter), ("kind", ChoicesDropdownFilter))
    fields = (("kind", "amount_column"), "account", ("order_link", "end"), "top_up_request", "reason",
              ("requested_by", "requested_at"), "state", ("decided_by", "decided_at"))  # fmt: skip
    readonly_fields = ("amount_column", "order_link", "end")
    actions_detail = ("approve", "refuse", "seen")

    # Whoever gives refunds is who has to tell the customer.
    has_see_permission = may("orders.refund_order")

    def has_decide_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        approval = self.get_object(request, obj) if isinstance(obj, str) else obj
        if approval is not None and approval.requested_by_id == request.user.pk:
            return False
        return request.user.has_perm("wallet.change_approval")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Nothing to decide when it is decided, or one's own; a refusal is seen to."""
        approval = self.get_object(request, str(object_id))
        possible: set[str] = set()
        if approval is not None and approval.state == Approval.State.OPEN:
            is_theirs = self.has_decide_permission(request, approval)
            possible = {"approve", "refuse"} if is_theirs else set()
        elif approval is not None and approval.is_refusal_unseen:
            possible = {"seen"}
        return [
            action
            for action in super().get_actions_detail(request, object_id)
            if action.method.original_function_name in possible
        ]

    @column(_("amount"))
    def amount_column(self, approval: Approval) -> str:
        return figure(approval.amount)

    @column(_("order"))
    def order_link(self, approval: Approval) -> Any:
        return order_link(approval.order_number)

    @column(_("ends as"))
    def end(self, approval: Approval) -> Any:
        """What a settlement by hand makes of the order."""
        if not (end := approval.parameters.get("end")):
            return "–"
        remains = approval.parameters.get("remains")
        label = Status(end).label
        return label if remains is None else f"{label}, {_('remains')} {remains}"

    @column(_("state"), label={"open": "warning", "approved": "success", "refused": "danger"})
    def state_column(self, approval: Approval) -> tuple[str, Any]:
        return approval.state, approval.get_state_display()

    @dialog(
        Dialog(
            title=_("Approve"),
            button=_("Approve and pay"),
            permission="decide",
            icon="check",
            is_dangerous=True,
            refusals={**REFUSALS, NotYours: lambda _exc: _NOT_YOURS},
        )
    )
    def approve(self, request: HttpRequest, form: Any, approval: Approval) -> Any:  # noqa: ARG002
        paid = approvals.approve(approval.pk, staff_member(request))
        return _("%(amount)s paid.") % {"amount": figure(paid)}

    @dialog(
        Dialog(
            title=_("Refuse"),
            button=_("Refuse"),
            permission="decide",
            icon="block",
            refusals={NotYours: lambda _exc: _NOT_YOURS},
        )
    )
    def refuse(self, request: HttpRequest, form: Any, approval: Approval) -> Any:  # noqa: ARG002
        refuse(approval.pk, staff_member(request))
        return _("Refused; nothing was paid.")

    @dialog(
        Dialog(
            title=_("Seen to"),
            button=_("Take off the list"),
            permission="see",
            icon="check",
            text=_(
                "Somebody has read that it was refused, and told the customer what is to be told."
            ),
        )
    )
    def seen(self, request: HttpRequest, form: Any, approval: Approval) -> Any:  # noqa: ARG002
        see_refusal(approval.pk)
        return _("It needs no attention any more.")
