"""A chaos run itself: set the panel up, order and kill, heal, wait, compare and tell."""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import requests
from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import Error, close_old_connections, connection, transaction
from django.db.models import Count, Q
from django.db.models.functions import Now

from accounts.models import User
from catalog.models import Provider, Service
from catalog.sync import sync_provider
from orders import gates
from orders.models import Attempt, Event, Gate, Order
from orders.states import LEASED, Dispatch, Outcome
from orders.timeline import Code
from tests.chaos.fleet import Fleet, members
from tests.chaos.plan import EMBEDDED_TARGETS, KEY, TARGETS, Plan, fault_plan
from tests.chaos.settling import settle, tests, verdicts, wrongly_absent
from tests.chaos.shoppers import PASSWORD, Orders, Shopper
from tests.faults.nursery import Nursery, compose_arguments
from tests.faults.oracle import Placement, ask_truth, violations
from tests.faults.servers import OwnRedis
from tests.processes import Process, wait_for_http
from wallet.services import top_up

WORKERS = 3
_OVER_HTTP = 0.25
_STAFF_LOOKS_EVERY = 3.0
_QUIET_WITHIN = 900.0


@dataclass(frozen=True)
class Figures:
    """What a run ends with."""

    orders: Orders
    fleet: Fleet
    found: list[str]
    truth: list[Placement]
    seconds: float


def run(
    plan: Plan,
    *,
    folder: Path,
    simulators: Sequence[Process],
    providers: Sequence[str],
    redis: OwnRedis | None,
) -> int:
    """0 when the oracle finds nothing, else 1."""
    begun = time.monotonic()
    services = _open_shop(providers)
    nursery = Nursery(os.environ, folder)
    fleet = Fleet(
        nursery=nursery,
        chance=random.Random(plan.seed),
        members=members(_commands(embedded=redis is None), WORKERS),
        redis=redis,
        providers=simulators,
    )
    fleet.start_all()
    wait_for_http(f"{settings.SITE_URL}/healthz")
    _set_faults(providers, plan.faults)
    orders = Orders(most=plan.orders)
    with _staff():
        with _shoppers(plan, services, orders):
            _kill_at_random(plan, fleet, orders)
            fleet.heal()
            _set_faults(providers, 0)
        left = _wait_until_quiet(fleet)
        if plan.settle:
            settle(services, orders, fleet, seconds=plan.settle)
    slow = fleet.end()
    nursery.close()
    truth = [placement for url in providers for placement in ask_truth(url)]
    sinks = [*folder.glob("*.log"), *([] if redis is None else [_messages(redis, folder)])]
    found = [
        *violations(truth, key=KEY, tokens=orders.told, sinks=sinks),
        *wrongly_absent(truth),
        *(f"O4: {count} orders still {state}" for state, count in left.items()),
        *orders.failures,
    ]
    _tell(plan, Figures(orders, fleet, found, truth, time.monotonic() - begun), slow)
    return 1 if found else 0


def _open_shop(providers: Sequence[str]) -> list[Service]:
    for number, url in enumerate(providers):
        sync_provider(Provider.objects.create(name=f"P{number}", url=url, api_key=KEY))
    return list(Service.objects.on_sale().order_by("pk"))


def _commands(*, embedded: bool) -> dict[str, list[str]]:
    if embedded:
        return {"serve": ["manage.py", "manage.py", "serve"]}
    worker = compose_arguments("worker")
    # As many database connections as this machine can bear.
    worker[worker.index("-c") + 1] = "8"
    return {
        "web": compose_arguments("web", port=str(settings.PORT)),
        "worker": worker,
        "beat": compose_arguments("beat"),
    }


def _set_faults(providers: Sequence[str], share: float) -> None:
    for url in providers:
        address = url.removesuffix("/api/v2") + "/sim/faults"
        requests.post(address, json={"clear": True}, timeout=30).raise_for_status()
        for entry in fault_plan(share) if share else []:
            requests.post(address, json=entry, timeout=30).raise_for_status()


@contextmanager
def _shoppers(plan: Plan, services: list[Service], orders: Orders) -> Iterator[None]:
    """Two customers over HTTP and two through the service, at the plan's rate in all."""
    stop = threading.Event()
    threads = []
    for number in range(4):
        over_http = number < 2
        share = (_OVER_HTTP if over_http else 1 - _OVER_HTTP) / 2
        shopper = Shopper(
            user=_customer(number),
            services=services,
            orders=orders,
            stop=stop,
            pause=1 / (plan.rate * share),
            seed=plan.seed * 10 + number,
        )
        way = shopper.buy_over_http if over_http else shopper.buy_through_the_service
        arguments = (settings.SITE_URL,) if over_http else ()
        threads.append(threading.Thread(target=way, args=arguments, name=f"shopper-{number}"))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@transaction.atomic
def _customer(number: int) -> User:
    user = User.objects.create_user(f"shopper{number}@example.com", PASSWORD)
    EmailAddress.objects.create(user=user, email=user.email, primary=True, verified=True)
    top_up(user=user, amount=Decimal(1_000_000), reference=f"chaos-{number}")
    return user


