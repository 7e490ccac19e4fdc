"""The wallet's page: what is there, and every movement of it."""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db.models import Q, QuerySet
from django.http import HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from accounts.requests import CustomerRequest
from wallet.days import ONE_DAY, day_of, midnight
from wallet.models import Entry, TopUpMethod, TopUpRequest
from wallet.paging import key, page_of
from wallet.spreadsheet import download, line, safe

HEADER = ("date", "type", "order", "reference", "note", "amount", "balance_after")
_LONGEST_SEARCH = 100
_REQUESTS_SHOWN = 5


@dataclass(frozen=True)
class Filter:
    """Which movements are looked at; an unreadable value counts as not given."""

    kind: str
    text: str
    since: dt.date | None
    until: dt.date | None

    @classmethod
    def read(cls, query: QueryDict) -> "Filter":
        kind = query.get("type", "")
        return cls(
            kind=kind if kind in Entry.Kind.values else "",
            text=query.get("q", "").replace("\x00", "").strip()[:_LONGEST_SEARCH],
            since=day_of(query.get("since", "")),
            until=day_of(query.get("until", "")),
        )

    @property
    def is_empty(self) -> bool:
        return not (self.kind or self.text or self.since or self.until)

    def apply(self, entries: QuerySet[Entry]) -> QuerySet[Entry]:
        if self.kind:
            entries = entries.filter(kind=self.kind)
        if self.since:
            entries = entries.filter(created_at__gte=midnight(self.since))
        if self.until:
            entries = entries.filter(created_at__lt=midnight(self.until + ONE_DAY))
        if not self.text:
            return entries
        found = Q(note__icontains=self.text) | Q(reference__icontains=self.text)
        number = key(self.text.removeprefix("#"))
        return entries.filter(found if number is None else found | Q(order_number=number))


def _own(request: CustomerRequest) -> QuerySet[Entry]:
    return Entry.objects.filter(account__user_id=request.user.pk)


@login_required
@require_GET
def overview(request: CustomerRequest) -> HttpResponse:
    """The balance, how to add funds, and every movement of money."""
    wanted = Filter.read(request.GET)
    filed = TopUpRequest.objects.filter(account__user_id=request.user.pk)
    context = {
        "page": page_of(wanted.apply(_own(request)), request.GET),
        "kinds": Entry.Kind.choices,
        "filter": wanted,
        "has_methods": TopUpMethod.objects.filter(is_offered=True).exists(),
        "requests": filed.select_related("method").order_by("-pk")[:_REQUESTS_SHOWN],
        "instructions": settings.TOP_UP_INSTRUCTIONS,
    }
    return render(request, "wallet/overview.html", context)


@login_required
@require_GET
def export(request: CustomerRequest) -> StreamingHttpResponse:
    """Exactly the movements that the page shows with the same filter, as CSV."""
    entries = Filter.read(request.GET).apply(_own(request)).order_by("-pk")
    # The zone is fixed here: the stream is written after the middleware has left.
    lines = csv_lines(entries.iterator(chunk_size=1000), timezone.get_current_timezone())
    return download(lines, "transactions.csv")


def csv_lines(entries: Iterable[Entry], zone: dt.tzinfo) -> Iterator[str]:
    """The header and one line per movement; times are in `zone`, amounts with a decimal point."""
    yield line(HEADER)
    for entry in entries:
        yield line(
            (
                entry.created_at.astimezone(zone).isoformat(timespec="seconds"),
                entry.kind,
                entry.order_number,
                safe(entry.reference),
                safe(entry.note),
                f"{entry.amount:f}",
                f"{entry.balance_after:f}",
            )
        )
