import threading
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction

from catalog.models import Category, Provider, Service, ServiceChange
from catalog.services import reprice
from catalog.sync import sync_provider
from catalog.tests.panel import Panel, row
from catalog.tests.test_sync import Outcome, state

MANY = 10_000


def many(count: int = MANY) -> list[dict[str, Any]]:
    return [row(at, category=f"Category {at % 300}") for at in range(1, count + 1)]


def sync_counting(provider: Provider, panel: Panel, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Sync, and return what the database was asked."""
    asked: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        asked.append(sql)
        return execute(sql, *rest)

    panel.lists(rows)
    # Django's own capturing writes every one of the values into the text.
    with connection.execute_wrapper(note):
        run = sync_provider(provider)
    assert run.outcome in {Outcome.APPLIED, Outcome.UNCHANGED}
    return asked


def statements(asked: Iterable[str]) -> list[str]:
    """What was asked of the tables; where the transaction begins and ends doesn't count."""
    return [sql for sql in asked if "SAVEPOINT" not in sql]


def test_ten_thousand_services_cost_a_handful_of_queries(provider: Provider, panel: Panel) -> None:
    rows = many()

    assert len(sync_counting(provider, panel, rows)) <= 20
    assert Service.objects.count() == MANY
    assert Category.objects.count() == 300

    rows.reverse()
    same = sync_counting(provider, panel, rows)
    assert len(same) <= 3
    assert not any("catalog_service" in sql and not sql.startswith("SELECT") for sql in same)

    before = state()
    for one in rows[:100]:
        one["rate"] = "1.25"
    fresh = Provider.objects.get()
    assert len(statements(sync_counting(fresh, panel, rows))) <= 8
    after = state()
    assert sum(after[one] != before[one] for one in before) == 100
    assert ServiceChange.objects.count() == 100


def test_fifty_thousand_services_cost_no_more_than_their_chunks(
    provider: Provider, panel: Panel
) -> None:
    assert len(sync_counting(provider, panel, many(50_000))) <= 40
    assert Service.objects.count() == 50_000


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_syncs_at_once_write_the_list_once(provider: Provider, panel: Panel) -> None:
    """Both have fetched before either writes; without the provider's lock both would add all."""
    panel.lists(many(1000))
    panel.barrier = threading.Barrier(2)
    added: list[int] = []

    def sync() -> None:
        added.append(sync_provider(Provider.objects.get()).added)
        connection.close()

    threads = [threading.Thread(target=sync) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(added) == [0, 1000]
    assert Service.objects.count() == 1000


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_repricing_waits_for_a_sync_and_then_sees_what_it_wrote(
    provider: Provider, panel: Panel
) -> None:
    panel.lists(many(3))
    sync_provider(provider)
    counts: list[int] = []

    def reprice_all() -> None:
        counts.append(reprice())
        connection.close()

    thread = threading.Thread(target=reprice_all)
    with transaction.atomic():
        Provider.objects.select_for_update(no_key=True).get()
        Service.objects.update(cost_rate=7)
        thread.start()
        thread.join(timeout=0.3)
        assert thread.is_alive()
    thread.join()

    assert counts == [3]
    assert set(Service.objects.values_list("price_rate", flat=True)) == {Decimal("10.5")}


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_providers_that_name_the_same_new_categories_do_not_block_each_other(
    provider: Provider, panel: Panel
) -> None:
    Provider.objects.create(name="Other", url=panel.url, api_key="k")
    panel.lists(many(600))
    panel.barrier = threading.Barrier(2)
    outcomes: list[str] = []

    def sync(name: str) -> None:
        outcomes.append(sync_provider(Provider.objects.get(name=name)).outcome)
        connection.close()

    threads = [threading.Thread(target=sync, args=[name]) for name in ("Panel", "Other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes == [Outcome.APPLIED, Outcome.APPLIED]
    assert Service.objects.count() == 1200
    assert Category.objects.count() == 300
