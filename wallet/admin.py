"""Wallets and the ledger in the admin: money moves through two dialogs and nowhere else."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextInputWidget

from accounts.filters import PeriodFilter
from accounts.staff import (
    Dialog,
    DialogForm,
    ReadOnlyAdmin,
    ReasonForm,
    Refusals,
    StaffAdmin,
    column,
    dialog,
    figure,
    may,
    order_link,
    staff_member,
)
from wallet.ceilings import ask, given_today, needs_approval
from wallet.errors import (
    AlreadyDecided,
    AlreadyPosted,
    InsufficientFunds,
    InvalidAmount,
    OwnRequest,
)
from wallet.models import Account, Approval, Ceiling, Entry, TopUpMethod, TopUpRequest
from wallet.money import LIMIT, STEP
from wallet.paging import key
from wallet.services import adjust, lock_account, top_up
from wallet.topups import approve_or_ask, refuse

WAITS = _("This is above your ceiling; it waits for a second person.")
REFUSALS: Refusals = {
    AlreadyPosted: lambda _exc: _("This was done a moment ago; it is not done twice."),
    InsufficientFunds: lambda exc: (
        _("The balance would fall below nothing: %(missing)s is missing.")
        % {"missing": figure(exc.missing)}
    ),
    InvalidAmount: lambda _exc: _("This amount can't be posted."),
    AlreadyDecided: lambda _exc: _("Somebody has already decided about this request."),
    OwnRequest: lambda _exc: _("Nobody decides about their own top-up."),
}


def _amount_field(label: Any, *, low: Decimal, help_text: Any = "") -> forms.DecimalField:
    return forms.DecimalField(
        label=label,
        min_value=low,
        max_value=LIMIT,
        max_digits=15,
        decimal_places=5,
        help_text=help_text,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"inputmode": "decimal", "step": "any"}),
    )


class TopUpForm(DialogForm):
    amount = _amount_field(_("Amount"), low=STEP)
    note = forms.CharField(
        label=_("Note"),
        max_length=300,
        required=False,
        help_text=_("Where the money came from, such as a bank reference."),
        widget=UnfoldAdminTextInputWidget,
    )

    def facts(self) -> list[tuple[Any, Any]]:
        return [(_("Customer"), self.target), (_("Balance"), figure(self.target.balance))]


class AdjustForm(ReasonForm):
    amount = _amount_field(
        _("Amount"), low=-LIMIT, help_text=_("Negative to take from the balance.")
    )
    field_order = ["amount", "reason"]

    def facts(self) -> list[tuple[Any, Any]]:
        return [(_("Customer"), self.target), (_("Balance"), figure(self.target.balance))]


@admin.register(Account)
class AccountAdmin(StaffAdmin):
    """One balance per customer, and the last lines of its ledger."""

    list_display = ("user", "balance_column", "state", "created_at")
    list_select_related = ("user",)
    search_fields = ("user__email", "user__name")
    search_help_text = _("Search by e-mail or name")
    ordering = ("-pk",)
    autocomplete_fields = ("user",)
    fields = ("user", "balance_column", "frozen_reason", "created_at")
    readonly_fields = ("balance_column", "created_at")
    actions_detail = ("top_up", "adjust")
    change_form_outer_after_template = "admin/wallet/account/entries.html"

    @column(_("balance"), ordering="balance")
    def balance_column(self, account: Account) -> str:
        return figure(account.balance)

    @column(_("state"), ordering="frozen_reason", label={"frozen": "danger", "open": "success"})
    def state(self, account: Account) -> tuple[str, Any]:
        return ("frozen", _("frozen")) if account.frozen_reason else ("open", _("open"))

    def get_fields(self, request: HttpRequest, obj: Account | None = None) -> Any:  # noqa: ARG002
        return self.fields if obj else ("user",)

    def get_readonly_fields(self, request: HttpRequest, obj: Account | None = None) -> Any:  # noqa: ARG002
        return (*self.readonly_fields, "user") if obj else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    has_top_up_permission = may("wallet.top_up_account")

    has_adjust_permission = may("wallet.adjust_account")

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        entries: QuerySet[Entry] = Entry.objects.none()
        if number := key(object_id):
            entries = Entry.objects.filter(account_id=number).select_related("actor")
        context = {"entries": entries_table(entries[:50]), **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

    @dialog(
        Dialog(
            title=_("Top up"),
            button=_("Credit the amount"),
            permission="top_up",
            icon="add_card",
            form=TopUpForm,
            refusals=REFUSALS,
        )
    )
    def top_up(self, request: HttpRequest, form: TopUpForm, account: Account) -> Any:
        with transaction.atomic():
            if _waits(request, form, account, Approval.Kind.TOP_UP, form.cleaned_data["note"]):
                return WAITS
            entry = top_up(
                user=account.user,
                amount=form.cleaned_data["amount"],
                note=form.cleaned_data["note"],
                actor=staff_member(request),
                reference=_reference(Approval.Kind.TOP_UP, form),
            )
        return _("%(amount)s credited; the balance is %(balance)s.") % {
            "amount": figure(entry.amount), "balance": figure(entry.balance_after),
        }  # fmt: skip

    @dialog(
        Dialog(
            title=_("Adjust the balance"),
            button=_("Adjust"),
            permission="adjust",
            icon="balance",
            form=AdjustForm,
            is_dangerous=True,
            refusals=REFUSALS,
        )
    )
    def adjust(self, request: HttpRequest, form: AdjustForm, account: Account) -> Any:
        reason = form.cleaned_data["reason"]
        with transaction.atomic():
            if _waits(request, form, account, Approval.Kind.ADJUSTMENT, reason):
                return WAITS
            entry = adjust(
                user=account.user,
                amount=form.cleaned_data["amount"],
                note=reason,
                actor=staff_member(request),
                reference=_reference(Approval.Kind.ADJUSTMENT, form),
            )
        return _("The balance is %(balance)s.") % {"balance": figure(entry.balance_after)}


def _reference(kind: Approval.Kind, form: Any) -> str:
    """What the form's credit is known by in the ledger, whoever posts it."""
    return f"{kind.value.replace('_', '-')}-{form.cleaned_data['token']}"


