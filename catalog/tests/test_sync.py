import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from catalog.models import Category, Provider, Service, SyncRun
from catalog.services import forget_lists
from catalog.sync import sync_all, sync_provider
from catalog.tests.panel import Panel, listening, row

Outcome = SyncRun.Outcome


def state() -> dict[str, dict[str, Any]]:
    """Everything stored of every service, by upstream ID."""
    return {found["upstream_id"]: dict(found) for found in Service.objects.values()}


def writes(queries: CaptureQueriesContext) -> list[str]:
    """The statements that write services."""
    return [
        query["sql"]
        for query in queries
        if query["sql"].startswith(("INSERT INTO", "UPDATE", "DELETE"))
        and "catalog_service" in query["sql"]
    ]


def on_sale() -> set[str]:
    return set(Service.objects.on_sale().values_list("upstream_id", flat=True))


def test_new_services_go_on_sale_at_cost_plus_markup(provider: Provider, panel: Panel) -> None:
    panel.lists([row(1, rate="0.9", description="Fast"), row(2, type="package")])

    run = sync_provider(provider)

    assert (run.outcome, run.added, run.refused) == (Outcome.APPLIED, 2, 0)
    assert on_sale() == {"1", "2"}
    made = Service.objects.get(upstream_id="1")
    assert (made.cost_rate, made.price_rate) == (Decimal("0.9"), Decimal("1.35"))
    assert (made.name, made.description, made.category.name) == ("Followers 1", "Fast", "Followers")
    assert (made.min_quantity, made.max_quantity) == (10, 1000)
    assert (made.refill, made.cancel, made.dripfeed) == (True, False, True)
    assert Service.objects.get(upstream_id="2").order_type == "package"


def test_a_provider_that_holds_new_services_sells_none_until_release(
    provider: Provider, panel: Panel
) -> None:
    Provider.objects.update(holds_new_services=True)
    panel.lists([row(1)])

    sync_provider(provider)

    assert on_sale() == set()
    assert Service.objects.get().is_held


def test_the_identical_list_is_recognised_by_its_hash(provider: Provider, panel: Panel) -> None:
    panel.lists([row(1), row(2)])
    sync_provider(provider)

    with CaptureQueriesContext(connection) as queries:
        run = sync_provider(Provider.objects.get())

    assert run.outcome == Outcome.UNCHANGED
    assert len(queries) == 3  # ours above, the site's price rules, and the record of the run


def test_the_same_list_in_other_words_writes_nothing(provider: Provider, panel: Panel) -> None:
    panel.lists([row(1), row(2)])
    sync_provider(provider)
    before = state()
    panel.lists([dict(reversed(row(at).items())) for at in (1, 2)])

    with CaptureQueriesContext(connection) as queries:
        run = sync_provider(provider)

    assert run.outcome == Outcome.UNCHANGED
    assert len(queries) <= 3
    assert writes(queries) == []
    assert state() == before


def reads(queries: CaptureQueriesContext) -> bool:
    """Whether any service was looked at."""
    return any('"catalog_service"' in query["sql"] for query in queries)


def test_a_list_in_another_order_is_known_without_looking_at_a_service(
    provider: Provider, panel: Panel
) -> None:
    rows = [row(at, average_time=at) for at in (1, 2, 3)]
    panel.lists(rows)
    sync_provider(provider)
    panel.lists([row(at) for at in (3, 1, 2)])

    for most in (4, 3):  # the second time its bytes are known too
        with CaptureQueriesContext(connection) as queries:
            run = sync_provider(Provider.objects.get())
        assert run.outcome == Outcome.UNCHANGED
        assert len(queries) == most
        assert not reads(queries)
    panel.lists([*rows[:2], row(3, rate="1.01")])
    assert sync_provider(Provider.objects.get()).changed == 1


def compact(*rows: dict[str, Any]) -> bytes:
    """As PHP panels write it."""
    return json.dumps(rows, separators=(",", ":")).encode()


