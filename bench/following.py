"""Following: the status of 100,000 open orders, and of a million in the same memory."""

import resource
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import requests
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.db.models import Model
from django.utils import timezone

from bench import orders_world
from bench.harness import Figure, report, say, sized
from catalog.models import Provider, Service
from orders import following
from orders.models import Order
from orders.poll_models import Poll
from orders.states import OPEN
from tests.processes import wait_for_http

IN_FLIGHT = 16
LATENCY = 0.3


def main() -> None:
    """Report every figure of following."""
    settings.POLL_IN_FLIGHT = IN_FLIGHT
    following._LONGEST_RUN = 3600.0
    # A fresh database and an older cache: pauses of other runs are not ours.
    cache.clear()
    with _responder() as url:
        providers = [orders_world.provider(f"Answers {at}", url) for at in range(3)]
        services = [orders_world.service(each) for each in providers]
        orders_world.fill_orders(
            # Three providers' share is whole calls, and all of them no more than ten times sixteen:
            # with two calls more, the last of which are a third full, an eleventh round is timed.
            sized(100_000, 15_900),
            of=services,
            by=orders_world.customers(10),
            open_percent=100,
            is_due=True,
            days=1,
        )
        _whole_round(url, providers)
        _budget(providers)
        if sized(1, 0):
            _a_million(services)


def _whole_round(url: str, providers: list[Provider]) -> None:
    count = Order.objects.filter(status__in=OPEN).count()
    statements = _Statements()
    cpu, began = time.process_time(), time.perf_counter()
    with connection.execute_wrapper(statements):
        found = following.poll_due()
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert (found.asked, found.failed) == (count, 0), found
    limit = _bare(url, count)
    say(f"{found}; {cpu / count * 100 * 1000:.1f} ms CPU a call, {statements.count} statements")
    possible = IN_FLIGHT * 100 / LATENCY
    for what, most in (("16 x 100 / latency", possible), ("bare calls", limit)):
        name = f"following, against {what}"
        report(Figure(name, count / wall, most, 0.9, "orders/s", count, at_least=True))
    # One process has a core at most: above this it, and not the provider, would be the limit.
    name = "CPU of a call for 100, against its time"
    report(Figure(name, cpu / found.calls * 1000, LATENCY / IN_FLIGHT * 1000, 0.9, "ms", count))
    per_call = statements.count / found.calls
    report(Figure("statements for 100 orders", per_call, 3, 1, "statements", found.calls))
    written = statements.updated
    report(
        Figure("orders written, of those changed", written[Order], found.changed, 1, "rows", count)
    )
    report(Figure("polls moved, of orders asked about", written[Poll], count, 1, "rows", count))
    _fair(providers)


class _Statements:
    """Counts the statements of a run, and the rows of orders and of polls that they updated."""

    def __init__(self) -> None:
        self.count = 0
        self.updated: dict[type[Model], int] = {Order: 0, Poll: 0}

    def __call__(
        self,
        execute: Callable[..., Any],
        sql: str,
        params: Any,
        many: bool,
        context: dict[str, Any],
    ) -> Any:
        answer = execute(sql, params, many, context)
        self.count += 1
        for model in self.updated:
            if sql.startswith(f'UPDATE "{model._meta.db_table}"'):
                self.updated[model] += context["cursor"].rowcount
        return answer


def _fair(providers: list[Provider]) -> None:
    """Of three providers with as much to ask about, none is asked twice as often as another."""
    Poll.objects.update(due_at=timezone.now(), asked_at=None)
    following.poll_due(limit_calls=60)
    asked = [
        Poll.objects.filter(provider=each, asked_at__isnull=False).count() for each in providers
    ]
    name = "most orders of one provider, against the least"
    report(Figure(name, max(asked), min(asked), 1.8, "orders", sum(asked)))


def _budget(providers: list[Provider]) -> None:
    """With 120 calls a minute for each, a run that could make more makes 21 to each at once."""
    Provider.objects.update(status_calls_per_minute=120)
    Poll.objects.update(due_at=timezone.now())
    began = time.monotonic()
    found = following.poll_due()
    allowed = len(providers) * 120 * (10 + time.monotonic() - began + 2) / 70
    report(Figure("calls within the budget", found.calls, allowed, 1, "calls", found.calls))
    Provider.objects.update(status_calls_per_minute=None)


def _a_million(services: list[Service]) -> None:
    """A million open orders: asked about for a while, in the memory of the hundred thousand."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    orders_world.fill_orders(
        900_000, of=services, by=orders_world.customers(2), open_percent=100, is_due=True, days=1
    )  # fmt: skip
    cache.clear()
    Poll.objects.update(due_at=timezone.now() - timedelta(minutes=1))
    began = time.perf_counter()
    found = following.poll_due(limit_calls=10_000)
    wall = time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    say(f"{found} in {wall:.0f} s")
    report(Figure("memory that 1,000,000 open orders add", grown, 30, 1, "MB", found.asked))


def _bare(url: str, count: int) -> float:
    """Orders a second when 16 threads do nothing but make the same calls by `requests`."""
    calls = deque(range(min(count // 100, 160)))
    size = len(calls)
    body = {"key": "k", "action": "status", "orders": ",".join(str(at) for at in range(100))}

    def ask() -> None:
        with requests.Session() as session:
            while True:
                try:
                    calls.pop()
                except IndexError:
                    return
                session.post(url, data=body, timeout=30).json()

    began = time.perf_counter()
    threads = [threading.Thread(target=ask) for _ in range(IN_FLIGHT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return size * 100 / (time.perf_counter() - began)


@contextmanager
def _responder() -> Iterator[str]:
    """A provider that answers every status after 300 ms, in a process of its own.

    The simulator keeps a world and speaks one connection a thread; at 5,000 orders a second it
    would be what is measured.
    """
    started = subprocess.Popen(
        [sys.executable, "-m", "bench.responder", str(LATENCY)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert started.stdout is not None
        url = f"http://127.0.0.1:{int(started.stdout.readline())}/api/v2"
        wait_for_http(url)
        yield url
    finally:
        started.terminate()
        started.wait()
