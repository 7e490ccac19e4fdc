"""Every action of the provider's document, with its example answers byte for byte."""

import json
from collections.abc import Callable
from decimal import Decimal

import pytest

from upstream import parse
from upstream.answers import (
    Balance,
    Catalogue,
    ItemError,
    OrderStatus,
    RefillState,
    RefillStatus,
    ServiceRow,
    State,
)
from upstream.client import Client
from upstream.errors import Kind, NotSent, OutcomeUnknown, Rejected
from upstream.recognition import Recognition
from upstream.tests.conftest import KEY, ScriptedServer, reply

SERVICES = """[
    {
        "service": 1,
        "name": "Followers",
        "type": "Default",
        "category": "First Category",
        "rate": "0.90",
        "min": "50",
        "max": "10000",
        "refill": true,
        "cancel": true
    },
    {
        "service": 2,
        "name": "Comments",
        "type": "Custom Comments",
        "category": "Second Category",
        "rate": "8",
        "min": "10",
        "max": "1500",
        "refill": false,
        "cancel": true
    }
]"""
ADD = """{
    "order": 23501
}"""
STATUS = """{
    "charge": "0.27819",
    "start_count": "3572",
    "status": "Partial",
    "remains": "157",
    "currency": "USD"
}"""
STATUSES = """{
    "1": {
        "charge": "0.27819",
        "start_count": "3572",
        "status": "Partial",
        "remains": "157",
        "currency": "USD"
    },
    "10": {
        "error": "Incorrect order ID"
    },
    "100": {
        "charge": "1.44219",
        "start_count": "234",
        "status": "In progress",
        "remains": "10",
        "currency": "USD"
    }
}"""
REFILL = """{
    "refill": "1"
}"""
REFILLS = """[
    {
        "order": 1,
        "refill": 1
    },
    {
        "order": 2,
        "refill": 2
    },
    {
        "order": 3,
        "refill": {
            "error": "Incorrect order ID"
        }
    }
]"""
REFILL_STATUS = """{
    "status": "Completed"
}"""
REFILL_STATUSES = """[
    {
        "refill": 1,
        "status": "Completed"
    },
    {
        "refill": 2,
        "status": "Rejected"
    },
    {
        "refill": 3,
        "status": {
            "error": "Refill not found"
        }
    }
]"""
CANCEL = """[
    {
        "order": 9,
        "cancel": {
            "error": "Incorrect order ID"
        }
    },
    {
        "order": 2,
        "cancel": 1
    }
]"""
BALANCE = """{
    "balance": "100.84292",
    "currency": "USD"
}"""

WRONG_ID = ItemError("Incorrect order ID", Kind.REQUEST)
CATALOGUE = Catalogue(
    rows=(
        ServiceRow(
            service="1",
            name="Followers",
            type="Default",
            category="First Category",
            rate=Decimal("0.90"),
            min=50,
            max=10000,
            refill=True,
            cancel=True,
            dripfeed=None,
            description="",
        ),
        ServiceRow(
            service="2",
            name="Comments",
            type="Custom Comments",
            category="Second Category",
            rate=Decimal(8),
            min=10,
            max=1500,
            refill=False,
            cancel=True,
            dripfeed=None,
            description="",
        ),
    ),
    unreadable=(),
)


def order(state: State, raw: str, charge: str, start_count: int, remains: int) -> OrderStatus:
    return OrderStatus(
        state=state,
        raw_status=raw,
        charge=Decimal(charge),
        start_count=start_count,
        remains=remains,
        currency="USD",
        runs=None,
        posts=None,
        expiry="",
        orders=(),
        old_orders=(),
    )


PARTIAL = order(State.PARTIAL, "Partial", "0.27819", 3572, 157)
RUNNING = order(State.IN_PROGRESS, "In progress", "1.44219", 234, 10)


def test_services(server: ScriptedServer, client: Client) -> None:
    server.answer(reply(SERVICES))
    assert client.services() == CATALOGUE
    assert server.forms() == [{"key": KEY, "action": "services"}]


def test_services_that_are_known_are_not_read(server: ScriptedServer, client: Client) -> None:
    rows = json.loads(SERVICES)
    other = json.dumps(rows[::-1], indent=1)
    # The connection ends with the answer, and a client that kept it would meet its end.
    server.answer(*(reply(text, Connection="close") for text in (SERVICES, SERVICES, other, other)))

    first = Recognition()
    assert client.services_if_new(first) == CATALOGUE
    assert len({first.whole, first.contents, ""}) == 3

    same = Recognition([first.whole])
    assert client.services_if_new(same) is None
    assert (same.whole, same.rows, same.contents) == (first.whole, "", "")

    mirrored = Recognition([first.whole, first.contents])
    assert client.services_if_new(mirrored) is None
    assert mirrored.whole != first.whole
    assert mirrored.contents == first.contents

    read = client.services_if_new(Recognition([first.whole]))
    assert read is not None
    assert read.rows == CATALOGUE.rows[::-1]


def test_services_that_are_an_error_are_never_known(server: ScriptedServer, client: Client) -> None:
    answers = (
        ('{"error":"Invalid API key"}', "200 OK"), ("<html>", "200 OK"), (SERVICES, "500 Oh"),
        ("{}", "404 Not Found"), (SERVICES, "429 Slow down"),
    )  # fmt: skip
    server.answer(*(reply(text, status, Connection="close") for text, status in answers))
    with pytest.raises(Rejected) as caught:
        client.services_if_new(Recognition())
    assert caught.value.kind is Kind.ACCOUNT
    with pytest.raises(OutcomeUnknown):
        client.services_if_new(Recognition())
    first, nothing = Recognition(), Recognition()
    first.knows_body(SERVICES.encode())
    first.knows_contents(parse.listed(json.loads(SERVICES)))
    nothing.knows_body(b"{}")
    known = [first.whole, first.rows, first.contents, nothing.whole]
    for error in (OutcomeUnknown, OutcomeUnknown, Rejected):
        with pytest.raises(error):
            client.services_if_new(Recognition(known))


