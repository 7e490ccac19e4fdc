"""Every price change is in the audit log's chain, and `check_audit` sees what SQL did to the history."""

import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts import keeping
from accounts.models import AuditEntry, User
from catalog import chained, changing, history, sync
from catalog.models import BulkChange, HeldChange, Provider, Service, ServiceChange, SyncRun
from catalog.services import reprice
from catalog.tests.panel import Panel, row
from catalog.tests.test_admin import PROVIDER, SERVICES, act, edit_list, page, text
from catalog.tests.test_holds import decide

D = Decimal


@pytest.fixture
def owner(client: Client, staff: User) -> Client:
    client.force_login(staff)
    return client


def checked() -> str:
    out = StringIO()
    try:
        call_command("check_audit", stdout=out, stderr=out)
    except CommandError as exc:
        out.write(f"failed: {exc}")
    return out.getvalue()


def entries() -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(details__has_key=chained.HASH).order_by("number"))


@pytest.fixture
def stocked(provider: Provider, panel: Panel) -> list[Service]:
    """Fifteen services from a sync, and one more sync that changed the cost of twelve."""
    panel.lists(row(number) for number in range(1, 16))
    sync.sync_all()
    assert entries() == []  # what is new has no history yet
    panel.lists(row(number, rate="1.2" if number <= 12 else "1") for number in range(1, 16))
    sync.sync_all()
    return list(Service.objects.order_by("pk"))


def test_a_sync_that_changed_prices_is_one_entry_and_one_that_did_not_is_none(
    stocked: list[Service], panel: Panel
) -> None:
    run = SyncRun.objects.latest("pk")
    entry = entries()[0]
    assert (entry.details["sync_run"], entry.details["services"]) == (run.pk, 12)
    assert (run.audit_number, entry.actor) == (entry.number, None)
    assert entry.target == f"Panel: sync {run.pk}"
    panel.lists(row(number, rate="1.2" if number <= 12 else "1") for number in range(15, 0, -1))
    sync.sync_all()

    assert len(entries()) == 1
    assert chained.record_runs() == 0
    assert "holds: 1 entries" in checked()


def test_a_run_whose_process_died_before_the_log_is_recorded_by_the_next(
    stocked: list[Service], panel: Panel
) -> None:
    panel.lists(row(number, rate="1.4") for number in range(1, 16))
    sync.sync_provider(Provider.objects.get())
    assert len(entries()) == 1

    sync.sync_all()

    assert [entry.details["services"] for entry in entries()] == [12, 15]
    assert "holds" in checked()


