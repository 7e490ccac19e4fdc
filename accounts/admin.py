"""Users, groups and API keys in the admin; sign-in goes through the same door as the customers'."""

from typing import Any

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.paginator import InfinitePaginator

from accounts import audit, viewing
from accounts.filters import PeriodFilter
from accounts.keys import revoke_key
from accounts.mail import ACCOUNT, Kind
from accounts.models import ApiKey, AuditEntry, Mail, User
from accounts.staff import (
    Dialog,
    DialogForm,
    NotDone,
    ReadOnlyAdmin,
    StaffAdmin,
    column,
    dialog,
    staff_member,
)

# Rate limits and two-factor sign-in count for staff too.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

admin.site.unregister(Group)

# Who is staff and what they may do is an owner's business.
_POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")


class NewUserForm(UserCreationForm):  # type: ignore[misc] # unfold has no types
    class Meta:
        model = User
        fields = ("email",)


class EditUserForm(UserChangeForm):  # type: ignore[misc]
    class Meta:
        model = User
        fields = "__all__"


@admin.register(User)
class EmailUserAdmin(UserAdmin[User], StaffAdmin):
    """Users, known by e-mail address; switched off instead of deleted."""

    form = EditUserForm
    add_form = NewUserForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("email", "name", "is_active", "is_staff", "date_joined")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    search_fields = ("email", "name")
    ordering = ("-pk",)
    readonly_fields = ("last_login", "date_joined", "terms_version", "terms_at")
    actions_detail: tuple[str, ...] = ("look_at_pages",)
    fieldsets = (
        (None, {"fields": ("email", "password", "name", "is_active")}),
        (_("Preferences"), {"fields": ("language", "time_zone")}),
        (_("Rights"), {"fields": _POWERS}),
        (_("Dates"), {"fields": ("last_login", "date_joined")}),
        (_("Terms of use"), {"fields": ("terms_version", "terms_at")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "usable_password", "password1", "password2")}),)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        fixed = tuple(super().get_readonly_fields(request, obj))
        return fixed if _is_owner(request) else (*fixed, *_POWERS)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Only an owner may touch a member of staff: a new password would be a way to their rights.

        A deleted customer is nobody's to bring back under another name.
        """
        if obj is not None and obj.deleted_at:
            return False
        if (
            obj is not None
            and obj.is_staff
            and obj.pk != request.user.pk
            and not _is_owner(request)
        ):
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:  # noqa: ARG002
        return False

    def has_look_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return request.user.has_perm(viewing.PERMISSION)

    @dialog(
        Dialog(
            title=_("Look at their pages"),
            button=_("Look"),
            permission="look",
            icon="visibility",
            text=_(
                "The shop then shows you what this customer sees. Nothing can be changed, and each "
                "page you open is noted in the audit log."
            ),
        )
    )
    def look_at_pages(self, request: HttpRequest, form: Any, user: User) -> Any:  # noqa: ARG002
        viewing.begin(request, staff=staff_member(request), customer=user)
        return format_html(
            '<a href="{}">{}</a>', "/orders/", _("Open the shop as %(user)s") % {"user": user}
        )


@admin.register(Group)
class RoleAdmin(GroupAdmin, StaffAdmin):
    """Groups; only an owner hands out rights."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return _is_owner(request)

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:  # noqa: ARG002
        return _is_owner(request)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:  # noqa: ARG002
        return _is_owner(request)


