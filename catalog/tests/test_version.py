"""The catalogue's state is told by marks that the database leaves, so nothing kept is ever stale."""

import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from catalog import shelves as shelving
from catalog.changing import apply, plan
from catalog.models import Category, CustomerPrice, Favourite, Provider, Service, StockMark
from catalog.services import release, reprice
from catalog.shelves import Shelves, shelves
from catalog.sync import sync_provider
from catalog.tests.panel import Panel, row
from catalog.triggers import install_triggers
from catalog.version import version, version_for
from tests.crowds import multiply


def really() -> list[tuple[str, int]]:
    """What is on sale, counted without anything that is kept."""
    on_sale = Service.objects.on_sale().select_related("category").order_by()
    titles = [each.category.title for each in on_sale]
    visible = Category.objects.order_by("position", "name")
    return [(each.title, titles.count(each.title)) for each in visible if titles.count(each.title)]


def shown(found: Shelves) -> list[tuple[str, int]]:
    return [(each.title, count) for each, count in found.rows]


def save(row: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(row, name, value)
    row.save()


def pin(service: Service) -> int:
    return Service.objects.filter(pk=service.pk).update(pinned_rate=7)


def in_bulk(service: Service, staff: User) -> None:
    apply(plan("Stop", [(service, {"is_sold": False})], staff).pk, staff)


def by_hand(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.fixture
def held(service: Service) -> Service:
    return Service.objects.create(
        provider=service.provider, category=service.category, upstream_id="held", name="Held",
        type="Default", order_type="default", cost_rate=1, price_rate=2, is_held=True,
    )  # fmt: skip


CHANGES: dict[str, Callable[[Service, User], object]] = {
    "a price": lambda service, _: save(service, price_rate=Decimal(3)),
    "a price that is pinned": lambda service, _: (pin(service), reprice()),
    "a name": lambda service, _: save(service, own_name="Renamed"),
    "a hidden category": lambda service, _: save(service.category, is_visible=False),
    "a renamed category": lambda service, _: save(service.category, own_name="Renamed"),
    "a moved category": lambda service, _: save(service.category, position=7),
    "a new category": lambda service, _: save(service, category=Category.objects.create(name="A")),
    "an admin's bulk change": in_bulk,
    "a service on hold": lambda _, __: Service.objects.update(is_held=True),
    "released services": lambda _, staff: release(Service.objects.all(), staff),
    "a provider switched off": lambda service, _: save(service.provider, is_enabled=False),
    "a service that is gone": lambda service, _: service.delete(),
    "a statement by hand": lambda _, __: by_hand("UPDATE catalog_service SET is_present = false"),
    "a time of long ago": lambda _, __: Service.objects.update(
        is_sold=False, changed_at=timezone.now() - timedelta(days=9)
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_another_state_and_seen_at_once(
    service: Service, held: Service, staff: User, name: str
) -> None:
    before = version()
    assert shown(shelves()) == really() == [("Followers", 1)]

    CHANGES[name](service, staff)

    assert version() != before
    assert shown(shelves()) == really()


def test_what_changes_nothing_on_sale_leaves_the_state(service: Service, customer: User) -> None:
    before = version()

    Provider.objects.update(balance=5, catalogue_sha256="other")
    Favourite.objects.create(user=customer, service=service)
    CustomerPrice.objects.create(customer=customer, service=service, rate=1)

    assert version() == before
    assert version_for(customer.pk) == (before, True)


def test_a_sync_is_a_new_state_when_it_writes_and_none_when_it_does_not(
    provider: Provider, panel: Panel
) -> None:
    provider.url = panel.url
    provider.save()
    panel.lists([row(1, category="One"), row(2, category="Two")])
    sync_provider(provider)
    before = version()
    assert shown(shelves()) == [("One", 1), ("Two", 1)]

    panel.lists([row(2, category="Two"), row(1, category="One")])
    sync_provider(provider)
    assert version() == before

    panel.lists([row(1, category="One"), row(2, category="One"), row(3, category="Three")])
    sync_provider(provider)
    assert version() != before
    assert shown(shelves()) == [("One", 2), ("Three", 1)]


def test_a_change_that_is_taken_back_leaves_the_state_it_found(service: Service) -> None:
    before = version()

    class Never(Exception):
        pass

    with suppress(Never), transaction.atomic():
        save(service.category, own_name="Renamed")
        assert shown(shelves()) == [("Renamed", 1)]
        raise Never

    assert version() == before
    assert shown(shelves()) == [("Followers", 1)]


def test_an_unchanged_catalogue_is_not_counted_again(
    service: Service, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(2):
        first = shelves()

    with django_assert_num_queries(1):
        assert shelves() is first

    Service.objects.update(price_rate=3)
    with django_assert_num_queries(2):
        assert shelves() is not first


def test_a_state_that_nobody_knows_is_not_kept(
    service: Service, customer: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    StockMark.objects.all().delete()

    assert version() == ""
    assert version_for(customer.pk) == ("", True)
    for _ in range(2):
        with django_assert_num_queries(2):
            assert shown(shelves()) == [("Followers", 1)]


def test_a_migration_is_a_new_state(service: Service) -> None:
    """What it changed while a table had no triggers is seen."""
    before = version()

    install_triggers()

    assert version() != before
    save(service, name="Another")
    assert StockMark.objects.count() == 1


@pytest.mark.parametrize("address", ["/services/", "/services/?platform=tiktok", "/orders/new/"])
def test_a_page_of_a_known_state_counts_no_services(
    client: Client, customer: User, service: Service, address: str
) -> None:
    client.force_login(customer)
    save(service.category, name="TikTok likes")
    multiply(service, 2_000, {"upstream_id": "'n' || n"})
    client.get(address)

    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200

    asked = [each["sql"] for each in queries.captured_queries if "catalog_service" in each["sql"]]
    assert not [sql for sql in asked if "COUNT(" in sql]
    assert all("LIMIT" in sql for sql in asked)


def test_a_change_of_many_leaves_one_mark(service: Service) -> None:
    multiply(service, 500, {"upstream_id": "'n' || n"})
    Service.objects.update(price_rate=4)

    assert StockMark.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_another_process_sees_and_is_seen(service: Service) -> None:
    """It needs none of our code, and no cache that both have."""
    assert shown(shelves()) == [("Followers", 1)]

    elsewhere("UPDATE catalog_category SET own_name = 'Renamed'")
    assert shown(shelves()) == [("Renamed", 1)]

    elsewhere("UPDATE catalog_service SET is_held = true")
    assert shown(shelves()) == []


def elsewhere(sql: str) -> None:
    """Run a statement in a process that knows nothing but the database."""
    facts = connection.settings_dict
    if connection.vendor == "sqlite":
        opened = f"import sqlite3; c = sqlite3.connect({str(facts['NAME'])!r})"
    else:
        known = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST"}
        named = {name: str(facts[key]) for name, key in known.items() if facts[key]}
        named["port"] = str(facts["PORT"] or 5432)
        opened = f"import psycopg; c = psycopg.connect(**{named!r})"
    program = f"{opened}; c.execute({sql!r}); c.commit()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.fixture
def other(service: Service) -> Service:
    return Service.objects.create(
        provider=service.provider, category=service.category, upstream_id="2", name="Other",
        type="Default", order_type="default", cost_rate=1, price_rate=2,
    )  # fmt: skip


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_changes_at_once_wait_for_nobody_and_each_is_a_new_state(
    service: Service, other: Service
) -> None:
    """The one that began first is committed last: its mark is older than the state that is known."""
    states = [version()]
    changed, release_it = threading.Event(), threading.Event()

    def slowly() -> None:
        with transaction.atomic():
            Service.objects.filter(pk=service.pk).update(is_sold=False)
            changed.set()
            release_it.wait(60)
        connection.close()

    thread = threading.Thread(target=slowly)
    thread.start()
    assert changed.wait(60)
    states.append(version())  # not committed: nothing has changed for anybody else
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '1ms'")
    Service.objects.filter(pk=other.pk).update(own_name="Renamed")
    states.append(version())
    assert shown(shelves()) == [("Followers", 2)]
    release_it.set()
    thread.join()

    states.append(version())
    assert shown(shelves()) == [("Followers", 1)]
    assert states[0] == states[1]
    assert len(set(states)) == 3

    Service.objects.filter(pk=other.pk).update(own_name="Again")
    assert version() not in states
    assert StockMark.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_what_changes_while_it_is_counted_is_counted_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = shelving._counted

    def late() -> Shelves:
        found = counted()
        save(service.category, own_name="Renamed meanwhile")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(shelving, "_counted", late)
        assert shown(shelves()) == [("Followers", 1)]

    assert shown(shelves()) == [("Renamed meanwhile", 1)]