CHANGE = "catalog_servicechange"  # a constant, so no statement below is put together from outside


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (f"""UPDATE {CHANGE} SET fields = '{{"price_rate": ["1.5", "9"]}}' WHERE id = (SELECT min(id) FROM {CHANGE})""",
         "the price history of entry 1 was changed"),
        (f"UPDATE {CHANGE} SET at = '2020-01-01 00:00:00+00:00'", "the price history of entry 1 was changed"),
        (f"UPDATE {CHANGE} SET service_id = (SELECT max(id) FROM catalog_service) WHERE id = (SELECT min(id) FROM {CHANGE})",
         "the price history of entry 1 was changed"),
        (f"UPDATE {CHANGE} SET actor_id = (SELECT min(id) FROM accounts_user)", "the price history of entry 1 was changed"),
        (f"DELETE FROM {CHANGE} WHERE id = (SELECT max(id) FROM {CHANGE})",
         "of the 12 changes of services in entry 1, 11 are in the price history"),
        (f"DELETE FROM {CHANGE}", "in entry 1, 0 are in the price history"),
        (f"UPDATE {CHANGE} SET run_id = NULL", "in entry 1, 0 are in the price history"),
        (f"""INSERT INTO {CHANGE} (service_id, fields, at, run_id) SELECT service_id, fields, at, run_id
             FROM {CHANGE} ORDER BY id LIMIT 1""", "in entry 1, 13 are in the price history"),
    ],
)  # fmt: skip
def test_an_edit_of_the_price_history_by_sql_is_found(
    stocked: list[Service], staff: User, damage: str, found: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(damage)

    assert found in checked()
    assert "failed" in checked()


def edit_in_list(owner: Client, service: Service) -> None:
    edit_list(owner, SERVICES, [{"id": service.pk, "pinned_rate": "4", "is_sold": "on"}])


def edit_category(owner: Client, service: Service) -> None:
    owner.post(page(service.category), {"position": 0, "is_visible": "on", "markup_percent": "80"})


def edit_provider(owner: Client, service: Service) -> None:
    form = {**PROVIDER, "url": "https://a.example.com", "exchange_rate": "2"}
    assert owner.post(page(service.provider), form).status_code == 302


def edit_site(owner: Client, service: Service) -> None:
    owner.post("/admin/catalog/siterules/", {"markup_percent": "70"})


def change_many_and_undo(owner: Client, service: Service) -> None:
    owner.post(
        SERVICES,
        {"action": "plan_change", "_selected_action": [service.pk], "operation": "markup",
         "planned": "yes", "number": "90"},
    )  # fmt: skip
    bulk = BulkChange.objects.get()
    act(owner, bulk, "apply")
    act(owner, bulk, "undo")


def release(owner: Client, service: Service) -> None:
    Service.objects.filter(pk=service.pk).update(is_held=True)
    form = {"action": "release_held", "_selected_action": [service.pk], "confirmed": "yes"}
    owner.post(SERVICES, form)


@pytest.mark.parametrize(
    "change",
    [edit_in_list, edit_category, edit_provider, edit_site, change_many_and_undo, release],
)
def test_what_people_change_is_in_the_log_with_every_row_of_the_history(
    owner: Client, staff: User, service: Service, change: Callable[[Client, Service], None]
) -> None:
    change(owner, service)

    rows = list(ServiceChange.objects.order_by("pk"))
    assert rows
    assert {row.audit_number for row in rows} == {entry.number for entry in entries()}
    assert {entry.actor for entry in entries()} == {staff}
    named = {name for entry in entries() for name in entry.details}
    assert {f"{service.pk} {name}" for row in rows for name in row.fields} <= named
    assert "holds" in checked()
    listed = text(owner.get("/admin/accounts/auditentry/"))
    assert f"{service.pk} {next(iter(rows[-1].fields))}" in listed
    assert chained.HASH not in listed

    ServiceChange.objects.filter(pk=rows[-1].pk).delete()
    assert "of the 1 changes of services in entry" in checked()


def test_a_held_change_that_is_accepted_is_in_the_log(
    owner: Client, stocked: list[Service], panel: Panel
) -> None:
    Provider.objects.update(hold_cost_up=50)
    panel.lists(row(number, rate="9" if number == 1 else "1") for number in range(1, 16))
    sync.sync_all()
    assert HeldChange.objects.filter(state="open").count() == 1
    decide(owner, "accept")

    entry = entries()[-1]
    assert entry.details[f"{stocked[0].pk} cost_rate"] == ["1.2", "9"]
    assert "holds" in checked()


def test_history_that_was_forgotten_on_purpose_is_not_missed(
    stocked: list[Service], settings: Settings
) -> None:
    settings.PRICE_HISTORY_DAYS = 10
    history.write(
        [(stocked[0].pk, {"price_rate": ["1", "2"]})], history.Cause(),
        at=timezone.now() - timedelta(days=11),
    )  # fmt: skip
    assert history.prune(timezone.now()) == 1
    assert "holds: 3 entries" in checked()

    ServiceChange.objects.all().delete()
    assert "of the 12 changes of services in entry 1, 0 are" in checked()
    assert "entry 2" not in checked()


def test_a_forgetting_that_was_cut_short_is_not_missed_and_gone_on_with(
    stocked: list[Service], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PRICE_HISTORY_DAYS = 10
    monkeypatch.setattr(keeping, "CHUNK", 2)
    long_ago = timezone.now() - timedelta(days=11)
    for number in range(5):
        rows = [(stocked[number].pk, {"price_rate": ["1", "2"]})]
        history.write(rows, history.Cause(), at=long_ago)
    left = keeping.delete_in_parts

    def die(rows: Any, most: int | None) -> int:
        left(rows, most=2)
        raise KeyboardInterrupt

    monkeypatch.setattr(history, "delete_in_parts", die)
    with pytest.raises(KeyboardInterrupt):
        history.prune(timezone.now())
    assert ServiceChange.objects.filter(at=long_ago).count() == 3
    assert "holds" in checked()

    monkeypatch.setattr(history, "delete_in_parts", left)
    with CaptureQueriesContext(connection) as asked:
        assert history.prune(timezone.now()) == 3
    assert sum(each["sql"].startswith("DELETE") for each in asked.captured_queries) == 2
    assert "holds" in checked()


def in_threads(*works: Callable[[], Any]) -> list[BaseException]:
    """Do all of it at once; what went wrong."""
    wrong: list[BaseException] = []
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], Any]) -> None:
        try:
            barrier.wait(timeout=60)
            work()
        except BaseException as exc:  # noqa: BLE001 - a thread's boundary
            wrong.append(exc)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_people_and_syncs_that_change_prices_at_once_do_not_block_each_other_for_ever(
    panel: Panel, provider: Provider, staff: User
) -> None:
    """Two lists edited in opposite order, a rule, a bulk change and a sync, over two providers."""
    other = Provider.objects.create(name="Other", url=panel.url, api_key="k", hold_cost_up=None)  # type: ignore[misc]
    panel.lists(row(number, category=f"C{number % 2}") for number in range(1, 7))
    sync.sync_all()
    services = list(Service.objects.order_by("pk"))
    bulk = changing.plan(
        "m", [(each, {"margin_min": D(20)}) for each in changing.services_by_number(
            service.pk for service in services)], staff,
    )  # fmt: skip
    panel.lists(row(number, category=f"C{number % 2}", rate="1.3") for number in range(1, 7))

    def edit(rows: list[Service], pinned: str) -> None:
        client = Client(raise_request_exception=True)
        client.force_login(staff)
        form = [{"id": each.pk, "pinned_rate": pinned, "is_sold": "on"} for each in rows]
        assert edit_list(client, SERVICES, form).status_code == 302

    wrong = in_threads(
        lambda: edit(services, "5"),
        lambda: edit(services[::-1], "6"),
        lambda: reprice(Service.objects.filter(category=services[0].category)),
        lambda: changing.apply(bulk.pk, staff),
        lambda: sync.sync_provider(Provider.objects.get(pk=other.pk)),
        sync.sync_all,
    )

    assert wrong == []
    sync.sync_all()
    assert "holds" in checked()


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_run_is_recorded_once_by_two_at_once(stocked: list[Service], panel: Panel) -> None:
    panel.lists(row(number, rate="1.4") for number in range(1, 16))
    sync.sync_provider(Provider.objects.get())

    assert in_threads(chained.record_runs, chained.record_runs) == []
    assert len(entries()) == 2
    assert "holds: 2 entries" in checked()
