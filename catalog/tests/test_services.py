from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models import User
from catalog.models import Category, Provider, Service
from catalog.services import ensure_first_provider, release, reprice
from catalog.sync import sync_provider
from catalog.tests.panel import Panel, row
from catalog.tests.test_sync import Outcome, on_sale, state


@pytest.fixture
def upstream(settings: Settings) -> Settings:
    settings.UPSTREAM_API_URL = "https://panel.example/api/v2"
    settings.UPSTREAM_API_KEY = "the-key"
    return settings


@pytest.fixture
def three(provider: Provider, panel: Panel) -> Provider:
    """A provider with three services at cost 1, sold at 1.5."""
    panel.lists([row(1), row(2), row(3, category="Likes")])
    sync_provider(provider)
    return provider


def prices() -> dict[str, Decimal]:
    return {one: found["price_rate"] for one, found in state().items()}


@pytest.mark.django_db
def test_the_environment_makes_the_first_provider_once(upstream: Settings) -> None:
    first, second = ensure_first_provider(), ensure_first_provider()

    assert first is not None
    assert first == second
    assert Provider.objects.count() == 1
    made = Provider.objects.get()
    assert (made.name, made.url) == ("panel.example", "https://panel.example/api/v2")
    assert (made.api_key, made.currency) == ("the-key", "USD")


@pytest.mark.django_db
def test_without_the_variable_there_is_no_first_provider() -> None:
    assert ensure_first_provider() is None
    assert Provider.objects.count() == 0


def test_an_admin_s_providers_are_left_alone(provider: Provider, upstream: Settings) -> None:
    assert ensure_first_provider() is None
    assert Provider.objects.get() == provider


def test_what_an_admin_changed_on_the_first_provider_stays(upstream: Settings, db: None) -> None:
    ensure_first_provider()
    Provider.objects.update(name="Main", markup_percent=5, is_enabled=False)

    found = ensure_first_provider()

    assert found is not None
    assert (found.name, found.markup_percent, found.is_enabled) == ("Main", 5, False)


@pytest.mark.parametrize(
    ("model", "changed", "expected"),
    [
        (Service, {"markup_percent": "100"}, {"1": "2", "2": "2", "3": "2"}),
        (Service, {"pinned_rate": "7"}, {"1": "7", "2": "7", "3": "7"}),
        (Service, {"pinned_rate": "0.1"}, {"1": "1", "2": "1", "3": "1"}),
        (Category, {"markup_percent": "10"}, {"1": "1.1", "2": "1.1", "3": "1.1"}),
        (Provider, {"markup_percent": "20"}, {"1": "1.2", "2": "1.2", "3": "1.2"}),
        (Provider, {"exchange_rate": "0.5"}, {"1": "0.75", "2": "0.75", "3": "0.75"}),
    ],
)
def test_prices_follow_what_they_are_made_of(
    three: Provider, model: Any, changed: dict[str, str], expected: dict[str, str]
) -> None:
    model.objects.update(**changed)

    assert reprice() == 3

    assert prices() == {one: Decimal(price) for one, price in expected.items()}
    assert reprice() == 0


def test_only_what_changed_is_written(three: Provider) -> None:
    before = state()
    Category.objects.filter(name="Likes").update(markup_percent=0)

    with CaptureQueriesContext(connection) as queries:
        assert reprice() == 1

    after = state()
    # The site's rules and the history included; the audit log's entry is besides.
    assert len([each for each in queries if "catalog_" in each["sql"]]) <= 5
    assert [one for one in after if after[one] != before[one]] == ["3"]
    assert after["3"]["changed_at"] > before["3"]["changed_at"]


def test_only_the_given_services_are_repriced(three: Provider) -> None:
    Service.objects.update(markup_percent=100)

    assert reprice(Service.objects.filter(category__name="Likes")) == 1

    assert prices() == {"1": Decimal("1.5"), "2": Decimal("1.5"), "3": 2}


def test_a_sync_after_repricing_finds_nothing_to_do(three: Provider) -> None:
    Provider.objects.update(exchange_rate=3)
    assert reprice() == 3

    assert sync_provider(Provider.objects.get()).outcome == Outcome.UNCHANGED
    assert set(prices().values()) == {Decimal("4.5")}


def test_a_price_that_does_not_fit_takes_off_sale_until_it_fits(three: Provider) -> None:
    Provider.objects.update(exchange_rate=99_999_999)
    assert reprice() == 3
    assert on_sale() == set()

    Provider.objects.update(exchange_rate=1)
    assert reprice() == 3
    assert on_sale() == {"1", "2", "3"}


def test_a_refused_service_gets_no_price_from_repricing(provider: Provider, panel: Panel) -> None:
    panel.lists([row(1, rate=0), row(2, type="Special")])
    sync_provider(provider)
    Service.objects.update(pinned_rate=5)

    reprice()

    assert prices() == {"1": 0, "2": 5}
    assert on_sale() == set()


def test_releasing_puts_on_sale_what_is_listed(three: Provider, staff: User) -> None:
    Service.objects.update(is_held=True)
    Service.objects.filter(upstream_id="3").update(is_present=False)

    assert release(Service.objects.all(), staff) == 2

    assert on_sale() == {"1", "2"}
    assert Service.objects.get(upstream_id="3").is_held
    assert release(Service.objects.all(), staff) == 0