def test_the_same_rows_in_another_order_are_known_by_their_texts(
    provider: Provider, panel: Panel
) -> None:
    rows = [row(1), row(2), row(3)]
    panel.answers(compact(*rows))
    sync_provider(provider)
    applied = Provider.objects.get()
    assert applied.rows_sha256

    panel.answers(compact(*rows[::-1]))
    assert sync_provider(Provider.objects.get()).outcome == Outcome.UNCHANGED

    known = Provider.objects.get()
    assert known.catalogue_sha256 != applied.catalogue_sha256
    assert known.rows_sha256 == applied.rows_sha256
    assert known.contents_sha256 == applied.contents_sha256
    panel.lists(rows)  # the same with blanks between them: told by what it says
    assert sync_provider(Provider.objects.get()).outcome == Outcome.UNCHANGED
    assert Provider.objects.get().rows_sha256 == ""
    panel.answers(compact(row(1, rate="1.01"), *rows[1:]))
    assert sync_provider(Provider.objects.get()).changed == 1


def test_another_order_of_an_id_that_is_listed_twice_is_another_list(
    provider: Provider, panel: Panel
) -> None:
    rows = [row(1, rate="1.00"), row(1, rate="2.00"), row(2)]
    panel.answers(compact(*rows))
    sync_provider(provider)

    panel.answers(compact(rows[1], rows[0], rows[2]))

    assert sync_provider(Provider.objects.get()).changed == 1
    assert Service.objects.get(upstream_id="1").cost_rate == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"exchange_rate": Decimal(2)},
        {"markup_percent": Decimal(7)},
        {"sync_names": False},
        {"hold_cost_up": Decimal(3)},
        {"hold_vanishing": Decimal(3)},
        {"hold_renamed": True},
    ],
)
def test_what_a_list_is_judged_by_is_part_of_knowing_it(
    provider: Provider, panel: Panel, changed: dict[str, Any]
) -> None:
    panel.lists([row(1), row(2)])
    sync_provider(provider)
    Provider.objects.update(**changed)

    for rows in ([row(1), row(2)], [row(2), row(1)]):
        Provider.objects.update(catalogue_sha256=provider.catalogue_sha256)
        panel.lists(rows)
        with CaptureQueriesContext(connection) as queries:
            sync_provider(Provider.objects.get())
        assert reads(queries)
        Provider.objects.update(contents_sha256=provider.contents_sha256)


def test_a_list_that_was_not_applied_is_not_known(provider: Provider, panel: Panel) -> None:
    panel.lists([row(at) for at in range(1, 11)])
    sync_provider(provider)
    panel.lists([row(1), row(2)])
    assert sync_provider(Provider.objects.get()).outcome == Outcome.REFUSED
    panel.lists([row(2), row(1)])
    assert sync_provider(Provider.objects.get()).outcome == Outcome.REFUSED

    assert sync_provider(Provider.objects.get(), accepts_short=True).vanished == 8


def test_a_service_that_follows_its_provider_again_does_so_at_the_next_sync(
    provider: Provider, panel: Panel
) -> None:
    panel.lists([row(1), row(2)])
    sync_provider(provider)
    own = Category.objects.create(name="Own")
    mine = Service.objects.filter(upstream_id="1")
    mine.update(category=own, keeps_category=True)
    assert sync_provider(Provider.objects.get()).outcome == Outcome.UNCHANGED
    assert mine.get().category == own

    mine.update(keeps_category=False)
    forget_lists(mine)

    assert sync_provider(Provider.objects.get()).changed == 1
    assert mine.get().category.name == "Followers"


def test_who_asks_for_a_comparison_while_a_list_is_written_is_heard(
    provider: Provider, panel: Panel
) -> None:
    panel.lists([row(1), row(2)])
    sync_provider(provider)
    panel.lists([row(1), row(2, rate="1.01")])
    current = Provider.objects.get()

    sync_provider(current, report=lambda _: forget_lists(Service.objects.all()))

    assert Provider.objects.get().catalogue_sha256 == ""


def test_the_list_that_is_known_is_the_one_that_was_applied_last(
    provider: Provider, panel: Panel
) -> None:
    """One sync waits for its turn while another reads a list that the provider then goes back to."""
    panel.lists([row(1), row(2)])
    sync_provider(provider)
    waiting = Provider.objects.get()
    panel.lists([row(1, rate="2"), row(2)])
    sync_provider(Provider.objects.get())
    panel.lists([row(1, rate="1.2"), row(2)])
    assert sync_provider(waiting).changed == 1

    panel.lists([row(1, rate="2"), row(2)])

    assert sync_provider(Provider.objects.get()).changed == 1
    assert Service.objects.get(upstream_id="1").cost_rate == 2


