"""What was due in the orders' own rows is due in the narrow table, and the other way round."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from accounts.models import User
from catalog.models import Service
from orders import polls
from orders.audit import check
from orders.models import Order
from orders.poll_models import Poll
from orders.settlement import apply_status
from orders.states import Dispatch
from orders.tests.test_settle_apply import make_order
from orders.tests.test_settle_rules import says
from upstream.answers import State
from wallet.triggers import install_triggers

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE, AFTER = "0026_rules_of_cost_and_requests", "0027_what_is_polled_next"
DUE = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=timezone.get_default_timezone())
ASKED = DUE - timedelta(minutes=2)


def migrate(to: str) -> Any:
    """Migrate to there; the models as they were then."""
    executor = MigrationExecutor(connection)
    executor.migrate([("orders", to)])
    return executor.loader.project_state([("orders", to)]).apps


@contextmanager
def previous() -> Iterator[Any]:
    """The order as it was before, and the database with it; today's again at the end."""
    try:
        yield migrate(BEFORE).get_model("orders", "Order")
    finally:
        migrate(AFTER)
        install_triggers()


@pytest.fixture
def orders(customer: User, service: Service) -> list[Order]:
    return [make_order(customer, service, charge=Decimal(1)) for _ in range(6)]


def kept() -> list[tuple[int, int, datetime, datetime | None]]:
    rows = Poll.objects.order_by("order").values_list("order", "provider", "due_at", "asked_at")
    return list(rows)


def test_every_poll_is_there_after_the_way_back_and_forth(orders: list[Order]) -> None:
    asked, new, ended, stuck, *_rest = orders
    Poll.objects.filter(order=asked).update(due_at=DUE, asked_at=ASKED)
    apply_status(ended.pk, says(State.CANCELED))
    polls.forget([stuck.pk])
    before = kept()
    assert len(before) == 4

    with previous() as old:
        times = dict(old.objects.values_list("pk", "next_poll_at"))
        assert (times[asked.pk], times[ended.pk], times[stuck.pk]) == (DUE, None, None)
        assert times[new.pk] == next(row[2] for row in before if row[0] == new.pk)
        last = dict(old.objects.values_list("pk", "polled_at"))
        assert (last[asked.pk], last[new.pk]) == (ASKED, None)

    assert kept() == before


def test_only_orders_that_are_followed_have_a_poll_afterwards(orders: list[Order]) -> None:
    with previous() as old:
        old.objects.update(next_poll_at=DUE, polled_at=ASKED)
        final = {"status": "completed", "finished_at": DUE}
        old.objects.filter(pk=orders[0].pk).update(**final)
        lost = {"dispatch": Dispatch.UNKNOWN, "upstream_id": ""}
        old.objects.filter(pk=orders[1].pk).update(**lost)
        child = {"dispatch": Dispatch.CHILD, "charge": 0}
        old.objects.filter(pk=orders[2].pk).update(**child)

    assert kept() == [(each.pk, each.provider_id, DUE, ASKED) for each in orders[2:]]
    assert {finding.code for finding in check() if finding.is_error} <= {"part_charged"}


def test_however_many_orders_are_copied_in_one_statement(orders: list[Order]) -> None:
    written: list[str] = []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "orders_poll" in sql and sql.strip().startswith(("INSERT INTO orders_poll", "UPDATE")):
            written.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch), previous():
        pass

    assert [sql.split()[0] for sql in written] == ["UPDATE", "INSERT"]
    assert len(kept()) == len(orders)
