"""A provider on loopback with a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import requests

from upstream.simulator import Settings, Simulator, World

KEY = "a-key-for-tests"
NOON = 1_800_000_000.0


def service(number: int, type_name: str = "Default", **row: Any) -> dict[str, Any]:
    """A row of a price list; 2.50 per 1000 unless said otherwise."""
    return {
        "service": number,
        "name": f"{type_name} {number}",
        "type": type_name,
        "category": "Tests",
        "rate": "2.50",
        "min": "1",
        "max": "10000",
        "refill": True,
        "cancel": True,
        "dripfeed": True,
        **row,
    }


class Provider:
    """A running simulator, spoken to as a customer and as a tester would."""

    def __init__(self, simulator: Simulator, session: requests.Session) -> None:
        self.simulator = simulator
        self.world = simulator.world
        self.http = session

    def post(self, **fields: Any) -> requests.Response:
        """One call of the API."""
        form = {"key": KEY, **{name: str(value) for name, value in fields.items()}}
        return self.http.post(self.simulator.url, data=form, timeout=30, allow_redirects=False)

    def call(self, **fields: Any) -> Any:
        """The JSON answer of one call."""
        response = self.post(**fields)
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "application/json"
        return response.json()

    def order(self, number: int = 1, quantity: int = 100, **fields: Any) -> str:
        """Place an order; gives its ID."""
        fields = {"link": "https://example.com/p/1", "quantity": quantity, **fields}
        answer = self.call(action="add", service=number, **fields)
        assert "order" in answer, answer
        return str(answer["order"])

    def status(self, order_id: str) -> Any:
        """The status answer of one order."""
        return self.call(action="status", order=order_id)

    def control(self, path: str, **asked: Any) -> Any:
        """Change something over the control API."""
        response = self.http.post(f"{self.simulator.control_url}/{path}", json=asked, timeout=30)
        assert response.status_code == 200, response.text
        return response.json()

    def books_balance(self) -> bool:
        """Whether balance = paid in - costs + given back."""
        truth = self.world.truth()
        cost = sum((Decimal(each["cost"]) for each in truth["orders"]), Decimal(0))
        back = sum((Decimal(each["given_back"]) for each in truth["orders"]), Decimal(0))
        return Decimal(truth["balance"]) == Decimal(truth["paid_in"]) - cost + back


@pytest.fixture
def world() -> World:
    """A provider that sells services 1 to 4; an order lives 100 seconds."""
    services = [
        service(1),
        service(2, refill=False, cancel=False, dripfeed=False, min="50", max="500"),
        service(3, "Custom Comments"),
        service(4, "Subscriptions", min="10", max="1000"),
    ]
    return World(services, key=KEY, settings=Settings(pace=100), seed=7, clock=lambda: NOON)


@pytest.fixture
def provider(world: World) -> Iterator[Provider]:
    """That provider, on a port."""
    with Simulator(world=world) as simulator, requests.Session() as session:
        session.trust_env = False
        yield Provider(simulator, session)
