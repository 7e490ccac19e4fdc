"""Placing: one order in process, many clients over HTTP, a list of a thousand lines."""

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import requests
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from bench import orders_world
from bench.harness import Figure, in_turns, is_quick, report, say, sized, timed
from catalog.models import Service
from orders.audit import check
from orders.bulk import Wanted
from orders.models import Order
from orders.services import place_many, place_order
from tests.processes import BIN, free_port, started, wait_for_http

_CLIENTS = 8
_LINES = 1000


def main() -> None:
    """Report every figure of placing."""
    service = orders_world.service(orders_world.provider())
    customers = orders_world.customers(_CLIENTS)
    _fill(customers, service)
    _in_process(customers[0], service)
    _lists(customers[1], service)
    if connection.vendor == "postgresql":
        _over_http(customers, service)
    findings = [finding for finding in check() if finding.is_error]
    report(Figure("findings of the audit afterwards", len(findings), 1, 0, "findings", 1))


def _fill(customers: list[User], service: Service) -> None:
    """Orders and statistics such as a running panel has: kept plans are made by them."""
    for customer in customers:
        _place_list(customer, service)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def _values() -> dict[str, str]:
    return {"link": f"https://example.com/{uuid.uuid4()}", "quantity": "1000"}


def _place(customer: User, service: Service) -> Order:
    return place_order(
        customer=customer, service=service, values=_values(), client_token=uuid.uuid4()
    )


def _in_process(customer: User, service: Service) -> None:
    # Until the plans are kept.
    _repeat(lambda: _place(customer, service), 20)
    with CaptureQueriesContext(connection) as captured:
        _place(customer, service)
    frames = ("BEGIN", "COMMIT")
    statements = [q for q in captured.captured_queries if not q["sql"].startswith(frames)]
    report(Figure("statements to place an order", len(statements), 8, 1, "statements", 1))
    if connection.vendor != "postgresql":
        return
    size = sized(200, 50)
    with psycopg.connect(_dsn()) as plain:
        write = _PlainWriter(plain, customer, service)
        ours, limit = in_turns(
            lambda: timed(lambda: [_place(customer, service) for _ in range(size)]),
            lambda: timed(lambda: _repeat(write, size)),
            rounds=sized(5, 3),
        )
    unit = "ms an order"
    figure = Figure("placing, in process", ours / size * 1000, limit / size * 1000, 3, unit, size)
    report(figure)


def _repeat(action: Callable[[], object], count: int) -> None:
    for _ in range(count):
        action()


def _dsn() -> str:
    return str(os.environ["DATABASE_URL"])


class _PlainWriter:
    """The same rows in the same transaction by psycopg alone: no checks, no prices, no ORM."""

    def __init__(self, plain: psycopg.Connection, customer: User, service: Service) -> None:
        self._plain = plain
        self._account = customer.account.pk
        # What placing writes is copied from an order that it wrote.
        _place(customer, service)
        self._order = _row("orders_order", "id")
        self._entry = _row("wallet_entry", "id")
        self._event = _row("orders_event", "id")

    def __call__(self) -> None:
        link = f"https://example.com/{uuid.uuid4()}"
        with self._plain.transaction():
            run = self._plain.execute
            found = run(
                "SELECT balance FROM wallet_account WHERE id = %s FOR NO KEY UPDATE",
                [self._account],
            ).fetchone()
            assert found is not None
            balance = found[0] - 2
            order = self._order | {"link": link, "client_token": uuid.uuid4()}
            placed = run(*_insert("orders_order", order)).fetchone()
            assert placed is not None
            run("UPDATE wallet_account SET balance = %s WHERE id = %s", [balance, self._account])
            changed = {"reference": f"order-{placed[0]}", "order_number": placed[0]}
            run(*_insert("wallet_entry", self._entry | changed | {"balance_after": balance}))
            run(*_insert("orders_event", self._event | {"order_id": placed[0]}))


