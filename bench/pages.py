"""The customer's pages and the API's price list in a large catalogue.

Pages are asked for through the whole stack (session, middleware, template) at 20,000 services and
at 200: what a page costs must not follow from how much is for sale. The 200 are of three platforms,
so that a platform's tab has as many rows at both sizes, like every other page.
"""

from dataclasses import dataclass, replace
from functools import partial
from statistics import median

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.keys import create_key
from accounts.models import User
from bench.catalogue_world import fill, of_three_platforms, rows
from bench.harness import Figure, in_turns, report, say, sized, timed
from catalog.models import Favourite, Service
from orders import price_list

_MOST_BYTES, _MOST_QUERIES = 60_000, 8
_SMALL = 200
_PAGES = {
    "services": "/services/",
    "services, last page": "/services/?page=9999",
    "services, by price": "/services/?sort=price",
    "services, one platform": "/services/?platform=tiktok",
    "services, search": "/services/?q=instant",
    "new order": "/orders/new/",
    "new order, search": "/orders/new/results/?q=instant",
    "order form": "/orders/new/?service={service}",
}


@dataclass(frozen=True)
class Cost:
    """What one page took: seconds (median), bytes of HTML, queries; and how many services it shows."""

    seconds: float
    size: int
    queries: int
    shown: int


def main() -> None:
    """Pages with few services, the API's list, then pages with many."""
    large, rounds = sized(20_000, 8_000), sized(15, 4)
    count = min(large, 10_000)
    customer = User.objects.create_user("bench@example.com", "a-Long-passw0rd")
    client = Client(SERVER_NAME="localhost")
    client.force_login(customer)
    listed = rows(large)
    few = of_three_platforms(listed, _SMALL)
    fill(few)
    Favourite.objects.bulk_create(
        Favourite(user=customer, service=service) for service in Service.objects.on_sale()[:20]
    )
    say(f"pages at {_SMALL} services")
    little = _costs(client, rounds)
    fill(listed[:count])
    _price_list(customer, rounds, count)
    fill(listed)
    say(f"pages at {large} services")
    much = _costs(client, rounds)
    # Once more with few, as the machine may have been busier at one time than at the other.
    known = [str(row["service"]) for row in few]
    Service.objects.exclude(upstream_id__in=known).delete()
    again = _costs(client, rounds)
    for name, cost in much.items():
        assert little[name].shown == cost.shown == again[name].shown, name
        _report(name, cost, (little[name].seconds + again[name].seconds) / 2, large)


def _costs(client: Client, rounds: int) -> dict[str, Cost]:
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
    pages = _pages()
    costs = {name: _cost(client, url) for name, url in pages}
    taken: dict[str, list[float]] = {name: [] for name, _ in pages}
    # In turns, so that a busy moment of the machine falls on all of them.
    for _ in range(rounds):
        for name, url in pages:
            taken[name].append(timed(partial(client.get, url)))
    return {name: replace(cost, seconds=median(taken[name])) for name, cost in costs.items()}


def _pages() -> list[tuple[str, str]]:
    service = Service.objects.on_sale().order_by("pk")[0]
    return [(name, url.format(service=service.pk)) for name, url in _PAGES.items()]


def _cost(client: Client, url: str) -> Cost:
    client.get(url)
    with CaptureQueriesContext(connection) as queries:
        page = client.get(url)
    asked = len(queries)  # the next request empties the log
    assert page.status_code == 200, f"{url}: {page.status_code}"
    shown = page.content.count(b"/orders/new/?service=")
    return Cost(0, len(page.content), asked, shown)


def _report(name: str, large: Cost, small: float, n: int) -> None:
    report(Figure(f"page {name}", large.seconds, small, 1.3, "s", n))
    report(Figure(f"page {name}: HTML", large.size, _MOST_BYTES, 1, "bytes", n))
    report(Figure(f"page {name}: queries", large.queries, _MOST_QUERIES, 1, "queries", n))


def _price_list(customer: User, rounds: int, count: int) -> None:
    """The API's `services` answer, against making its body anew from the database."""
    say(f"the API's price list at {count} services")
    client = Client(SERVER_NAME="localhost")
    form = {"key": create_key(user=customer, name="bench").secret, "action": "services"}

    def ask() -> None:
        answer = client.post("/api/v2", form, headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200
        assert answer["Content-Encoding"] == "gzip"

    ask()
    ask()
    with CaptureQueriesContext(connection) as queries:
        ask()
    asked = len(queries)
    ours, built = in_turns(lambda: timed(ask), lambda: timed(price_list.prepare), rounds=rounds)
    report(Figure("API services: queries", asked, 2, 1, "queries", count))
    report(
        Figure(
            "API services, prepared", 1 / ours, 1 / built, 20, "per second", count, at_least=True
        )
    )