def test_a_list_that_was_applied_under_other_settings_than_it_was_asked_for_is_not_known(
    provider: Provider, panel: Panel
) -> None:
    panel.lists([row(1), row(2)])
    sync_provider(provider)
    waiting = Provider.objects.get()
    Provider.objects.update(sync_names=False)
    panel.lists([row(1, name="Followers, new"), row(2)])
    sync_provider(waiting)

    Provider.objects.update(sync_names=True)

    assert sync_provider(Provider.objects.get()).changed == 1


@pytest.mark.parametrize(
    ("setting", "bad", "now"),
    [
        ("sync_limits", {"min": "1000", "max": "10"}, {"min_quantity": 10, "max_quantity": 1000}),
        ("sync_names", {"name": ""}, {"name": "Followers 1"}),
        ("sync_names", {"name": "-----"}, {"name": "Followers 1"}),
        ("sync_names", {"name": "", "max": "1"}, {"name": "Followers 1", "max_quantity": 1000}),
    ],
)
def test_what_kept_a_service_from_being_sold_follows_the_provider_in_any_case(
    provider: Provider, panel: Panel, setting: str, bad: dict[str, Any], now: dict[str, Any]
) -> None:
    Provider.objects.update(**{setting: False})
    panel.lists([row(1, **bad), row(2)])
    sync_provider(Provider.objects.get())
    assert on_sale() == {"2"}

    panel.lists([row(1), row(2)])

    assert sync_provider(Provider.objects.get()).changed == 1
    assert on_sale() == {"1", "2"}
    assert Service.objects.filter(upstream_id="1", **now).exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "Likes"},
        {"category": "Likes"},
        {"type": "Package"},
        {"min": 11},
        {"max": "2 000"},
        {"refill": "false"},
        {"cancel": 1},
        {"dripfeed": None},
        {"description": "New"},
        {"rate": "1.01"},
    ],
)
def test_one_changed_fact_writes_one_row(
    provider: Provider, panel: Panel, changed: dict[str, Any]
) -> None:
    panel.lists([row(1), row(2)])
    sync_provider(provider)
    before = state()
    panel.lists([row(1), row(2) | changed])

    run = sync_provider(provider)

    after = state()
    assert (run.outcome, run.added, run.changed, run.vanished) == (Outcome.APPLIED, 0, 1, 0)
    assert run.repriced == (1 if "rate" in changed else 0)
    assert after["1"] == before["1"]
    assert after["2"]["changed_at"] > before["2"]["changed_at"]


def test_a_vanished_service_goes_off_sale_and_stays_in_the_table(
    provider: Provider, panel: Panel
) -> None:
    panel.lists(row(at) for at in range(1, 11))
    sync_provider(provider)
    panel.lists(row(at) for at in range(1, 10))

    run = sync_provider(provider)

    assert (run.vanished, run.changed, run.added) == (1, 0, 0)
    assert "10" not in on_sale()
    assert not Service.objects.get(upstream_id="10").is_present
    assert sync_provider(provider).outcome == Outcome.UNCHANGED


def test_a_returned_service_waits_for_a_human(provider: Provider, panel: Panel) -> None:
    panel.lists(row(at) for at in range(1, 11))
    sync_provider(provider)
    panel.lists(row(at) for at in range(1, 10))
    sync_provider(provider)
    # However it was taken off the list, coming back is what needs someone.
    Service.objects.filter(upstream_id="10").update(is_held=False)
    panel.lists([*(row(at) for at in range(1, 10)), row(10, rate="2")])

    run = sync_provider(provider)

    back = Service.objects.get(upstream_id="10")
    assert (run.returned, run.changed, run.repriced, run.added) == (1, 1, 1, 0)
    assert (back.is_present, back.is_held, back.price_rate) == (True, True, 3)
    assert "10" not in on_sale()


