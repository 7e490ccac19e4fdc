"""The provider's key is in its column, encrypted, and in the requests to the provider: nowhere else."""

import io
import json
import logging
import pickle
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from decimal import Decimal
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from kombu.utils.json import dumps

from accounts.models import User
from catalog.models import Provider, Service
from catalog.sync import refresh_balances, sync_provider
from orders import following
from orders.fulfilment import forward, sweep
from orders.gates import resume
from orders.models import Attempt, Order
from orders.poll_models import Poll
from orders.tests.worlds import FOLLOWERS, make_due, order_of
from orders.wakeups import broker
from panel.periodic import WORK, run_periodic_job
from tests.site_map import text_of
from tests.test_security_access import paths_for
from upstream.errors import UpstreamError
from upstream.simulator import Simulator

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "canary-5d41402abc4b2a76"
# What a provider may do to a request; most of them put the request itself into their answer.
FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("error", {"text": f"Invalid API key {KEY}"}),
    ("error", {"text": f"key={KEY}&action=add refused"}),
    ("error", {"text": f"Odd error {KEY[:12]} {KEY}"}),
    ("status_error", {"text": f"bad {KEY}"}),
    ("json_string", {"text": f"echo {KEY}"}),
    ("html_page", {"text": f"<html>{KEY}</html>"}),
    ("http_500", {"text": f"Traceback: key={KEY}"}),
    ("cut_json", {}), ("cut_status_line", {}), ("short_body", {}), ("bad_chunk", {}),
    ("bad_gzip", {}), ("garbage", {}), ("empty_body", {}), ("double_body", {}),
    ("lost_before", {}), ("lost_after", {}), ("hang_after", {"seconds": 1}), ("rate_limit", {}),
    ("redirect", {"location": f"http://127.0.0.1:9/?key={KEY}"}),
]  # fmt: skip


@pytest.fixture
def simulator(settings: LazySettings) -> Iterator[Simulator]:
    settings.ALLOW_PRIVATE_UPSTREAM = True
    settings.UPSTREAM_CONNECT_TIMEOUT = settings.UPSTREAM_TOTAL_TIMEOUT = Decimal(60)
    settings.UPSTREAM_READ_TIMEOUT = Decimal("0.5")
    with Simulator([FOLLOWERS], key=KEY, pace=3600) as running:
        yield running


@pytest.fixture
def provider(simulator: Simulator) -> Provider:
    return Provider.objects.create(name="Simulated", url=simulator.url, api_key=KEY)


@pytest.fixture
def everything_logged() -> Iterator[list[str]]:
    """Every log record with its traceback, at the loudest level."""
    lines: list[str] = []
    formatter = logging.Formatter("%(name)s %(message)s")

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(formatter.format(record) + repr(record.args))

    handler, root = Keep(level=0), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(handler)
    root.setLevel(level)


def go_wrong_everywhere(simulator: Simulator, provider: Provider, customer: User) -> None:
    """Every fault at every point of the client, for orders, lists, status and balance."""
    sync_provider(provider)
    service = Service.objects.get()
    for kind, options in FAULTS:
        simulator.world.heal()
        resume(provider.pk)
        order = order_of(customer, service, quantity=10)
        simulator.world.break_with("*", kind, times=None, **options)
        make_due(order)
        forward(order.pk)
        sync_provider(provider)
        refresh_balances()
    simulator.world.heal()
    resume(provider.pk)
    accepted = order_of(customer, service, quantity=10)
    forward(accepted.pk)
    for kind, options in FAULTS[:8]:
        simulator.world.break_with("*", kind, times=None, **options)
        Poll.objects.filter(order=accepted).update(due_at=accepted.created_at)
        following.poll_due()
        simulator.world.heal()
    sweep()


def rows_of_the_database() -> str:
    """Every cell of every table, as the database holds it."""
    with connection.cursor() as cursor:
        found = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            found += [repr(row) for row in cursor.fetchall()]
    return "\n".join(found)


def pages_of(person: User, order: Order, *, only: str = "") -> str:
    """What the site's addresses show, with this order's number; those alone with `only` in them."""
    client = Client()
    client.force_login(person)
    rows: dict[str, object] = {
        "orders_order": order.pk, "catalog_provider": order.provider_id,
        "catalog_service": order.service_id,
    }  # fmt: skip
    answers = [client.get(page) for page in paths_for(rows) if only in page]
    return "\n".join(text_of(each) for each in answers)


@pytest.mark.timeout(180)
def test_whatever_goes_wrong_the_key_is_nowhere(
    simulator: Simulator,
    provider: Provider,
    customer: User,
    staff: User,
    everything_logged: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[object] = []

    monkeypatch.setattr("orders.wakeups.publish", lambda _app, *message: sent.append(message))
    broker.forgive()
    printed = io.StringIO()

    with redirect_stdout(printed), redirect_stderr(printed):
        go_wrong_everywhere(simulator, provider, customer)
        for name in WORK:
            run_periodic_job(name, now=True)
        for command in ("check_ledger", "sync_catalog"):
            try:
                call_command(command, stdout=printed, stderr=printed)
            except CommandError as exc:
                printed.write(str(exc))

    trouble = Order.objects.exclude(attempts=None).order_by("pk")
    assert Attempt.objects.exclude(reason="").count() > 10, "little went wrong"
    assert any("Odd error" in each.answer for each in Attempt.objects.all()), "no echo was kept"
    places = {
        "logs": "\n".join(everything_logged),
        "database": rows_of_the_database(),
        "messages": dumps(sent) + repr(pickle.dumps(json.dumps(str(sent)))),
        "staff pages": pages_of(staff, trouble[0]),
        "staff pages of other orders": "".join(
            pages_of(staff, order, only=f"/orders/order/{order.pk}/") for order in trouble[1:]
        ),
        "customer pages": pages_of(customer, trouble[0]),
        "commands": printed.getvalue(),
        "error objects": repr(provider) + repr(provider.client()),
    }
    assert {place for place, text in places.items() if KEY in text} == set()
    assert all(places.values())


def local_variables(error: BaseException) -> str:
    """All that an error report with local variables would send: every frame of the whole chain."""
    frames, seen, chain = [], set(), [error]
    while chain:
        each = chain.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        frames += [frame for frame, _line in traceback.walk_tb(each.__traceback__)]
        chain += [other for other in (each.__cause__, each.__context__) if other is not None]
    return "\n".join(repr(frame.f_locals) for frame in frames)


@pytest.mark.parametrize("kind", ["lost_before", "lost_after", "garbage", "http_500", "bad_gzip"])
def test_an_error_report_with_local_variables_has_no_key_in_it(
    simulator: Simulator, provider: Provider, kind: str
) -> None:
    simulator.world.break_with("add", kind)
    with provider.client() as client, pytest.raises(UpstreamError) as caught:
        client.add("1", {"link": "https://example.com/a", "quantity": "10"})

    variables = local_variables(caught.value)
    assert "https://example.com/a" in variables, "the frames were not looked at"
    assert KEY not in variables
