"""The document's own examples, over HTTP; the answers below are its text."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from upstream.simulator import Simulator, document_world
from upstream.simulator.document import EXAMPLES, KEY

SERVICES = """[
    {"service": 1, "name": "Followers", "type": "Default", "category": "First Category",
     "rate": "0.90", "min": "50", "max": "10000", "refill": true, "cancel": true},
    {"service": 2, "name": "Comments", "type": "Custom Comments", "category": "Second Category",
     "rate": "8", "min": "10", "max": "1500", "refill": false, "cancel": true}
]"""
STATUS = """{"charge": "0.27819", "start_count": "3572", "status": "Partial",
    "remains": "157", "currency": "USD"}"""
STATUSES = """{
    "1": {"charge": "0.27819", "start_count": "3572", "status": "Partial",
          "remains": "157", "currency": "USD"},
    "10": {"error": "Incorrect order ID"},
    "100": {"charge": "1.44219", "start_count": "234", "status": "In progress",
            "remains": "10", "currency": "USD"}
}"""
REFILLS = """[
    {"order": 1, "refill": 1},
    {"order": 2, "refill": 2},
    {"order": 3, "refill": {"error": "Incorrect order ID"}}
]"""
REFILL_STATUSES = """[
    {"refill": 1, "status": "Completed"},
    {"refill": 2, "status": "Rejected"},
    {"refill": 3, "status": {"error": "Refill not found"}}
]"""
CANCELS = """[
    {"order": 9, "cancel": {"error": "Incorrect order ID"}},
    {"order": 2, "cancel": 1}
]"""
CALLS = [
    ({"action": "services"}, SERVICES),
    ({"action": "status", "order": "1"}, STATUS),
    ({"action": "status", "orders": "1,10,100"}, STATUSES),
    ({"action": "refill", "order": "1"}, '{"refill": "1"}'),
    ({"action": "refill", "orders": "1,2,3"}, REFILLS),
    ({"action": "refill_status", "refill": "1"}, '{"status": "Completed"}'),
    ({"action": "refill_status", "refills": "1,2,3"}, REFILL_STATUSES),
    ({"action": "cancel", "orders": "9,2"}, CANCELS),
    ({"action": "balance"}, '{"balance": "100.84292", "currency": "USD"}'),
]


def _ask(url: str, fields: dict[str, str]) -> str:
    return requests.post(url, data={"key": KEY, **fields}, timeout=30).text


def _same(answer: str, printed: str) -> bool:
    # Dumped again, so that 1 and "1" and the order of fields count, and only blanks do not.
    return json.dumps(json.loads(answer)) == json.dumps(json.loads(printed))


@pytest.mark.parametrize(("fields", "printed"), CALLS, ids=[str(case[0]) for case in CALLS])
def test_each_example_call_gets_the_printed_answer(fields: dict[str, str], printed: str) -> None:
    with Simulator(world=document_world()) as simulator:
        assert _same(_ask(simulator.url, fields), printed)
        assert _same(_ask(simulator.url, fields), printed)


def test_every_example_of_the_world_is_printed_above() -> None:
    assert [fields for fields, _ in EXAMPLES] == [fields for fields, _ in CALLS]


def test_the_first_order_gets_the_documents_id() -> None:
    order = {"action": "add", "service": "1", "link": "a", "quantity": "100"}
    with Simulator(world=document_world()) as simulator:
        assert _same(_ask(simulator.url, order), '{"order": 23501}')
        status: Any = json.loads(_ask(simulator.url, {"action": "status", "order": "23501"}))

    assert status["charge"] == "0.09"


def test_the_examples_are_not_given_to_a_wrong_key() -> None:
    with Simulator(world=document_world()) as simulator:
        form = {"key": "other", "action": "balance"}
        answer = requests.post(simulator.url, data=form, timeout=30)

    assert answer.json() == {"error": "Invalid API key"}