def test_what_the_admin_edited_survives_every_sync(provider: Provider, panel: Panel) -> None:
    panel.lists([row(at) for at in range(1, 5)])
    sync_provider(provider)
    edited: dict[str, Any] = {
        "own_name": "Ours",
        "own_description": "Our words",
        "markup_percent": Decimal("10.000"),
        "pinned_rate": Decimal("9.0000000"),
        "is_sold": False,
        "is_held": True,
    }
    Service.objects.filter(upstream_id="1").update(**edited)
    heading: dict[str, Any] = {"own_name": "Top", "position": 5, "is_visible": False}
    Category.objects.update(**heading, markup_percent=Decimal("20.000"))
    everything: dict[str, Any] = {"name": "New", "rate": "3", "min": 5, "refill": False}
    panel.lists([row(1, **everything), *(row(at, rate="2") for at in range(2, 5))])

    sync_provider(provider)

    after = state()["1"]
    assert {name: after[name] for name in edited} == edited
    assert (after["name"], after["cost_rate"], after["price_rate"]) == ("New", 3, 9)
    assert Service.objects.get(upstream_id="2").price_rate == Decimal("2.4")
    assert Category.objects.filter(**heading).count() == 1


def test_a_known_row_that_is_no_longer_usable_goes_off_sale_with_its_reason(
    provider: Provider, panel: Panel
) -> None:
    panel.lists(row(at) for at in range(1, 11))
    sync_provider(provider)
    panel.lists([*(row(at) for at in range(1, 10)), row(10, rate="0")])

    run = sync_provider(provider)

    assert (run.changed, run.repriced, run.vanished, run.refused) == (1, 0, 0, 1)
    assert run.refused_rows == [["10", "Followers 10", "rate is zero or negative"]]
    assert "10" not in on_sale()
    assert Service.objects.get(upstream_id="10").refusal == "rate_zero"

    panel.lists(row(at) for at in range(1, 11))
    sync_provider(provider)
    assert "10" in on_sale()


def test_a_new_row_that_is_not_usable_is_kept_for_staff_to_see(
    provider: Provider, panel: Panel
) -> None:
    panel.lists([row(1), row(2, type="Special"), row(3, min=10, max=5), row(1, name="Again")])

    run = sync_provider(provider)

    assert (run.added, run.refused) == (3, 3)
    assert on_sale() == {"1"}
    assert {one["refusal"] for one in state().values()} == {"", "type", "limits"}


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        (b"[]", 200, Outcome.REFUSED),
        (b"{}", 200, Outcome.REFUSED),
        (b'{"status":"success","data":"Empty Data"}', 200, Outcome.REFUSED),
        (b'[{"name":"no id"},{"name":"none either"}]', 200, Outcome.REFUSED),
        (b'{"error":"Invalid API key"}', 200, Outcome.FAILED),
        (b'{"error":"Invalid API key"}', 401, Outcome.FAILED),
        (b"", 200, Outcome.FAILED),
        (b"null", 200, Outcome.FAILED),
        (b"<html>maintenance</html>", 200, Outcome.FAILED),
        (b"[]", 503, Outcome.FAILED),
        (b'[{"service":1,"na', 200, Outcome.FAILED),
        (b"[" * 100_000, 200, Outcome.FAILED),
        (b'[{"service":1,"rate":NaN}]', 200, Outcome.FAILED),
    ],
)
def test_no_list_or_an_empty_one_changes_nothing(
    provider: Provider, panel: Panel, body: bytes, status: int, outcome: str
) -> None:
    panel.lists([row(1), row(2)])
    sync_provider(provider)
    before, known = state(), provider.catalogue_sha256
    panel.answers(body, status)

    run = sync_provider(provider)

    assert run.outcome == outcome
    assert run.note
    assert "key-of-the-fixture" not in run.note
    assert state() == before
    provider.refresh_from_db()
    assert provider.catalogue_sha256 == known


def test_a_provider_that_does_not_answer_fails_without_an_exception(provider: Provider) -> None:
    provider.url = "http://127.0.0.1:9/api/v2"

    run = sync_provider(provider)

    assert run.outcome == Outcome.FAILED
    assert run.note.startswith("The provider could not be reached")
    assert run.finished_at is not None


@pytest.mark.parametrize(("left", "outcome"), [(6, Outcome.REFUSED), (7, Outcome.APPLIED)])
def test_a_list_of_less_than_seventy_percent_is_refused(
    provider: Provider, panel: Panel, left: int, outcome: str
) -> None:
    panel.lists(row(at) for at in range(1, 11))
    sync_provider(provider)
    before = state()
    panel.lists(row(at, rate="5") for at in range(1, left + 1))

    run = sync_provider(provider)

    assert run.outcome == outcome
    assert (state() == before) == (outcome == Outcome.REFUSED)
    assert run.note.startswith("Only 6 of 10 services" if outcome == Outcome.REFUSED else "")


