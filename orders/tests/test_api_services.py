"""`services`: from a prepared body, exact after every change of what is on sale."""

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest
from django.conf import LazySettings
from django.core.cache import cache
from django.http import HttpResponse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from catalog.models import (
    Category,
    CustomerGroup,
    CustomerPrice,
    GroupMember,
    Provider,
    Service,
)
from catalog.services import release, reprice
from catalog.version import version
from orders import price_list
from orders.models import Order
from orders.tests.api_world import URL, Program


@pytest.fixture
def program(customer: User, service: Service) -> Program:
    return Program(customer)


def ask(program: Program, **headers: str) -> HttpResponse:
    response: Any = program.client.post(
        URL, {"key": program.secret, "action": "services"}, headers=headers
    )
    return response  # type: ignore[no-any-return]


def test_a_row_has_the_fields_and_types_of_the_document(program: Program, service: Service) -> None:
    assert program("services") == [
        {
            "service": service.pk,
            "name": "Followers, fast",
            "type": "Default",
            "category": "Followers",
            "rate": "2",
            "min": "10",
            "max": "10000",
            "refill": True,
            "cancel": True,
        }
    ]


def test_drip_feed_is_told_where_there_is_some(program: Program) -> None:
    Service.objects.update(dripfeed=True, changed_at=timezone.now())

    assert program("services")[0]["dripfeed"] is True


def test_the_price_is_the_customers_and_nothing_of_the_provider_is_told(
    program: Program, service: Service
) -> None:
    Service.objects.update(
        price_rate=Decimal("0.0000001"), cost_rate=Decimal("0.0000001"), changed_at=timezone.now()
    )

    answer = ask(program).content.decode()

    assert json.loads(answer)[0]["rate"] == "0.0000001"
    assert service.provider.name not in answer
    assert service.provider.url not in answer


def test_names_are_those_that_the_site_shows(program: Program, service: Service) -> None:
    service.own_name = "Ünlü takipçi 🚀"
    service.save()
    category = service.category
    category.own_name = "Own heading"
    category.save()

    row = program("services")[0]

    assert (row["name"], row["category"]) == ("Ünlü takipçi 🚀", "Own heading")


def changes(program: Program, service: Service) -> dict[str, Callable[[], object]]:
    def save(row: Any, **values: object) -> Callable[[], None]:
        def change() -> None:
            for name, value in values.items():
                setattr(row, name, value)
            row.save()

        return change

    held = Service.objects.create(
        provider=service.provider, category=service.category, upstream_id="2", name="Held",
        type="Default", order_type="default", cost_rate=1, price_rate=2, is_held=True,
    )  # fmt: skip
    return {
        "a pinned price": lambda: (save(service, pinned_rate=Decimal(3))(), reprice()),
        "a released service": lambda: release(Service.objects.filter(pk=held.pk), None),
        "a name": save(service, own_name="Renamed"),
        "a limit": save(service, max_quantity=77),
        "a heading": save(service.category, own_name="Renamed"),
        "a hidden heading": save(service.category, is_visible=False),
        "a provider switched off": save(service.provider, is_enabled=False),
        "a service taken off sale in bulk": lambda: Service.objects.update(is_sold=False),
        "a service that a provider does not know": lambda: Service.objects.update(is_held=True),
    }


@pytest.mark.parametrize(
    "name",
    [
        "a pinned price",
        "a released service",
        "a name",
        "a limit",
        "a heading",
        "a hidden heading",
        "a provider switched off",
        "a service taken off sale in bulk",
        "a service that a provider does not know",
    ],
)
def test_the_next_answer_after_a_change_is_exact(
    program: Program, service: Service, name: str
) -> None:
    change = changes(program, service)[name]
    before = program("services")

    change()

    after = program("services")
    assert after != before
    assert after == price_list.rows()


