"""A rule's effect shown before it is written: the page is saved, looked at, and taken back."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from django.contrib.messages.storage import default_storage
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from accounts.staff import action, staff_member
from catalog.models import ServiceChange

_SHOWN_ROWS = 200


class PreviewsPrices:
    """For the page of a price layer: a button that shows each price before and after.

    What is shown is what saving would write, because it is what saving wrote before it was undone.
    """

    actions_submit_line = ("preview_prices",)
    admin_site: Any
    opts: Any

    @property
    def _button(self) -> str:
        """The name under which the theme sends it."""
        return f"{self.opts.app_label}_{self.opts.model_name}_preview_prices"

    @action(description=_("Preview prices"), permissions=["change"])
    def preview_prices(self, request: HttpRequest, obj: Any) -> Any:
        """The theme calls it after a save; all the work is around that save."""

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        admin: Any = self
        # The theme adds the button to pages of rows that exist; the site's row may not yet.
        buttons = {"actions_submit_line": admin.get_actions_submit_line(request, object_id)}
        parent: Any = super()
        if self._button not in request.POST:
            return parent.changeform_view(
                request, object_id, form_url, {**buttons, **(extra_context or {})}
            )
        with _without_messages(request), transaction.atomic():
            newest = ServiceChange.objects.order_by("-pk").values_list("pk", flat=True).first()
            answer = parent.changeform_view(request, object_id, form_url, buttons)
            if answer.status_code != 302:
                return answer  # with what is wrong in the form
            rows = _repriced(newest or 0, staff_member(request).pk)
            transaction.set_rollback(True)
        return self._shown(request, rows)

    def _shown(self, request: HttpRequest, rows: list[list[Any]]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Prices before and after"),
            "back": request.path,
            "count": len(rows),
            "left_out": max(0, len(rows) - _SHOWN_ROWS),
            "table": {
                "headers": [_("service"), _("before"), _("after"), _("change %")],
                "rows": rows[:_SHOWN_ROWS],
            },
            "typed": [
                (name, value)
                for name, values in request.POST.lists()
                for value in values
                if name not in ("csrfmiddlewaretoken", self._button)
            ],
        }
        return TemplateResponse(request, "admin/catalog/rule_preview.html", context)


@contextmanager
def _without_messages(request: Any) -> Iterator[None]:
    """What is said of the save is dropped: "was changed", and it was not."""
    kept, request._messages = request._messages, default_storage(request)
    yield
    request._messages = kept


def _repriced(above: int, actor_id: int) -> list[list[Any]]:
    """Each service with its price before, after and the difference; the greatest leap first."""
    changed = ServiceChange.objects.filter(
        pk__gt=above, actor=actor_id, fields__has_key="price_rate"
    )
    found = []
    for change in changed.select_related("service").defer("service__description"):
        before, after = change.fields["price_rate"]
        found.append(
            [str(change.service), before, after, _percent(Decimal(before), Decimal(after))]
        )
    return sorted(found, key=lambda row: -abs(row[3]))


def _percent(before: Decimal, after: Decimal) -> Decimal:
    return ((after - before) / before * 100).quantize(Decimal("0.1")) if before else Decimal(100)
