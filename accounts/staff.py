"""What all admin pages share: saving only what was edited, labelled inputs, dialogs that act on POST."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial, wraps
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.admin import ModelAdmin
from unfold.decorators import action as unfold_action
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts import audit
from accounts.addresses import client_address
from accounts.models import User

Text = str | Promise
AdminAction = Callable[..., HttpResponse]
# What a work function raises to refuse, and the sentence to show for it.
Refusals = Mapping[type[Exception], Callable[[Any], Text]]


# Unfold has no types: an action keeps those of its method.
action: Callable[..., Callable[[AdminAction], AdminAction]] = unfold_action


class NotDone(Exception):
    """The work of a dialog came to nothing; the text says why, for the one who asked."""


def figure(value: Decimal | None, *, places: int = 2) -> str:
    """A number for a column: no zeros beyond `places` decimals, in the reader's notation."""
    if value is None:
        return "–"
    whole, _dot, fraction = f"{value:f}".partition(".")
    fraction = fraction.rstrip("0").ljust(places, "0")
    return number_format(f"{whole}.{fraction}" if fraction else whole, use_l10n=True)


def staff_member(request: HttpRequest) -> User:
    """Who acts; the admin lets nobody in who is not signed in."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


def may(permission: str) -> Callable[..., bool]:
    """A method `has_…_permission` of an admin page: whoever has this permission."""

    def is_allowed(_admin: Any, request: HttpRequest, _obj: Any = None) -> bool:
        return request.user.has_perm(permission)

    return is_allowed


def order_link(number: int | None) -> Any:
    """The way to an order's page, for a cell of a table."""
    if number is None:
        return "–"
    page = reverse("admin:orders_order_change", args=[number])
    return format_html('<a class="underline" href="{}">#{}</a>', page, number)