@contextmanager
def _staff() -> Iterator[None]:
    """Someone who resumes sending whenever it is paused, or the breaker would spare us the chaos."""
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(_STAFF_LOOKS_EVERY):
            try:
                shut = Gate.objects.exclude(pause="") | Gate.objects.filter(
                    open_until__isnull=False
                )
                for provider_id in shut.values_list("provider_id", flat=True):
                    gates.resume(provider_id)
            except Error:
                close_old_connections()
        connection.close()

    thread = threading.Thread(target=look, name="staff")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _kill_at_random(plan: Plan, fleet: Fleet, orders: Orders) -> None:
    targets = EMBEDDED_TARGETS if fleet.redis is None else TARGETS
    ends = time.monotonic() + plan.seconds
    pause = 60 / plan.kills_per_minute
    due = look = time.monotonic() + 1
    while (
        time.monotonic() < ends
        or len(orders.told) < plan.orders
        or fleet.kills.total() < plan.kills
    ):
        fleet.tend()
        # A schedule, not a pause after each: what a kill costs must not make them rarer.
        if time.monotonic() >= due:
            due += fleet.chance.uniform(0.5, 1.5) * pause
            [target] = fleet.chance.choices(list(targets), weights=list(targets.values()))
            fleet.hit(target)
        # As docker-compose.yml's `restart: unless-stopped` does.
        if time.monotonic() >= look:
            look += 2
            fleet.restart_ended()
        time.sleep(0.05)


def _wait_until_quiet(fleet: Fleet) -> Counter[str]:
    """Wait until no order is queued or held; what is left when that takes too long."""
    ends = time.monotonic() + _QUIET_WITHIN
    busy = Order.objects.filter(dispatch__in=[Dispatch.QUEUED, *LEASED])
    while time.monotonic() < ends and busy.exists():
        fleet.tend()
        fleet.keep_alive()
        # The waits between tries reach ten minutes; here that time has passed.
        Order.objects.filter(dispatch=Dispatch.QUEUED).update(not_before=Now())
        time.sleep(2)
    return Counter(busy.values_list("dispatch", flat=True))


def _messages(redis: OwnRedis, folder: Path) -> Path:
    """Everything that is in Redis, as a file to search."""
    path = folder / "redis.dump"
    path.write_bytes(redis.everything())
    return path


def _tell(plan: Plan, figures: Figures, slow: Mapping[str, int]) -> None:
    links = Counter(placement.link for placement in figures.truth)
    unknown = Order.objects.filter(dispatch=Dispatch.UNKNOWN)
    placed = sum(1 for link in unknown.values_list("link", flat=True) if links[link])
    told = Event.objects.values_list("code").annotate(count=Count("pk"))
    codes = dict(told)
    attempts = dict(Attempt.objects.values_list("outcome").annotate(Count("pk")))
    states = dict(Order.objects.values_list("dispatch").annotate(Count("pk")))
    lost = set(figures.orders.told) - set(Order.objects.values_list("client_token", flat=True))
    kills = figures.fleet.kills
    lines = {
        "seed": plan.seed,
        "engine": connection.vendor,
        "minutes": f"{figures.seconds / 60:.1f}",
        "orders": f"{Order.objects.count()} {_counted(figures.orders.counts)}",
        "kills": f"{kills.total()} {_counted(kills)}",
        "halts": f"{figures.fleet.halts.total()} {_counted(figures.fleet.halts)}",
        "ended by themselves": _counted(figures.fleet.ended),
        "did not end in time": _counted(Counter(slow)),
        "attempts": f"{Attempt.objects.count()} {_counted(Counter(attempts))}",
        "orders by dispatch": _counted(Counter(states)),
        "ever unknown": Event.objects.filter(code=Code.UNKNOWN).values("order").distinct().count(),
        "settled by a late answer": codes.get(Code.LATE_ANSWER, 0),
        "adopted by reconciliation": codes.get(Code.FOUND, 0),
        "found absent": codes.get(Code.ABSENT, 0),
        "unconfirmed by finding": _counted(verdicts()),
        "providers by test": _counted(tests()),
        "unknown at the end": f"{unknown.count()} (placed {placed}, not placed {unknown.count() - placed})",
        "zombies that sent nothing": _zombies(),
        "slowest order page": f"{figures.orders.slowest_page:.1f} s",
        "duplicates": sum(count - 1 for count in links.values()),
        "lost": len(lost),
        "violations": len(figures.found),
    }
    for name, value in lines.items():
        print(f"  {name}: {value}")
    for sentence in figures.found[:50]:
        print(f"  VIOLATION {sentence}")
    print("chaos: failed" if figures.found else "chaos: everything adds up", flush=True)


def _zombies() -> int:
    late = Q(outcome=Outcome.NOT_SENT, reason="claim lost") | Q(
        outcome=Outcome.NOT_SENT, is_late=True
    )
    return Attempt.objects.filter(late).count()


def _counted(counts: "Counter[str] | dict[str, int]") -> str:
    return "(" + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) + ")"
