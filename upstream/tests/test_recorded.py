"""34 bodies that real panels sent or document, each with its exact reading."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from upstream.answers import (
    Balance,
    Catalogue,
    ItemError,
    OrderStatus,
    Placed,
    RefillState,
    RefillStatus,
    State,
)
from upstream.client import Client
from upstream.errors import Kind, OutcomeUnknown, Rejected
from upstream.tests.conftest import ScriptedServer, reply

ITEMS = json.loads((Path(__file__).parent / "data" / "recorded-responses.json").read_text())[
    "items"
]


def order(raw: str, state: State, **said: Any) -> OrderStatus:
    unsaid: dict[str, Any] = {
        "charge": None,
        "start_count": None,
        "remains": None,
        "currency": "",
        "runs": None,
        "posts": None,
        "expiry": "",
        "orders": (),
        "old_orders": (),
    }
    return OrderStatus(state=state, raw_status=raw, **{**unsaid, **said})


def add(client: Client) -> str:
    return client.add("1", {"link": "https://example.com/"}).order


def rejected(kind: Kind, text: str) -> tuple[type[Rejected], str, str]:
    return Rejected, kind.value, text


USD = "USD"
NO_ID = (OutcomeUnknown, "no order id in the answer")
WRONG_ID = ItemError("Incorrect order ID", Kind.REQUEST)
COMPLETED = State.COMPLETED
Ask = Callable[[Client], Any]
# In the order of the file: what is asked, and what must come of it.
EXPECTED: list[tuple[Ask, Any]] = [
    (
        lambda c: c.status("1"),
        order("Completed", COMPLETED, expiry="2026-07-20", posts=1, orders=("38407727",)),
    ),
    (
        lambda c: c.status("1"),
        order(
            "In progress",
            State.IN_PROGRESS,
            charge=Decimal("16.6509"),
            remains=25,
            currency="NGN",
        ),
    ),
    (
        lambda c: c.status("1"),
        order("Completed", COMPLETED, runs=2, orders=("37595771", "37596003")),
    ),
    (
        lambda c: c.status("1"),
        order("Completed", COMPLETED, charge=Decimal("0.14"), remains=0, currency=USD),
    ),
    (
        lambda c: c.status("1"),
        order("Completed", COMPLETED, charge=Decimal("0.00"), remains=0, currency="RUB"),
    ),
    (
        lambda c: c.status("8598432"),
        order("Completed", COMPLETED, charge=Decimal(250), remains=0),
    ),
    (add, "151"),
    (lambda c: c.balance(), Balance(Decimal(1526952), "IRT")),
    (
        lambda c: c.statuses(["1", "2", "3"]),
        {
            "1": order(
                "Partial",
                State.PARTIAL,
                charge=Decimal("0.27819"),
                start_count=3572,
                remains=157,
                currency=USD,
            ),
            "2": WRONG_ID,
            "3": WRONG_ID,
        },
    ),
    (lambda c: c.cancel(["1"]), {"1": None}),
    (lambda c: c.refill("1"), "1"),
    (
        lambda c: c.statuses(["486450", "486451", "486561"]),
        {
            "486450": order(
                "Completed",
                COMPLETED,
                charge=Decimal("0.08011655652"),
                start_count=44,
                remains=0,
                currency=USD,
            ),
            "486451": WRONG_ID,
            "486561": order(
                "Cancelled",
                State.CANCELED,
                charge=Decimal("0.04434830916"),
                start_count=181,
                remains=100,
                currency=USD,
            ),
        },
    ),
    (lambda c: c.refill("1"), "12345"),
    (lambda c: c.refill("1"), rejected(Kind.REQUEST, "Order not eligible for refill.")),
    (
        lambda c: c.refill_statuses(["1", "2", "3"]),
        {
            "1": RefillStatus(RefillState.COMPLETED, "Completed"),
            "2": RefillStatus(RefillState.CANCELED, "Cancelled"),
            "3": ItemError("Refill Request Not found", Kind.REQUEST),
        },
    ),
    (
        lambda c: c.cancel(["1"]),
        {"1": ItemError("error.incorrect_order_id", Kind.REQUEST)},
    ),
    (
        lambda c: c.cancel(["4211", "4212"]),
        {"4211": None, "4212": ItemError("Order already completed", Kind.REQUEST)},
    ),
    (
        lambda c: c.cancel(["12345", "12346", "12347"]),
        {
            "12345": None,
            "12346": None,
            "12347": ItemError("not in the answer", Kind.UNRECOGNISED, missing=True),
        },
    ),
    (lambda c: c.cancel(["12345"]), {"12345": None}),
    (add, "12345"),
    (
        lambda c: c.status("ord_01HG9X7KJP4N"),
        order(
            "in_progress",
            State.IN_PROGRESS,
            charge=Decimal("0.50"),
            start_count=1234,
            remains=650,
            currency=USD,
        ),
    ),
    (add, rejected(Kind.REQUEST, "Incorrect request")),
    (add, rejected(Kind.DUPLICATE_LINK, "neworder.error.link_duplicate")),
    (add, rejected(Kind.SERVICE, "error.incorrect_service_id")),
    (add, rejected(Kind.ACCOUNT, "Invalid API key")),
    (lambda c: c.services(), Catalogue((), ())),
    (add, rejected(Kind.REQUEST, "Invalid Interval in minutes")),
    (add, "32"),
    (
        lambda c: c.statuses(["5", "6"]),
        {
            "5": order(
                "completed",
                COMPLETED,
                charge=Decimal("1.20"),
                start_count=0,
                remains=0,
                currency=USD,
            ),
            "6": ItemError("not in the answer", Kind.UNRECOGNISED, missing=True),
        },
    ),
    (lambda c: c.refill_status("1"), rejected(Kind.REQUEST, "Refill not found")),
    (
        lambda c: c.status("1"),
        order(
            "Processing",
            State.PROCESSING,
            charge=Decimal("1.2"),
            start_count=0,
            remains=0,
            currency="VND",
        ),
    ),
    (add, NO_ID),
    (add, rejected(Kind.FUNDS, "neworder.error.insufficient_balance")),
    (add, rejected(Kind.UNAVAILABLE, "Hệ thống đang bảo trì!")),
]


def outcome(ask: Ask, client: Client) -> Any:
    try:
        return ask(client)
    except Rejected as error:
        return Rejected, error.kind.value, error.text
    except OutcomeUnknown as error:
        return OutcomeUnknown, error.reason


def test_every_recorded_body_has_an_expectation() -> None:
    assert len(EXPECTED) == len(ITEMS) == 34


@pytest.mark.parametrize("number", range(34))
def test_a_recorded_body_is_understood(server: ScriptedServer, client: Client, number: int) -> None:
    item = ITEMS[number]
    ask, expected = EXPECTED[number]
    status = "404 Not Found" if item.get("http_status") == 404 else "200 OK"
    server.answer(reply(json.dumps(item["body"], ensure_ascii=number % 2 == 0), status))
    assert outcome(ask, client) == expected


def test_the_answer_of_an_accepted_order_is_kept(server: ScriptedServer, client: Client) -> None:
    server.answer(reply('{"status":"success","order":32}'))
    assert client.add("1", {}) == Placed("32", '{"status":"success","order":32}')