def _row(table: str, key: str) -> dict[str, object]:
    """The newest row, as it can be inserted again."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} ORDER BY {key} DESC LIMIT 1")
        names = [each.name for each in cursor.description]
        row = dict(zip(names, cursor.fetchone(), strict=True))
    row.pop(key)
    return {
        name: json.dumps(value) if isinstance(value, dict) else value for name, value in row.items()
    }


def _insert(table: str, row: dict[str, object]) -> tuple[str, list[object]]:
    names, marks = ", ".join(f'"{name}"' for name in row), ", ".join(["%s"] * len(row))
    sql = f"INSERT INTO {table} ({names}) VALUES ({marks}) RETURNING id"
    return sql, list(row.values())


def _place_list(customer: User, service: Service) -> None:
    wanted = [Wanted(service.pk, _values()) for _ in range(_LINES)]
    place_many(customer=customer, wanted=wanted, client_token=uuid.uuid4())


def _lists(customer: User, service: Service) -> None:
    def one_list() -> None:
        _place_list(customer, service)

    with CaptureQueriesContext(connection) as captured:
        one_list()
    report(
        Figure("statements of a list of 1,000 orders", len(captured), 30, 1, "statements", _LINES)
    )
    single = sized(100, 40)
    many, alone = in_turns(
        lambda: timed(one_list),
        lambda: timed(lambda: [_place(customer, service) for _ in range(single)]),
        rounds=sized(5, 2),
    )
    name = "a list of 1,000 orders, against single ones"
    report(Figure(name, _LINES / many, single / alone, 20, "orders/s", _LINES, at_least=True))


def _over_http(customers: list[User], service: Service) -> None:
    seconds, first = (1, 0.5) if is_quick() else (5, 1)
    with _gunicorn() as address:
        clients = [_Client(address, user, service) for user in customers]
        hot = [_Client(address, customers[0], service) for _ in customers]
        empty: list[float] = []
        many: list[float] = []
        one: list[float] = []
        for turn in range(sized(8, 4)):
            for rates, ways in (
                (empty, [client.nothing for client in clients]),
                (many, [client.place for client in clients]),
                (one, [client.place for client in hot]),
            ):
                # Which of the two processes takes a connection is chance, and it stays there.
                for client in (*clients, *hot):
                    client.hang_up()
                rate = _rate(ways, seconds if turn else first)
                if turn:
                    rates.append(rate)
        for client in (*clients, *hot):
            assert client.placed, "every client has placed orders"
        _lists_over_http(clients[0])
    best = [sorted(rates)[len(rates) // 2] for rates in (empty, many, one)]
    say(f"empty view {best[0]:.0f}/s, placing {best[1]:.0f}/s, one account {best[2]:.0f}/s")
    name = "placing over HTTP, against an empty view"
    report(Figure(name, best[1], best[0], 0.5, "requests/s", _CLIENTS, at_least=True))
    name = "one hot account, against many"
    report(Figure(name, best[2], best[1], 0.6, "orders/s", _CLIENTS, at_least=True))


def _lists_over_http(client: "_Client") -> None:
    """What a customer with a thousand orders does: one form with a list, or a form for each."""
    single = sized(100, 40)
    many, alone = in_turns(
        lambda: timed(client.place_list),
        lambda: timed(lambda: _repeat(client.place, single)),
        rounds=sized(5, 3),
    )
    name = "a list of 1,000 orders by its form, against a form for each"
    report(Figure(name, _LINES / many, single / alone, 20, "orders/s", _LINES, at_least=True))


@contextmanager
def _gunicorn() -> Iterator[str]:
    """The project's web server on this database, with one more, empty view."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    log = Path(settings.VAR_DIR) / "gunicorn.log"
    environment = {
        "DJANGO_SETTINGS_MODULE": "bench.web_settings",
        "DATABASE_URL": _dsn(),
        "REDIS_URL": os.environ.get("REDIS_URL", ""),
        "SITE_URL": address,
    }
    command = [str(BIN / "gunicorn"), f"--bind=127.0.0.1:{port}", "--workers=2", "--threads=8"]
    with started([*command, "panel.wsgi"], environment=environment, log=log):
        wait_for_http(f"{address}/healthz")
        yield address


class _Client:
    """A signed-in browser of one customer; it keeps its connection."""

    def __init__(self, address: str, user: User, service: Service) -> None:
        self._address = address
        self._service = service
        self._http = requests.Session()
        self._http.cookies.set(
            settings.SESSION_COOKIE_NAME, _session(user), domain=urlsplit(address).hostname
        )
        self._get("/orders/new/", {"service": str(service.pk)})
        self._token = self._http.cookies[settings.CSRF_COOKIE_NAME]
        self.placed = 0

    def _get(self, path: str, query: dict[str, str]) -> None:
        answer = self._http.get(f"{self._address}{path}", params=query, timeout=30)
        assert answer.ok, answer.status_code

    def hang_up(self) -> None:
        """End the connection; the next request opens another one."""
        self._http.close()

    def nothing(self) -> None:
        """The same request to a view that does nothing but know who asks."""
        answer = self._post("/bench/empty")
        assert answer.status_code == 204, answer.status_code

    def place(self) -> None:
        """What the form's button sends."""
        answer = self._post("/orders/new/")
        assert answer.status_code == 302, answer.text[:2000]
        self.placed += 1

    def place_list(self) -> None:
        """What the button of the page for lists sends."""
        lines = [
            f"{self._service.pk} | {each['link']} | {each['quantity']}"
            for each in (_values() for _ in range(_LINES))
        ]
        answer = self._send(
            "/orders/mass/",
            {
                "lines": "\n".join(lines),
                "action": "place",
                "all_or_nothing": "yes",
                "seen_charge": f"{2 * _LINES}.00000",
            },
        )
        assert answer.status_code == 302, answer.text[:2000]
        # The page that a browser goes on to shows the message and takes the cookie away.
        del self._http.cookies["messages"]

    def _post(self, path: str) -> requests.Response:
        form = _values() | {"service": str(self._service.pk), "seen_charge": "2.00000"}
        return self._send(path, form)

    def _send(self, path: str, form: dict[str, str]) -> requests.Response:
        form |= {"csrfmiddlewaretoken": self._token, "token": str(uuid.uuid4())}
        return self._http.post(
            f"{self._address}{path}", data=form, allow_redirects=False, timeout=30
        )


def _session(user: User) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


def _rate(ways: list[Callable[[], None]], seconds: float) -> float:
    """Requests a second of these clients, each in a thread of its own."""
    ends = time.perf_counter() + seconds
    counts = [0] * len(ways)
    failed: list[BaseException] = []

    def run(number: int) -> None:
        try:
            while time.perf_counter() < ends:
                ways[number]()
                counts[number] += 1
        except BaseException as error:
            failed.append(error)
            raise

    began = time.perf_counter()
    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(ways))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return sum(counts) / (time.perf_counter() - began)