def _waits(
    request: HttpRequest, form: Any, account: Account, kind: Approval.Kind, reason: str
) -> bool:
    """Whether it is more than this person may give alone; then a second person is asked.

    Raises AlreadyPosted: what was credited a moment ago leaves less of the ceiling for itself.
    """
    lock_account(account.user_id)
    actor, amount = staff_member(request), form.cleaned_data["amount"]
    reference = _reference(kind, form)
    if Entry.objects.filter(kind=kind.value, reference=reference).exists():
        raise AlreadyPosted(f"{reference} is in the ledger")
    given, to = given_today(actor), account.user_id
    if amount <= 0 or not needs_approval(actor, kind, amount, given=given, to=to):
        return False
    ask(
        kind=kind, account=account, amount=amount, reason=reason, actor=actor,
        token=form.cleaned_data["token"],
    )  # fmt: skip
    return True


@admin.register(Ceiling)
class CeilingAdmin(StaffAdmin):
    """What each role may give away alone."""

    list_display = ("group", "refund", "top_up")
    list_select_related = ("group",)
    fields = ("group", "refund", "top_up")


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin):
    """The ledger, to look things up in."""

    list_display = (
        "created_at", "account", "kind", "amount_column", "balance_column", "order_number",
        "reference", "actor", "note",
    )  # fmt: skip
    list_select_related = ("account__user", "actor")
    list_filter = (("kind", ChoicesDropdownFilter), ("created_at", PeriodFilter))
    search_fields = ("=reference", "=order_number", "account__user__email__istartswith")
    search_help_text = _("Search by reference, order number or e-mail")

    @column(_("amount"))
    def amount_column(self, entry: Entry) -> str:
        return figure(entry.amount)

    @column(_("balance after"))
    def balance_column(self, entry: Entry) -> str:
        return figure(entry.balance_after)


@admin.register(TopUpMethod)
class TopUpMethodAdmin(StaffAdmin):
    """The ways to pay by hand; switched off instead of deleted."""

    list_display = ("name", "min_amount", "max_amount", "percent", "is_offered", "position")
    fields = (
        "name", "instructions", ("min_amount", "max_amount"), "percent", ("is_offered", "position"),
    )  # fmt: skip

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