def test_as_many_rows_of_other_services_are_as_suspect_as_a_short_list(
    provider: Provider, panel: Panel
) -> None:
    panel.lists(row(at) for at in range(1, 11))
    sync_provider(provider)
    panel.lists(row(at) for at in range(5, 15))

    assert sync_provider(provider).outcome == Outcome.REFUSED

    panel.lists(row(at, rate="0" if at < 5 else "1") for at in range(1, 11))
    assert sync_provider(provider).outcome == Outcome.REFUSED
    assert len(on_sale()) == 10


def test_a_short_list_is_applied_when_someone_says_so(provider: Provider, panel: Panel) -> None:
    panel.lists(row(at) for at in range(1, 11))
    sync_provider(provider)
    panel.lists([row(1)])

    run = sync_provider(provider, accepts_short=True)

    assert (run.outcome, run.vanished) == (Outcome.APPLIED, 9)
    assert on_sale() == {"1"}


def test_another_exchange_rate_or_markup_reprices_the_identical_list(
    provider: Provider, panel: Panel, settings: Settings
) -> None:
    panel.lists([row(1), row(2)])
    sync_provider(provider)
    Provider.objects.update(exchange_rate="1.5")

    first = sync_provider(Provider.objects.get())
    settings.MARKUP_PERCENT = Decimal(100)
    second = sync_provider(Provider.objects.get())

    assert (first.repriced, first.changed) == (2, 0)
    assert (second.repriced, second.changed) == (2, 0)
    assert {one["price_rate"] for one in state().values()} == {Decimal(3)}


def test_a_price_too_high_to_be_stored_takes_the_service_off_sale(
    provider: Provider, panel: Panel
) -> None:
    Provider.objects.update(exchange_rate=25_000)
    panel.lists([row(1, rate="5000"), row(2)])

    run = sync_provider(Provider.objects.get())

    assert on_sale() == {"2"}
    assert run.refused_rows == [["1", "Followers 1", "rate is absurdly high"]]

    Provider.objects.update(exchange_rate=1)
    assert sync_provider(Provider.objects.get()).outcome == Outcome.APPLIED
    assert on_sale() == {"1", "2"}


def test_two_providers_may_use_the_same_ids_and_share_categories(
    provider: Provider, panel: Panel
) -> None:
    panel.lists([row(1), row(2)])
    other = Provider.objects.create(name="Other", url=panel.url, api_key="another")

    sync_provider(provider)
    run = sync_provider(other)

    assert (run.added, run.changed) == (2, 0)
    assert Service.objects.count() == 4
    assert Category.objects.count() == 1


def test_one_failing_provider_does_not_stop_the_others(provider: Provider, panel: Panel) -> None:
    panel.lists([row(1)])
    with listening() as broken:
        broken.answers(b"oops", 500)
        Provider.objects.create(name="Broken", url=broken.url, api_key="k")
        Provider.objects.create(name="Off", url=broken.url, api_key="k", is_enabled=False)

        runs = sync_all()

    assert [(run.provider.name, run.outcome) for run in runs] == [
        ("Broken", Outcome.FAILED),
        ("Panel", Outcome.APPLIED),
    ]


def test_a_run_tells_when_it_started_and_finished(provider: Provider, panel: Panel) -> None:
    panel.lists([row(1)])

    run = sync_provider(provider)

    run.refresh_from_db()
    assert run.finished_at is not None
    assert dt.timedelta(0) < run.finished_at - run.started_at < dt.timedelta(minutes=1)


def test_a_list_is_kept_in_the_provider_s_order(provider: Provider, panel: Panel) -> None:
    panel.lists([row(3), row(1), row(2)])

    sync_provider(provider)

    assert [one.upstream_id for one in Service.objects.all()] == ["3", "1", "2"]


def test_progress_is_reported(provider: Provider, panel: Panel) -> None:
    panel.lists([row(1), row(2)])
    said: list[str] = []

    sync_provider(provider, report=said.append)

    assert said == ["Fetching the list of Panel", "2 services listed", "Writing 2 services"]
