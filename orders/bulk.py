"""Many orders at once: what each of a list would be, or why it can't be placed."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from catalog.models import Service
from catalog.rates import for_customer
from catalog.rules import Rules, read_rules
from orders.errors import InvalidOrder, NotOnSale
from orders.models import Order
from orders.quotes import Quote, quote
from orders.states import OPEN

MOST = 1000


@dataclass(frozen=True)
class Wanted:
    """An order that someone asks for: the number of a service, and what was filled in."""

    service_id: int
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def link(self) -> str:
        return self.values.get("link", "").strip()


Content = tuple[int, str, str]


def packages_of(orders: Iterable[Order]) -> set[int]:
    """The services of those orders that have no quantity, whatever stood in their lines."""
    return {order.service_id for order in orders if "quantity" not in order.parameters}


def content_of(wanted: Wanted, packages: Collection[int]) -> Content:
    """What of a wanted order must be the same for it to be the same order."""
    typed = wanted.values.get("quantity", "").strip().lstrip("0")
    return (wanted.service_id, wanted.link, "" if wanted.service_id in packages else typed)


def content_of_order(order: Order) -> Content:
    return (order.service_id, order.link, order.parameters.get("quantity", ""))


def tokens(client_token: uuid.UUID) -> list[uuid.UUID]:
    """The one-time tokens of a list's orders, made from the list's own."""
    return [_token(client_token, number) for number in range(MOST)]


def _token(client_token: uuid.UUID, number: int) -> uuid.UUID:
    return uuid.uuid5(client_token, str(number))


def placed_with(customer_id: int, client_token: uuid.UUID) -> list[Order]:
    """The orders that a list with this token has already made: all of them, or none."""
    mine = Order.objects.of(customer_id)
    # The first one tells; a thousand would take as long to look for as their orders to price.
    if not mine.filter(client_token=_token(client_token, 0)).exists():
        return []
    return list(mine.filter(client_token__in=tokens(client_token)).order_by("pk"))


def agree(customer_id: int, wanted: Sequence[Wanted]) -> list[Quote | str]:
    """A quote or a sentence for each, in their order; three statements whatever their number.

    A service twice on one link is refused, in the list and against the customer's active orders.
    """
    on_offer = Service.objects.select_related("provider", "category")
    services = for_customer(on_offer, customer_id).in_bulk({each.service_id for each in wanted})
    rules = read_rules()
    answers = [
        _quoted(services.get(each.service_id), each.values, customer_id, rules) for each in wanted
    ]
    # Only what is a link by now: PostgreSQL refuses to compare with a NUL, say.
    links = {answer.link for answer in answers if isinstance(answer, Quote)}
    active = _active(customer_id, links)
    found: list[Quote | str] = []
    for each, quoted in zip(wanted, answers, strict=True):
        pair, answer = (each.service_id, each.link), quoted
        if isinstance(answer, Quote) and pair in active:
            answer = _already(active[pair])
        if isinstance(answer, Quote):
            active[pair] = 0
        found.append(answer)
    return found


def _active(customer_id: int, links: Collection[str]) -> dict[tuple[int, str], int]:
    """The customer's active orders on these links, by service and link."""
    mine = Order.objects.of(customer_id).filter(status__in=OPEN, link__in=links)
    return {(service, link): pk for pk, service, link in mine.values_list("pk", "service", "link")}


def _already(order_id: int) -> str:
    if order_id == 0:
        return _("An earlier line has the same service and link.")
    return _("Order %(number)s of this service is still active on this link.") % {
        "number": f"#{order_id}"
    }


def _quoted(
    service: Service | None, values: Mapping[str, str], customer_id: int, rules: Rules
) -> Quote | str:
    if service is None:
        return _("There is no such service.")
    try:
        return quote(service, values, customer_id, rules)
    except NotOnSale:
        return _("This service is not on sale now.")
    except InvalidOrder as exc:
        if exc.errors.keys() <= values.keys():
            return " ".join(exc.errors.values())
        return _("This service asks for more than a link and a quantity; order it by itself.")
