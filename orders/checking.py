"""Asking about chosen orders at once, up to 100 of one provider per call, whether final or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from django.utils.translation import gettext as _

from catalog.models import Provider
from orders.decisions import FOLLOWED
from orders.models import Order
from orders.settlement import apply_status
from orders.states import Status
from upstream.answers import OrderStatus
from upstream.client import MAX_IDS
from upstream.errors import Rejected, UpstreamError


@dataclass(frozen=True)
class Told:
    """What came of asking about one order, as a sentence for staff."""

    said: str
    is_done: bool


def check_many(orders: Sequence[Order]) -> dict[int, Told]:
    """Ask about each order and apply the answers; every order has an entry. Outside transactions."""
    told = {each.pk: Told(_("This order is not at the provider."), False) for each in orders}
    there = [each for each in orders if each.dispatch in FOLLOWED]
    there.sort(key=lambda each: each.provider_id)
    for _provider, group in groupby(there, key=lambda each: each.provider_id):
        own = list(group)
        for start in range(0, len(own), MAX_IDS):
            told |= _ask(own[start : start + MAX_IDS])
    return told


def _ask(orders: Sequence[Order]) -> dict[int, Told]:
    provider = Provider.objects.prefetch_related("error_rules").get(pk=orders[0].provider_id)
    try:
        with provider.client() as client:
            answers = client.statuses([each.upstream_id for each in orders])
    except Rejected as exc:
        refused = Told(_("The provider refused to answer: %s") % exc.text, False)
        return dict.fromkeys((each.pk for each in orders), refused)
    except UpstreamError:
        silent = Told(_("The provider did not answer. Try again later."), False)
        return dict.fromkeys((each.pk for each in orders), silent)
    return {each.pk: _apply(each, answers[each.upstream_id]) for each in orders}


def _apply(order: Order, answer: object) -> Told:
    if not isinstance(answer, OrderStatus):
        return Told(_("The provider does not know the order."), False)
    apply_status(order.pk, answer)
    status = Order.objects.values_list("status", flat=True).get(pk=order.pk)
    return Told(_("The order is: %(status)s.") % {"status": Status(status).label}, True)
