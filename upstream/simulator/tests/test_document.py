"""The document's own examples, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from upstream.simulator import Simulator, document_world
from upstream.simulator.document import EXAMPLES, KEY


def _ask(url: str, fields: dict[str, str]) -> Any:
    return requests.post(url, data={"key": KEY, **fields}, timeout=5).json()


@pytest.mark.parametrize(("fields", "answer"), EXAMPLES, ids=[str(case[0]) for case in EXAMPLES])
def test_each_example_call_gets_the_documents_answer(fields: dict[str, str], answer: Any) -> None:
    with Simulator(world=document_world()) as simulator:
        assert _ask(simulator.url, fields) == answer
        assert _ask(simulator.url, fields) == answer


def test_the_first_order_gets_the_documents_id() -> None:
    with Simulator(world=document_world()) as simulator:
        order = {"action": "add", "service": "1", "link": "a", "quantity": "100"}
        assert _ask(simulator.url, order) == {"order": 23501}
        assert _ask(simulator.url, {"action": "status", "order": "23501"})["charge"] == "0.09"


def test_the_examples_are_not_given_to_a_wrong_key() -> None:
    with Simulator(world=document_world()) as simulator:
        form = {"key": "other", "action": "balance"}
        assert requests.post(simulator.url, data=form, timeout=5).json() == {
            "error": "Invalid API key"
        }
