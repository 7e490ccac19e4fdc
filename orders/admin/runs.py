"""Bulk actions in the admin: asked for on the list of orders, watched on a page of their own."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.paginator import InfinitePaginator

from accounts.addresses import client_address
from accounts.staff import (
    Dialog,
    ReadOnlyAdmin,
    Refusals,
    action,
    column,
    dialog,
    order_link,
    staff_member,
)
from orders import runs
from orders.admin.run_forms import FORMS
from orders.errors import NotPossible
from orders.models import Order
from orders.run_models import BulkRow, BulkRun
from wallet.spreadsheet import download, line, safe

REFUSALS: Refusals = {NotPossible: str}
_LAST_ROWS = 10
_WORDS: dict[str, Any] = {
    BulkRun.Action.CHECK: _("Asks the provider for each order's status and applies the answer."),
    BulkRun.Action.REFILL: _("Requests a refill of each order that can be refilled now."),
    BulkRun.Action.CANCEL: _(
        "Orders that were not sent are withdrawn and refunded; for the others the provider is asked."
    ),
    BulkRun.Action.REFUND: _("What is above your ceiling waits for a second person."),
    BulkRun.Action.COUNTS: _("Corrects start count and remains; no money moves."),
    BulkRun.Action.SETTLE: _(
        "The orders end as you say, and what follows for their money is done; "
        "what is above your ceiling waits for a second person."
    ),
}


def bulk(kind: BulkRun.Action, permission: str) -> Any:
    """An action on the list of orders that asks what and which, and begins a run."""

    @action(description=kind.label, permissions=[permission])
    def ask(self: Any, request: HttpRequest, orders: QuerySet[Order]) -> HttpResponse:
        return ask_or_begin(self, request, orders, kind)

    ask.__name__ = f"bulk_{kind.value}"
    return ask


def ask_or_begin(
    page: Any, request: HttpRequest, orders: QuerySet[Order], kind: BulkRun.Action
) -> HttpResponse:
    """The question; or, answered, the run's own page. `orders` are what the form's scope means."""
    is_answer = request.POST.get("answered") == "yes"
    form = FORMS[kind](request.POST if is_answer else None, scopes=_scopes(page, request))
    if is_answer and form.is_valid():
        try:
            run = runs.begin(
                action=kind,
                orders=orders,
                actor=staff_member(request),
                token=form.cleaned_data["token"],
                parameters=form.parameters(),
                reason=form.reason(),
                address=client_address(request),
            )
        except NotPossible as exc:
            form.add_error(None, str(exc))
        else:
            return redirect("admin:orders_bulkrun_change", run.pk)
    context = {
        **page.admin_site.each_context(request),
        "opts": page.opts,
        "title": kind.label,
        "question": _WORDS[kind],
        "form": form,
        "action": f"bulk_{kind.value}",
        "checkbox": ACTION_CHECKBOX_NAME,
        "chosen": request.POST.getlist(ACTION_CHECKBOX_NAME),
        "back": request.get_full_path(),
    }
    return TemplateResponse(request, "admin/orders/bulk.html", context)


def _scopes(page: Any, request: HttpRequest) -> list[tuple[str, Any]]:
    chosen = len(request.POST.getlist(ACTION_CHECKBOX_NAME))
    scopes = [("0", _("the chosen: %(n)s") % {"n": chosen})]
    shown = page.get_changelist_instance(request).queryset
    # Counted up to the most that a run takes, and no further.
    count = shown.order_by().values("pk")[: runs.MOST + 1].count()
    if count <= runs.MOST:
        scopes.append(("1", _("all that the list and its filters show: %(n)s") % {"n": count}))
    return scopes


class BulkActions:
    """The actions of the list of orders, for `OrderAdmin`."""

    bulk_check = bulk(BulkRun.Action.CHECK, "ask")
    bulk_refill = bulk(BulkRun.Action.REFILL, "ask")
    bulk_cancel = bulk(BulkRun.Action.CANCEL, "ask")
    bulk_refund = bulk(BulkRun.Action.REFUND, "refund")
    bulk_counts = bulk(BulkRun.Action.COUNTS, "refund")
    bulk_settle = bulk(BulkRun.Action.SETTLE, "refund")


@admin.register(BulkRun)
class BulkRunAdmin(ReadOnlyAdmin):
    """What was begun for many orders, and how far it is."""

    list_display = ("__str__", "started_by", "created_at", "progress", "failed", "state")
    list_filter = (("action", ChoicesDropdownFilter),)
    list_select_related = ("started_by",)
    paginator = InfinitePaginator
    fields = (
        ("action", "started_by"), "details", "reason", ("created_at", "finished_at", "stopped_by"),
    )  # fmt: skip
    readonly_fields = ("details",)
    actions_detail = ("stop",)
    change_form_template = "admin/orders/run.html"

    @column(_("done"))
    def progress(self, run: BulkRun) -> str:
        return f"{run.ended} / {run.total}"

    @column(_("state"), label={"open": "info", "ended": "success", "stopped": "warning"})
    def state(self, run: BulkRun) -> tuple[str, Any]:
        if run.finished_at is None:
            return "open", _("under way")
        return ("stopped", _("stopped")) if run.stopped_by_id else ("ended", _("ended"))

    @column(_("parameters"))
    def details(self, run: BulkRun) -> str:
        known = (f"{name}: {value}" for name, value in run.parameters.items() if value is not None)
        return ", ".join(known) or "–"

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        own = [
            path("<int:pk>/progress/", view(self.progress_part), name="orders_bulkrun_progress"),
            path("<int:pk>/results.csv", view(self.results), name="orders_bulkrun_results"),
        ]
        return [*own, *super().get_urls()]

    def _visible(self, request: HttpRequest, pk: int) -> BulkRun:
        if not self.has_view_permission(request):
            raise PermissionDenied
        run: BulkRun | None = self.get_object(request, str(pk))
        if run is None:
            raise Http404
        return run

    def progress_part(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The part of the page that changes."""
        context = _how_far(self._visible(request, pk))
        answer = TemplateResponse(request, "admin/orders/parts/progress.html", context)
        if context["is_over"]:
            # Once more as a whole: there is nothing to stop any more.
            answer["HX-Refresh"] = "true"
        return answer

    def results(self, request: HttpRequest, pk: int) -> Any:
        """What came of each order, as a file."""
        return download(_csv(self._visible(request, pk)), f"bulk-action-{pk}.csv")

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        run = self.get_object(request, object_id) if object_id else None
        context = {**(_how_far(run) if run else {}), **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

    def has_stop_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever began it, or who settles orders anyway."""
        run = self.get_object(request, obj) if isinstance(obj, str) else obj
        is_own = run is not None and run.started_by_id == request.user.pk
        return is_own or request.user.has_perm("orders.resolve_order")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Nothing to stop when it has ended."""
        run = self.get_object(request, str(object_id))
        if run is None or run.finished_at or not self.has_stop_permission(request, run):
            return []
        return super().get_actions_detail(request, object_id)

    @dialog(
        Dialog(
            title=_("Stop"),
            button=_("Stop"),
            permission="stop",
            icon="stop",
            is_dangerous=True,
            text=_("Orders that had their turn stay as they are; the others are left alone."),
            refusals=REFUSALS,
        )
    )
    def stop(self, request: HttpRequest, form: Any, run: BulkRun) -> Any:  # noqa: ARG002
        left = runs.stop(run.pk, actor=staff_member(request))
        return _("Stopped; %(n)s orders were left alone.") % {"n": left}


def _how_far(run: BulkRun) -> dict[str, Any]:
    ended = run.rows.filter(done_at__isnull=False).order_by("-done_at", "-pk")[:_LAST_ROWS]
    failed = run.rows.filter(state=BulkRow.State.FAILED)
    is_over = run.finished_at is not None
    last = failed.order_by("pk")[:_LAST_ROWS] if is_over and run.failed else ended
    rows = [[order_link(each.order_id), each.get_state_display(), each.result] for each in last]
    results = reverse("admin:orders_bulkrow_changelist")
    return {
        "run": run,
        "is_over": is_over,
        "heading": _("Not done") if is_over and run.failed else _("Last results"),
        "table": {"headers": [_("order"), _("state"), _("result")], "rows": rows},
        "results": f"{results}?run__id__exact={run.pk}",
    }


def _csv(run: BulkRun) -> Iterator[str]:
    yield line(["order", "state", "result", "at"])
    rows = run.rows.order_by("pk").values_list("order_id", "state", "result", "done_at")
    for order_id, state, result, at in rows.iterator(chunk_size=2000):
        yield line([order_id, state, safe(result), at.isoformat(timespec="seconds") if at else ""])


@admin.register(BulkRow)
class BulkRowAdmin(ReadOnlyAdmin):
    """What came of each order of a bulk action."""

    list_display = ("id", "order_column", "run", "state_column", "result", "done_at")
    list_filter = (("state", ChoicesDropdownFilter),)
    list_select_related = ("run",)
    search_fields = ("=order__id",)
    search_help_text = _("Search by order")
    paginator = InfinitePaginator

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        return lookup == "run__id__exact" or super().lookup_allowed(lookup, value, request)

    @column(_("order"))
    def order_column(self, row: BulkRow) -> Any:
        return order_link(row.order_id)

    @column(
        _("state"),
        label={"waiting": "info", "asking": "info", "done": "success", "failed": "danger",
               "stopped": "warning"},
    )  # fmt: skip
    def state_column(self, row: BulkRow) -> tuple[str, Any]:
        return row.state, row.get_state_display()