class _RequestFacts(DialogForm):
    def facts(self) -> list[tuple[Any, Any]]:
        asked: TopUpRequest = self.target
        same = TopUpRequest.objects.filter(reference__iexact=asked.reference).exclude(pk=asked.pk)
        twins = ", ".join(f"{each} ({each.get_state_display()})" for each in same[:5])
        return [
            (_("Customer"), asked.account),
            (_("Method"), asked.method),
            (_("Paid"), figure(asked.amount)),
            (_("Credit"), figure(asked.credit)),
            (_("Reference"), asked.reference),
            (_("Same reference"), twins),
        ]


class ApproveForm(_RequestFacts):
    """Asks nothing; shows what is credited."""


class RefuseForm(_RequestFacts, ReasonForm):
    """Asks for the reason, which the customer reads."""


@admin.register(TopUpRequest)
class TopUpRequestAdmin(ReadOnlyAdmin):
    """Payments that customers say they made: found and credited, or refused with a reason."""

    list_display = (
        "created_at", "account", "method", "paid_column", "credit_column", "reference", "state_column",
    )  # fmt: skip
    list_select_related = ("account__user", "method")
    list_filter = (("state", ChoicesDropdownFilter), ("created_at", PeriodFilter))
    search_fields = ("reference", "account__user__email__istartswith")
    search_help_text = _("Search by reference or e-mail")
    fields = (
        "account", "method", ("paid_column", "credit_column"), "reference", "proof_link",
        "state_column", "reason", ("decided_by", "decided_at"), "created_at",
    )  # fmt: skip
    readonly_fields = ("paid_column", "credit_column", "proof_link", "state_column")
    actions_detail = ("approve", "refuse")

    @column(_("paid"))
    def paid_column(self, asked: TopUpRequest) -> str:
        return figure(asked.amount)

    @column(_("credit"))
    def credit_column(self, asked: TopUpRequest) -> str:
        return figure(asked.credit)

    @column(_("state"), label={"open": "warning", "approved": "success", "refused": "danger"})
    def state_column(self, asked: TopUpRequest) -> tuple[str, Any]:
        return asked.state, asked.get_state_display()

    @column(_("proof"))
    def proof_link(self, asked: TopUpRequest) -> Any:
        if not asked.proof:
            return "–"
        page = reverse("wallet:proof", args=[asked.pk])
        return format_html('<a href="{}">{}</a>', page, _("Download the picture"))

    has_decide_permission = may("wallet.decide_topuprequest")

    @dialog(
        Dialog(
            title=_("Approve"),
            button=_("Credit the amount"),
            permission="decide",
            icon="check_circle",
            form=ApproveForm,
            refusals=REFUSALS,
        )
    )
    def approve(self, request: HttpRequest, form: ApproveForm, asked: TopUpRequest) -> Any:  # noqa: ARG002
        entry = approve_or_ask(request_id=asked.pk, actor=staff_member(request))
        if entry is None:
            return WAITS
        return _("%(amount)s credited; the balance is %(balance)s.") % {
            "amount": figure(entry.amount), "balance": figure(entry.balance_after),
        }  # fmt: skip

    @dialog(
        Dialog(
            title=_("Refuse"),
            button=_("Refuse"),
            permission="decide",
            icon="block",
            form=RefuseForm,
            is_dangerous=True,
            refusals=REFUSALS,
        )
    )
    def refuse(self, request: HttpRequest, form: RefuseForm, asked: TopUpRequest) -> Any:
        reason = form.cleaned_data["reason"]
        refuse(request_id=asked.pk, actor=staff_member(request), reason=reason)
        return _("Refused.")


def entries_table(entries: Any) -> dict[str, Any]:
    """Ledger entries for Unfold's table component."""
    return {
        "headers": [
            _("date"), _("type"), _("amount"), _("balance after"), _("order"), _("by"), _("note"),
        ],
        "rows": [
            [
                entry.created_at,
                entry.get_kind_display(),
                figure(entry.amount),
                figure(entry.balance_after),
                order_link(entry.order_number),
                entry.actor or "–",
                entry.note or "–",
            ]
            for entry in entries
        ],
    }  # fmt: skip