class RevokeForm(DialogForm):
    def facts(self) -> list[tuple[Any, Any]]:
        key: ApiKey = self.target
        return [
            (_("customer"), key.user),
            (_("name"), key.name),
            (_("begins with"), key.prefix),
        ]


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """Customers' API keys: whose they are and when they were used, never what they are."""

    list_display = ("name", "prefix", "user", "standing", "created_at", "last_used_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    list_select_related = ("user",)
    search_fields = ("=prefix", "name", "user__email")
    search_help_text = _("Search by the first eight characters, the name or the customer")
    fields = (
        "user", "name", "prefix", "allowed_from", "created_at", "last_used_at", "revoked_at",
    )  # fmt: skip
    actions_detail = ("revoke",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return super().get_queryset(request).defer("digest")  # type: ignore[no-any-return]

    @column(_("state"), ordering="revoked_at", label={"works": "success", "revoked": "danger"})
    def standing(self, key: ApiKey) -> tuple[str, Any]:
        return ("revoked", _("revoked")) if key.revoked_at else ("works", _("works"))

    def has_revoke_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        # Pages here are read-only, so the right to change a key is the right to end it.
        return request.user.has_perm("accounts.change_apikey")

    @dialog(
        Dialog(
            title=_("Revoke key"),
            button=_("Revoke"),
            permission="revoke",
            icon="key_off",
            form=RevokeForm,
            text=_("The customer's programs stop working with it at once, and for good."),
            is_dangerous=True,
        )
    )
    def revoke(self, request: HttpRequest, form: DialogForm, key: ApiKey) -> Any:  # noqa: ARG002
        if key.revoked_at:
            raise NotDone(_("The key was revoked before."))
        revoke_key(key)
        return _("The key is revoked.")


@admin.register(Mail)
class MailAdmin(ReadOnlyAdmin):
    """What is told to customers by mail, and what still waits for the mail server."""

    list_display = ("created_at", "to_column", "kind_column", "sent_at", "attempts", "error")
    list_select_related = ("user",)
    list_filter = (("sent_at", admin.EmptyFieldListFilter),)
    search_fields = ("user__email__istartswith", "to__istartswith")
    search_help_text = _("Search by e-mail")
    fields = (
        "to_column", "user", "kind_column", "created_at", "sent_at", "not_before", "attempts",
        "error",
    )  # fmt: skip
    readonly_fields = ("to_column", "kind_column")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Mail]:
        """Without the letters themselves: their links are for their readers alone."""
        mails: QuerySet[Mail] = super().get_queryset(request)
        return mails.defer("sealed")

    @column(_("recipient"))
    def to_column(self, mail: Mail) -> Any:
        return mail.to or mail.user

    @column(_("kind"))
    def kind_column(self, mail: Mail) -> Any:
        if mail.kind == ACCOUNT:
            return _("Address or password")
        return Kind(mail.kind).label if mail.kind in Kind.values else mail.kind


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Who did what, before and after; nobody edits it, and `check_audit` proves that nobody did."""

    list_display = ("number", "at", "actor", "action", "target", "short_details", "address")
    list_select_related = ("actor",)
    list_filter = (("at", PeriodFilter), ("actor", AutocompleteSelectFilter))
    search_fields = ("action", "target", "actor__email__istartswith")
    search_help_text = _("Search by action, target or e-mail")
    sortable_by = ("number",)
    paginator = InfinitePaginator
    fields = (
        "number",
        "at",
        "actor",
        "action",
        "target",
        "details_column",
        "address",
        "previous_hash",
        "hash",
    )
    readonly_fields = ("details_column",)

    @column(_("details"))
    def details_column(self, entry: AuditEntry) -> Any:
        return _lines(entry.details)

    @column(_("details"))
    def short_details(self, entry: AuditEntry) -> Any:
        """What a person reads; the hash of a history and what it is over are on the entry's page."""
        return _lines(
            {
                name: value
                for name, value in entry.details.items()
                if not name.startswith(audit.HISTORY)
            }
        )


def _lines(details: dict[str, Any]) -> Any:
    lines = (
        (name, " → ".join(map(str, value)) if isinstance(value, list) else value)
        for name, value in details.items()
    )
    # On a phone a cell lays its elements side by side.
    return format_html("<div>{}</div>", format_html_join("", "<div>{}: {}</div>", lines))


def _is_owner(request: HttpRequest) -> bool:
    """Whoever hands out rights: a superuser, or a member of the role that may."""
    return isinstance(request.user, User) and request.user.has_perm("accounts.hand_out_rights")
