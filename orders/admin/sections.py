"""The tables under an order in the admin."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from accounts.staff import figure, order_link
from orders import reconcile
from orders.admin.texts import HINDRANCES, REASONS, VERDICTS
from orders.models import Order
from orders.timeline import lines
from wallet.admin import entries_table
from wallet.models import Entry


def order_sections(order: Order) -> list[dict[str, Any]]:
    """The tables under an order: timeline, attempts, money, requests, part orders."""
    made = [
        (_("Timeline"), _timeline(order)),
        (_("Attempts"), _attempts(order)),
        (_("Money"), entries_table(Entry.objects.filter(order_number=order.pk).select_related("actor"))),
        (_("Refills and cancels"), _requests(order)),
        (_("Part orders"), _children(order)),
        (_("What is known of the lost answer"), _search(order)),
    ]  # fmt: skip
    return [{"title": title, "table": table} for title, table in made if table["rows"]]


def _search(order: Order) -> dict[str, Any]:
    """The evidence about an unconfirmed order, as a table of facts and one row per candidate."""
    seen = reconcile.evidence(order)
    if seen is None:
        return {"headers": [], "rows": []}
    span = "–" if seen.low is None else f"{seen.low} … {seen.high or '?'}"
    share = "–" if seen.share is None else f"{seen.scanned} / {seen.total} ({seen.share} %)"
    balance = {None: _("can't tell"), True: _("says placed"), False: _("says not placed")}
    rows = [
        [
            _("Search"),
            " · ".join(str(each) for each in (HINDRANCES[seen.searching], seen.note) if each),
        ],
        [_("Finding"), VERDICTS.get(seen.verdict, seen.verdict)],
        [_("Reason"), REASONS.get(seen.reason, seen.reason) or "–"],
        [_("Upstream ID"), seen.found or "–"],
        [_("Sent"), seen.sent_at],
        [_("Expected provider charge"), figure(seen.expected)],
        [_("Between our IDs"), span],
        [_("IDs asked for"), share],
        [_("Calls"), f"{seen.calls} / {seen.calls_most}"],
        [_("Balance"), f"{balance[seen.balance_says_placed]} ({figure(seen.balance_spent)})"],
    ]
    rows += [
        [
            _("Candidate %(id)s") % {"id": each.upstream_id},
            f"{figure(each.charge)} · {each.raw_status}",
        ]
        for each in seen.candidates
    ]
    return {"headers": [_("fact"), _("value")], "rows": rows}


def _timeline(order: Order) -> dict[str, Any]:
    rows = [
        [
            line.event.at,
            line.title,
            ", ".join(f"{name}: {value}" for name, value in line.values.items()) or "–",
            line.event.actor or "–",
        ]
        for line in lines(order, for_staff=True)
    ]
    return {"headers": [_("when"), _("what"), _("details"), _("who")], "rows": rows}


def _attempts(order: Order) -> dict[str, Any]:
    rows = [
        [
            attempt.number,
            attempt.get_outcome_display(),
            " · ".join(part for part in (attempt.kind, attempt.reason) if part) or "–",
            attempt.http_status or "–",
            attempt.answer or "–",
            attempt.upstream_id or "–",
            attempt.claimed_at,
            attempt.finished_at or "–",
        ]
        for attempt in order.attempts.order_by("number")
    ]
    headers = [
        _("number"), _("outcome"), _("reason"), "HTTP", _("answer"), _("upstream ID"),
        _("claimed"), _("finished"),
    ]  # fmt: skip
    return {"headers": headers, "rows": rows}


def _requests(order: Order) -> dict[str, Any]:
    rows = [
        [
            each.created_at,
            each.get_kind_display(),
            each.get_state_display(),
            each.upstream_id or "–",
            each.raw_status or "–",
            each.answer or "–",
            each.requested_by or "–",
        ]
        for each in order.requests.select_related("requested_by")
    ]
    headers = [
        _("requested"), _("kind"), _("state"), _("upstream ID"), _("provider's status"),
        _("answer"), _("by"),
    ]  # fmt: skip
    return {"headers": headers, "rows": rows}


def _children(order: Order) -> dict[str, Any]:
    rows = [
        [
            order_link(child.pk),
            child.upstream_id,
            child.get_status_display(),
            child.quantity,
            "–" if child.remains is None else child.remains,
        ]
        for child in order.children.order_by("pk")[:200]
    ]
    headers = [_("order"), _("upstream ID"), _("status"), _("quantity"), _("remains")]
    return {"headers": headers, "rows": rows}