def column(
    description: Text,
    *,
    ordering: str | None = None,
    label: Mapping[str, str] | None = None,
    boolean: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Describe a column. With `label` the method returns (key, text) and the key picks the colour."""

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        described: Any = method
        described.short_description = description
        if ordering:
            described.admin_order_field = ordering
        if label:
            described.label = dict(label)
        if boolean:
            described.boolean = True
        return method

    return decorate


class LabelledRow(forms.ModelForm[Any]):
    """A row of an editable list: each input says what it is and whose, for those who can't see it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for each in self.fields.values():
            each.widget.attrs["aria-label"] = f"{each.label}: {self.instance}"
            # Short names: a page holds a hundred and fifty of these.
            is_box = isinstance(each.widget, forms.CheckboxInput)
            each.widget.attrs["class"] = "panel-check" if is_box else "panel-input"
            each.help_text = ""


class StaffAdmin(ModelAdmin):  # type: ignore[misc] # unfold has no types
    """An admin page that writes only the fields that were edited.

    A job may write the same row between the reading of the form and its saving; writing every field
    would put the job's facts (a balance, a cost, a time) back to what they were.
    """

    list_filter_submit = True
    list_per_page = 50
    show_full_result_count = False
    warn_unsaved_form = True
    # A list's default empty value is a hyphen, which a screen reader skips.
    empty_value_display = "–"

    @column(_("choose"))
    def action_checkbox(self, obj: Any) -> str:
        """A box to choose the row with, which says which row."""
        return format_html(
            '<input type="checkbox" name="{}" value="{}" class="action-select panel-check" aria-label="{}">',
            ACTION_CHECKBOX_NAME,
            obj.pk,
            _("Select %(row)s") % {"row": obj},
        )

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # Django sees to it in what is searched for.
        filters = [each for name, each in request.GET.lists() if name != SEARCH_VAR]
        if any("\x00" in value for values in filters for value in values):
            # No text of the database holds it, and PostgreSQL takes the question for an error.
            return HttpResponseRedirect(request.path)
        return super().changelist_view(request, extra_context)  # type: ignore[no-any-return]

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs.setdefault("form", LabelledRow)
        return super().get_changelist_form(request, **kwargs)

    def formfield_for_dbfield(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> forms.Field | None:
        if isinstance(db_field, models.URLField):
            kwargs.setdefault("assume_scheme", "https")
        return super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[no-any-return]

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self._audit(request, obj, _("added"), message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self._audit(request, obj, _("changed"), message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for obj in queryset:
            self._audit(request, obj, _("deleted"), "")
        return super().log_deletions(request, queryset)

    def _audit(self, request: HttpRequest, obj: Any, verb: Text, message: Any) -> None:
        """The same to the chained log: a sentence, or each field before and after."""
        action = message if isinstance(message, str) and message else f"{verb}"
        audit.record(
            action,
            actor=staff_member(request),
            target=f"{self.opts.verbose_name} {obj.pk}: {obj}",
            details=getattr(obj, "_edited", {}),
            address=client_address(request),
        )

    def edited_fields(self, form: Any) -> list[str]:
        """The model's fields that the form changed."""
        own = {each.name for each in self.model._meta.concrete_fields}
        return [name for name in form.changed_data if name in own]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: ARG002
        obj._edited = {
            name: [form.initial.get(name), form.cleaned_data.get(name)]
            for name in form.changed_data
        }
        if not change:
            obj.save()
            return
        if edited := self.edited_fields(form):
            obj.save(update_fields=edited)


class ReadOnlyAdmin(StaffAdmin):
    """Pages to look at: nothing is added, edited or deleted on them."""

    warn_unsaved_form = False

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


class SectionsAdmin(StaffAdmin):
    """Pages with tables under the object's own fields."""

    change_form_outer_after_template = "admin/sections.html"

    def sections_of(self, obj: Any) -> list[dict[str, Any]]:
        """The tables, each with `title` and `table` (Unfold's `headers` and `rows`)."""
        raise NotImplementedError

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        obj = self.get_object(request, object_id) if object_id else None
        context = {"sections": self.sections_of(obj) if obj else [], **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)


class DialogForm(forms.Form):
    """The fields of a dialog about one object, which is `self.target`."""

    # A form sent twice is done once: the work passes the token on as a reference.
    token = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)

    def __init__(self, *args: Any, target: Any, **kwargs: Any) -> None:
        kwargs.setdefault("auto_id", "dialog_%s")
        super().__init__(*args, **kwargs)
        self.target = target
        self.prepare()

    def prepare(self) -> None:
        """Fit fields to the target; a place for subclasses."""

    def facts(self) -> list[tuple[Text, Any]]:
        """What to show above the fields."""
        return []


class ReasonForm(DialogForm):
    """A dialog that asks for a reason, which is kept."""

    reason = forms.CharField(
        label=_("Reason"), max_length=300, widget=UnfoldAdminTextareaWidget(attrs={"rows": 2})
    )


@dataclass(frozen=True)
class Dialog:
    """A question asked before something is done; only a POST with a valid form does it."""

    title: Text
    button: Text
    permission: str  # names the admin's method has_…_permission
    form: type[DialogForm] = DialogForm
    text: Text = ""
    icon: str = ""
    is_dangerous: bool = False
    refusals: Refusals = field(default_factory=dict)


# Does what was asked and returns the sentence to show.
Work = Callable[[Any, HttpRequest, Any, Any], Text]


def dialog(asked: Dialog) -> Callable[[Work], Any]:
    """Make a method `(request, form, target) -> sentence` an action of Unfold's `actions_detail`.

    Unfold itself would run an action on GET; here GET only ever shows the form.
    """

    def decorate(work: Work) -> Any:
        @wraps(work)
        def view(admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
            return _show_or_do(admin, request, object_id, asked, work)

        described: Any = view
        described.allowed_permissions = [asked.permission]
        described.short_description = asked.title
        described.icon = asked.icon
        described.dialog = asked
        described.variant = ActionVariant.DANGER if asked.is_dangerous else ActionVariant.DEFAULT
        described.attrs = {}
        described.original_function_name = work.__name__
        return view

    return decorate


def _show_or_do(
    admin: Any, request: HttpRequest, object_id: str, asked: Dialog, work: Work
) -> HttpResponse:
    is_allowed = getattr(admin, f"has_{asked.permission}_permission")(request, object_id)
    if not (is_allowed and admin.has_view_or_change_permission(request)):
        raise PermissionDenied
    target = admin.get_object(request, object_id)
    if target is None:
        raise Http404
    is_post = request.method == "POST"
    form = asked.form(request.POST if is_post else None, target=target)
    refused: tuple[type[Exception], ...] = (NotDone, *asked.refusals)
    if is_post and form.is_valid():
        try:
            said = work(admin, request, form, target)
        except refused as exc:
            form.add_error(None, str(sentence(asked.refusals, exc)))
        else:
            admin.log_change(request, target, f"{asked.title}: {said}")
            messages.success(request, str(said))
            return _leave(admin, request, target)
    return _render(admin, request, asked, form)


def sentence(refusals: Refusals, exc: Exception) -> Text:
    """The sentence for a refusal."""
    return next((say(exc) for kind, say in refusals.items() if isinstance(exc, kind)), str(exc))


def _render(admin: Any, request: HttpRequest, asked: Dialog, form: DialogForm) -> HttpResponse:
    is_fragment = bool(getattr(request, "htmx", False))
    context = {
        **({} if is_fragment else admin.admin_site.each_context(request)),
        "title": asked.title,
        "asked": asked,
        "form": form,
        "opts": admin.opts,
        "back": _page_of(admin, form.target),
    }
    return TemplateResponse(
        request, "admin/dialog.html" if is_fragment else "admin/dialog_page.html", context
    )


def _page_of(admin: Any, target: Any) -> str:
    opts = admin.opts
    return reverse(
        f"{admin.admin_site.name}:{opts.app_label}_{opts.model_name}_change", args=[target.pk]
    )


def _leave(admin: Any, request: HttpRequest, target: Any) -> HttpResponse:
    page = _page_of(admin, target)
    if getattr(request, "htmx", False):
        return HttpResponse(headers={"HX-Redirect": page})
    return HttpResponseRedirect(page)


# Does something to the chosen rows and returns how many it was done to.
BulkWork = Callable[[Any, HttpRequest, QuerySet[Any]], int]


def bulk_action(*, title: Text, question: Text, permission: str) -> Callable[[BulkWork], Any]:
    """Make a method `(request, queryset) -> count` an action on chosen rows that asks first."""

    def decorate(work: BulkWork) -> Any:
        @wraps(work)
        def action(admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
            if request.POST.get("confirmed") != "yes":
                ask = partial(_ask, title=title, question=question, name=work.__name__)
                return ask(admin, request, queryset)
            chosen = list(queryset)
            done = work(admin, request, queryset)
            LogEntry.objects.log_actions(
                staff_member(request).pk, chosen, CHANGE, change_message=str(title)
            )
            audit.record(
                str(title),
                actor=staff_member(request),
                target=admin.opts.verbose_name_plural,
                details={"rows": [str(each) for each in chosen[:100]], "count": len(chosen)},
                address=client_address(request),
            )
            messages.success(
                request, ngettext("%(n)d row changed.", "%(n)d rows changed.", done) % {"n": done}
            )
            return None

        described: Any = action
        described.short_description = title
        described.allowed_permissions = [permission]
        return action

    return decorate


def _ask(
    admin: Any,
    request: HttpRequest,
    queryset: QuerySet[Any],
    *,
    title: Text,
    question: Text,
    name: str,
) -> HttpResponse:
    context = {
        **admin.admin_site.each_context(request),
        "title": title,
        "question": question,
        "opts": admin.opts,
        "rows": queryset[:50],
        "count": queryset.count(),
        "action": name,
        "checkbox": ACTION_CHECKBOX_NAME,
        "chosen": request.POST.getlist(ACTION_CHECKBOX_NAME),
        "select_across": request.POST.get("select_across", "0"),
    }
    return TemplateResponse(request, "admin/confirm_action.html", context)