def test_add(server: ScriptedServer, client: Client) -> None:
    server.answer(reply(ADD))
    parameters = {"link": "https://example.com/ü?a=1&b=2", "comments": "one\ntwo + 3"}
    placed = client.add("7", parameters)
    assert placed.order == "23501"
    assert placed.answer == ADD
    assert server.forms() == [{"key": KEY, "action": "add", "service": "7", **parameters}]
    head = server.requests[0].decode()
    assert head.startswith("POST /api/v2 HTTP/1.1\r\n")
    assert "\r\nContent-Type: application/x-www-form-urlencoded\r\n" in head
    assert "comments=one%0Atwo+%2B+3" in head


def test_parameters_cannot_replace_the_key_or_the_action(
    server: ScriptedServer, client: Client
) -> None:
    server.answer(reply(ADD))
    client.add("7", {"key": "other", "action": "cancel", "service": "8"})
    assert server.forms() == [{"key": KEY, "action": "add", "service": "7"}]


def test_status(server: ScriptedServer, client: Client) -> None:
    server.answer(reply(STATUS))
    assert client.status("1") == PARTIAL
    assert server.forms() == [{"key": KEY, "action": "status", "order": "1"}]


def test_statuses(server: ScriptedServer, client: Client) -> None:
    server.answer(reply(STATUSES))
    assert client.statuses(["1", "10", "100"]) == {"1": PARTIAL, "10": WRONG_ID, "100": RUNNING}
    assert server.forms() == [{"key": KEY, "action": "status", "orders": "1,10,100"}]


def test_refill(server: ScriptedServer, client: Client) -> None:
    server.answer(reply(REFILL))
    assert client.refill("5") == "1"
    assert server.forms() == [{"key": KEY, "action": "refill", "order": "5"}]


def test_refills(server: ScriptedServer, client: Client) -> None:
    server.answer(reply(REFILLS))
    assert client.refills(["1", "2", "3"]) == {"1": "1", "2": "2", "3": WRONG_ID}
    assert server.forms() == [{"key": KEY, "action": "refill", "orders": "1,2,3"}]


def test_refill_status(server: ScriptedServer, client: Client) -> None:
    server.answer(reply(REFILL_STATUS))
    assert client.refill_status("1") == RefillStatus(RefillState.COMPLETED, "Completed")
    assert server.forms() == [{"key": KEY, "action": "refill_status", "refill": "1"}]


def test_refill_statuses(server: ScriptedServer, client: Client) -> None:
    server.answer(reply(REFILL_STATUSES))
    assert client.refill_statuses(["1", "2", "3"]) == {
        "1": RefillStatus(RefillState.COMPLETED, "Completed"),
        "2": RefillStatus(RefillState.REJECTED, "Rejected"),
        "3": ItemError("Refill not found", Kind.REQUEST),
    }
    assert server.forms() == [{"key": KEY, "action": "refill_status", "refills": "1,2,3"}]


def test_cancel(server: ScriptedServer, client: Client) -> None:
    server.answer(reply(CANCEL))
    assert client.cancel(["9", "2"]) == {"9": WRONG_ID, "2": None}
    assert server.forms() == [{"key": KEY, "action": "cancel", "orders": "9,2"}]


def test_balance(server: ScriptedServer, client: Client) -> None:
    server.answer(reply(BALANCE))
    assert client.balance() == Balance(Decimal("100.84292"), "USD")
    assert server.forms() == [{"key": KEY, "action": "balance"}]


@pytest.mark.parametrize("count", [0, 101])
def test_more_ids_than_the_document_allows_are_not_asked_for(
    server: ScriptedServer, client: Client, count: int
) -> None:
    ids = [str(number + 1) for number in range(count)]
    calls: list[Callable[[list[str]], object]] = [
        client.statuses,
        client.refills,
        client.refill_statuses,
        client.cancel,
    ]
    for call in calls:
        with pytest.raises(ValueError, match="1 to 100"):
            call(ids)
    assert server.connections == 0


def test_a_hundred_ids_go_in_one_request(server: ScriptedServer, client: Client) -> None:
    server.answer(reply("{}"))
    ids = [str(number) for number in range(1, 101)]
    answers = client.statuses(ids)
    assert list(answers) == ids
    assert all(isinstance(item, ItemError) and item.missing for item in answers.values())
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "ftp://provider.example/",
        "provider.example/api",
        "https://",
        "https://a:b@provider.example/",
    ],
)
def test_a_url_that_names_no_provider_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        Client(url=url, key=KEY)


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ValueError, match="key"):
        Client(url="https://provider.example/api/v2", key="")


@pytest.mark.parametrize("action", ["add", "balance"])
def test_a_private_address_is_not_dialled_unless_allowed(
    server: ScriptedServer, action: str
) -> None:
    with (
        Client(url=server.url, key=KEY) as client,
        pytest.raises(NotSent, match="address not allowed"),
    ):
        client.add("1", {}) if action == "add" else client.balance()
    assert server.connections == 0
