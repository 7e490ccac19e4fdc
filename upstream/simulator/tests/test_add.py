"""What each type asks for, and what it is charged."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import requests

from upstream.simulator import Settings, Simulator, World
from upstream.simulator.forms import FORMS
from upstream.simulator.tests.conftest import KEY, NOON, Provider, service

LINK = {"link": "https://example.com/p/1"}
COUNTED = {**LINK, "quantity": 100}
TRAFFIC = {**COUNTED, "country": "US", "device": 5, "type_of_traffic": 3}

# Type, complete fields, charge at a rate of 2.50: written out by hand from the protocol.
TYPES: list[tuple[str, dict[str, Any], str]] = [
    ("Default", COUNTED, "0.25"),
    ("Package", LINK, "2.5"),
    ("SEO", {**COUNTED, "keywords": "shoes\nboots"}, "0.25"),
    ("Custom Comments", {**LINK, "comments": "good\r\n\r\n well done \nyes"}, "0.0075"),
    ("Custom Comments Package", {**LINK, "comments": "good\nbetter"}, "2.5"),
    ("Mentions", {**COUNTED, "usernames": "ann\nbob"}, "0.25"),
    ("Mentions with Hashtags", {**COUNTED, "usernames": "ann", "hashtags": "sun"}, "0.25"),
    ("Mentions Custom List", {**LINK, "usernames": "ann\nbob"}, "0.005"),
    ("Mentions Hashtag", {**COUNTED, "hashtag": "sun"}, "0.25"),
    ("Mentions User Followers", {**COUNTED, "username": "ann"}, "0.25"),
    ("Mentions Media Likers", {**COUNTED, "media": "https://example.com/m"}, "0.25"),
    ("Comment Likes", {**COUNTED, "username": "ann"}, "0.25"),
    ("Comment Replies", {**LINK, "username": "ann", "comments": "a\nb\nc\nd"}, "0.01"),
    ("Poll", {**COUNTED, "answer_number": 2}, "0.25"),
    ("Invites from Groups", {**COUNTED, "groups": "one\ntwo"}, "0.25"),
    ("Subscriptions", {"username": "ann", "min": 10, "max": 20, "delay": 0}, "0"),
    ("Web Traffic", TRAFFIC, "0.25"),
]
NUMBERS = {each[0]: number for number, each in enumerate(TYPES, start=1)}


@pytest.fixture
def all_types() -> Iterator[Provider]:
    services = [service(number, name) for name, number in NUMBERS.items()]
    world = World(services, key=KEY, settings=Settings(pace=100), clock=lambda: NOON)
    with Simulator(world=world) as simulator, requests.Session() as session:
        yield Provider(simulator, session)


def test_the_table_here_names_every_type_of_the_simulator() -> None:
    assert {name.lower() for name, _, _ in TYPES} == set(FORMS)
    assert len(TYPES) == 17


@pytest.mark.parametrize(("name", "fields", "charge"), TYPES, ids=list(NUMBERS))
def test_a_complete_order_is_taken_and_charged(
    all_types: Provider, name: str, fields: dict[str, Any], charge: str
) -> None:
    answer = all_types.call(action="add", service=NUMBERS[name], **fields)

    assert answer == {"order": 100001}
    assert all_types.world.balance == 1000 - Decimal(charge)
    (order,) = all_types.world.truth()["orders"]
    assert order["cost"] == charge
    assert order["fields"] == {"service": str(NUMBERS[name])} | {
        key: str(value) for key, value in fields.items()
    }


MISSING = [(name, fields, field) for name, fields, _ in TYPES for field in fields]


@pytest.mark.parametrize(("name", "fields", "missing"), MISSING)
def test_an_order_without_a_required_field_is_refused_and_costs_nothing(
    all_types: Provider, name: str, fields: dict[str, Any], missing: str
) -> None:
    rest = {key: value for key, value in fields.items() if key != missing}

    answer = all_types.call(action="add", service=NUMBERS[name], **rest)

    assert answer == {"error": f"Incorrect {missing}"}
    assert all_types.world.orders == []
    assert all_types.world.balance == 1000


@pytest.mark.parametrize(
    ("number", "fields", "text"),
    [
        (99, COUNTED, "Incorrect service ID"),
        (2, {**COUNTED, "quantity": 49}, "Quantity less than minimal 50"),
        (2, {**COUNTED, "quantity": 501}, "Quantity more than maximum 500"),
        (1, {**COUNTED, "quantity": "ten"}, "Incorrect quantity"),
        (1, {**COUNTED, "quantity": "-5"}, "Incorrect quantity"),
        (1, {**COUNTED, "quantity": "0"}, "Incorrect quantity"),
        (1, {**COUNTED, "runs": 2}, "Incorrect interval"),
        (1, {**COUNTED, "interval": 5}, "Incorrect runs"),
        (1, {**COUNTED, "runs": 0, "interval": 5}, "Incorrect runs"),
        (1, {**COUNTED, "runs": 101, "interval": 5}, "Quantity more than maximum 10000"),
        (
            2,
            {**COUNTED, "runs": 2, "interval": 5},
            "Dripfeed is not supported by this service",
        ),
        (3, {**LINK, "comments": " \n "}, "Incorrect comments"),
        (
            4,
            {"username": "ann", "min": 30, "max": 20, "delay": 0},
            "Min cannot be higher than Max",
        ),
        (4, {"username": "ann", "min": 5, "max": 20, "delay": 0}, "Quantity less than minimal 10"),
        (
            4,
            {"username": "ann", "min": 10, "max": 20, "delay": 0, "expiry": "2030-01-01"},
            "Incorrect expiry",
        ),
    ],
)
def test_a_wrong_order_is_refused_with_the_customary_text(
    provider: Provider, number: int, fields: dict[str, Any], text: str
) -> None:
    assert provider.call(action="add", service=number, **fields) == {"error": text}
    assert provider.world.orders == []


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({**TRAFFIC, "type_of_traffic": 1}, "google_keyword"),
        ({**TRAFFIC, "type_of_traffic": 2}, "referring_url"),
        ({**TRAFFIC, "device": 6}, "device"),
        ({**TRAFFIC, "type_of_traffic": 4}, "type_of_traffic"),
    ],
)
def test_web_traffic_checks_its_codes(
    all_types: Provider, fields: dict[str, Any], missing: str
) -> None:
    answer = all_types.call(action="add", service=NUMBERS["Web Traffic"], **fields)

    assert answer == {"error": f"Incorrect {missing}"}


def test_an_order_above_the_balance_is_refused(provider: Provider) -> None:
    provider.world.set_balance(Decimal("0.2499"))

    answer = provider.call(action="add", service=1, **COUNTED)

    assert answer == {"error": "Not enough funds on balance"}
    assert provider.world.orders == []
    assert provider.world.balance == Decimal("0.2499")


def test_an_order_may_take_the_balance_to_nothing(provider: Provider) -> None:
    provider.world.set_balance(Decimal("0.25"))

    assert "order" in provider.call(action="add", service=1, **COUNTED)
    assert provider.world.balance == 0


def test_a_maximum_of_zero_is_no_limit(provider: Provider) -> None:
    provider.world.sell([service(1, max=0)])

    answer = provider.call(action="add", service=1, link="a", quantity=300_000)

    assert "order" in answer


def test_a_second_active_order_on_a_link_is_refused_when_that_is_switched_on(
    provider: Provider,
) -> None:
    provider.order()
    provider.order()
    provider.world.change(duplicate_link=True)

    refused = provider.call(action="add", service=1, **COUNTED)
    other_link = provider.call(action="add", service=1, link="other", quantity=10)
    provider.world.advance(100)
    later = provider.call(action="add", service=1, **COUNTED)

    assert refused["error"].startswith("You have active order with this link.")
    assert "order" in other_link
    assert "order" in later


def test_a_provider_with_idempotency_gives_the_first_answer_again(provider: Provider) -> None:
    provider.world.change(idempotency_param="request_id")

    first = provider.call(action="add", service=1, request_id="r1", **COUNTED)
    again = provider.call(action="add", service=1, request_id="r1", **COUNTED)
    other = provider.call(action="add", service=1, request_id="r2", **COUNTED)
    without = [provider.call(action="add", service=1, **COUNTED)["order"] for _ in range(2)]

    assert again == first
    assert len({first["order"], other["order"], *without}) == 4
    assert provider.world.balance == 1000 - 4 * Decimal("0.25")


def test_a_refused_order_does_not_use_its_request_up(provider: Provider) -> None:
    provider.world.change(idempotency_param="request_id")
    provider.world.set_balance(Decimal(0))
    refused = provider.call(action="add", service=1, request_id="r1", **COUNTED)
    provider.world.set_balance(Decimal(1))

    assert "error" in refused
    assert "order" in provider.call(action="add", service=1, request_id="r1", **COUNTED)


def test_a_wrong_key_or_action_or_method_is_refused(provider: Provider) -> None:
    url = provider.simulator.url

    assert provider.call(action="orders") == {"error": "Incorrect request"}
    assert provider.call(action="add", key="wrong") == {"error": "Invalid API key"}
    got = provider.http.get(url, params={"key": KEY, "action": "balance"}, timeout=30)
    assert got.json() == {"error": "Incorrect request"}
    assert provider.world.truth()["received"] == {"other": 2, "add": 1}
