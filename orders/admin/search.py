"""How orders are found in the admin's list."""

import re
from typing import Any

from django.db.models import F, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import DropdownFilter

from accounts.models import User
from catalog.models import Provider
from orders import timing
from orders.attention import Attention
from orders.models import Order
from orders.states import Dispatch, Status

_THREE = re.compile(r"[^\W_]{3}")


class AttentionFilter(DropdownFilter):  # type: ignore[misc] # unfold has no types
    """Orders that somebody should look at."""

    title = _("attention")
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:  # noqa: ARG002
        return [
            ("any", _("needs attention")),
            ("unknown", _("unconfirmed")),
            ("stuck", _("stuck: older than its service's usual end")),
            ("loss", _("held back: its cost has reached its price")),
            ("charged_more", _("the provider charged more than expected")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> QuerySet[Order]:  # noqa: ARG002
        if self.value() == "any":
            return queryset.exclude(attention="")
        if self.value() == "unknown":
            return queryset.filter(dispatch=Dispatch.UNKNOWN)
        if self.value() == "stuck":
            return queryset.filter(pk__in=timing.stuck(timezone.now()).values("pk"))
        if self.value() == "loss":
            return queryset.exclude(attention="").filter(attention=Attention.LOSS)
        if self.value() == "charged_more":
            return queryset.filter(
                status=Status.COMPLETED, upstream_charge__gt=F("expected_charge")
            )
        return queryset


def matching(term: str) -> Q:
    """The orders that a search means: an ID of ours or theirs, an e-mail address, or a link.

    Each kind is looked up in its own index; only a link is searched for within the text.
    """
    word = term.strip()
    number = word.removeprefix("#")
    if "@" in word and "/" not in word and not word.startswith("@"):
        return Q(customer__in=User.objects.filter(email__istartswith=word))
    # With the providers named, the unique index on (provider, upstream ID) finds it; as numbers,
    # because beside another condition a subquery would be answered by reading the whole table.
    providers = list(Provider.objects.values_list("pk", flat=True))
    theirs = Q(provider_id__in=providers, upstream_id=number)
    if number.isascii() and number.isdecimal() and len(number) <= 18:
        return theirs | Q(pk=int(number))
    # An index of parts knows nothing shorter than three letters.
    return theirs | Q(link__icontains=word) if _THREE.search(word) else theirs
