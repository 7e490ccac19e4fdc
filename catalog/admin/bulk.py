"""Bulk changes in the admin: planned, applied, undone."""

from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Func, IntegerField, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.staff import Dialog, ReadOnlyAdmin, column, dialog, staff_member
from catalog import changing
from catalog.models import BulkChange
from catalog.price_pages import before_and_after, categories_of

_ROWS_PER_PAGE = 200


class _Length(Func):
    """How many elements a list in JSON has."""

    function = "json_array_length"
    output_field = IntegerField()

    def as_postgresql(self, compiler: Any, connection: Any, **options: Any) -> Any:
        return self.as_sql(compiler, connection, function="jsonb_array_length", **options)


@admin.register(BulkChange)
class BulkChangeAdmin(ReadOnlyAdmin):
    """Bulk changes: planned, applied, undone. The page of one is its preview."""

    list_display = ("title", "state", "row_count", "actor", "planned_at", "applied_at")
    list_select_related = ("actor",)
    fields = (
        "title",
        ("state_text", "row_count"),
        "actor",
        ("planned_at", "applied_at", "undone_at"),
    )
    readonly_fields = ("state_text", "row_count")
    actions_detail = ("apply", "undo")
    change_form_outer_after_template = "admin/catalog/bulk_rows.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[BulkChange]:
        # Twenty thousand rows each: the list of changes needs their number only.
        queryset: QuerySet[BulkChange] = super().get_queryset(request)
        return queryset.defer("rows", "problems").annotate(rows_in_it=_Length("rows"))

    def has_apply_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return request.user.has_perm("catalog.change_service")

    @column(_("state"), label={"planned": "warning", "applied": "success", "undone": "info"})
    def state(self, bulk: BulkChange) -> tuple[str, Any]:
        if bulk.undone_at:
            return "undone", _("undone")
        return ("applied", _("applied")) if bulk.applied_at else ("planned", _("planned"))

    @column(_("state"))
    def state_text(self, bulk: BulkChange) -> Any:
        return self.state(bulk)[1]

    @column(_("services"))
    def row_count(self, bulk: Any) -> int:
        return int(bulk.rows_in_it)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Apply a plan, undo what was applied."""
        bulk = self.get_object(request, str(object_id))
        possible = _possible(bulk) if bulk else ""
        return [
            action
            for action in super().get_actions_detail(request, object_id)
            if action.method.original_function_name == possible
        ]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        bulk = self.get_object(request, object_id) if object_id else None
        context = {**(_pages(bulk, request) if bulk else {}), **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

    @dialog(
        Dialog(
            title=_("Apply"),
            button=_("Write these values"),
            permission="apply",
            icon="check",
            text=_("Each row is written exactly as shown; one that changed meanwhile is left out."),
            refusals={changing.AlreadyDone: lambda _exc: _("This was applied before.")},
        )
    )
    def apply(self, request: HttpRequest, form: Any, bulk: BulkChange) -> Any:  # noqa: ARG002
        done = changing.apply(bulk.pk, staff_member(request))
        return _("%(count)d services changed.") % {"count": len(done.rows)}

    @dialog(
        Dialog(
            title=_("Undo"),
            button=_("Give back the values before"),
            permission="apply",
            icon="undo",
            text=_("Services that were changed again since keep what they have."),
            refusals={changing.AlreadyDone: lambda _exc: _("There is nothing to undo.")},
        )
    )
    def undo(self, request: HttpRequest, form: Any, bulk: BulkChange) -> Any:  # noqa: ARG002
        count = changing.undo(bulk.pk, staff_member(request))
        return _("%(count)d services changed.") % {"count": count}


def _possible(bulk: BulkChange) -> str:
    if bulk.applied_at is None:
        return "apply" if bulk.rows else ""
    return "" if bulk.undone_at else "undo"


def _pages(bulk: BulkChange, request: HttpRequest) -> dict[str, Any]:
    page = Paginator(bulk.rows, _ROWS_PER_PAGE).get_page(request.GET.get("page"))
    names = categories_of(row[2] for row in page.object_list)
    rows = [
        [f"{pk} · {title}", before_and_after(fields, names), f"{before} → {after}"]
        for pk, title, fields, before, after in page.object_list
    ]
    return {
        "page": page,
        "planned": {"headers": [_("service"), _("values"), _("price per 1000")], "rows": rows},
        "problems": {"headers": [_("where"), _("why")], "rows": bulk.problems},
    }