def test_a_change_committed_behind_a_later_one_is_seen(program: Program, service: Service) -> None:
    """A long sync writes the time at which it began."""
    began = timezone.now()
    other = Service.objects.create(
        provider=service.provider, category=service.category, upstream_id="2", name="Other",
        type="Default", order_type="default", cost_rate=1, price_rate=2,
    )  # fmt: skip
    before = version()

    Service.objects.filter(pk=service.pk).update(price_rate=9, changed_at=began)

    assert other.changed_at > began
    assert version() != before


def test_without_a_change_the_version_stays(program: Program, service: Service) -> None:
    before = version()

    Provider.objects.update(balance=5)
    Category.objects.create(name="Empty and hidden", is_visible=False)

    assert isinstance(before, str)
    assert version() == version()


def test_the_list_comes_prepared_with_two_queries_however_long_it_is(
    program: Program, service: Service, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    Service.objects.bulk_create(
        Service(
            provider=service.provider, category=service.category, upstream_id=f"n{number}",
            name=f"Service {number}", type="Default", order_type="default", cost_rate=1,
            price_rate=2,
        )
        for number in range(500)
    )  # fmt: skip
    assert len(program("services")) == 501

    with django_assert_num_queries(2):
        assert len(program("services")) == 501


def test_gzip_is_ready_made_for_those_who_take_it(program: Program) -> None:
    plain, packed = ask(program), ask(program, accept_encoding="br, gzip")

    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["Vary"]
    assert gzip.decompress(packed.content) == plain.content
    assert packed.content == price_list.current().packed


def test_a_list_that_the_client_has_is_not_sent_again(program: Program, service: Service) -> None:
    etag = ask(program).headers["ETag"]

    assert ask(program, if_none_match=etag).status_code == 304
    assert ask(program, if_none_match=f'"x", {etag.removeprefix("W/")}').content == b""
    assert ask(program, if_none_match='"x"').status_code == 200
    service.own_name = "Renamed"
    service.save()
    later = ask(program, if_none_match=etag)
    assert later.status_code == 200
    assert later.headers["ETag"] != etag


def test_what_has_no_known_type_is_not_listed(program: Program) -> None:
    Service.objects.update(order_type="special", changed_at=timezone.now())

    assert program("services") == []


def test_while_the_cache_is_away_the_list_is_made_each_time(
    program: Program, settings: LazySettings
) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "panel.cache.ForgivingRedisCache",
            "LOCATION": "redis://127.0.0.1:1/0",
        }
    }

    assert program("services") == price_list.rows()


def test_a_customer_with_own_prices_reads_and_pays_them_and_nobody_else_does(
    program: Program, customer: User, staff: User, service: Service
) -> None:
    other = Program(staff)
    assert [row["rate"] for row in program("services")] == ["2"]
    group = CustomerGroup.objects.create(name="Friends", discount_percent=10)
    GroupMember.objects.create(group=group, customer=customer)

    assert [row["rate"] for row in program("services")] == ["1.8"]
    assert [row["rate"] for row in other("services")] == ["2"]
    CustomerPrice.objects.create(customer=customer, service=service, rate=Decimal("1.5"))
    assert [row["rate"] for row in program("services")] == ["1.5"]

    placed = program("add", service=service.pk, link="https://example.com/a", quantity=1000)
    assert Order.objects.get(pk=placed["order"]).charge == Decimal("1.5")


def test_a_floor_that_rises_without_a_new_list_price_reaches_a_discounted_list(
    program: Program, customer: User, service: Service
) -> None:
    group = CustomerGroup.objects.create(name="Friends", discount_percent=40)
    GroupMember.objects.create(group=group, customer=customer)
    assert [row["rate"] for row in program("services")] == ["1.2"]

    Service.objects.update(margin_min=30)

    assert [row["rate"] for row in program("services")] == ["1.4285715"]


def test_of_all_states_of_the_catalogue_one_list_is_kept(service: Service) -> None:
    kept = []
    with patch.object(cache, "set", lambda place, *_: kept.append(place)):
        for price in (3, 4, 5):
            Service.objects.update(price_rate=price)
            price_list.current()

    assert len(kept) == 3
    assert len(set(kept)) == 1
