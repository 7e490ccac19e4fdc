"""The OpenAPI description as it is served, tried by a program that knows nothing else of us."""

from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from django.conf import LazySettings
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pytest_django.live_server_helper import LiveServer
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accounts.models import User
from catalog.models import Service
from orders import api, api_docs
from orders.states import Status
from orders.tests.api_world import Program, at_provider
from orders.tests.worlds import assert_ledger_adds_up

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
FEW = settings(
    max_examples=50,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class World:
    """What there is to ask for."""

    operation: Any
    secret: str
    known: dict[str, str]

    def send(self, case: Any, names: set[str]) -> Any:
        """Send a case as our customer; those fields get the IDs of rows that exist."""
        if isinstance(case.body, dict):
            chosen = {name: self.known[name] for name in names if name in case.body}
            case.body |= {"key": self.secret} | chosen
        return case.call_and_validate(checks=CHECKS)


@pytest.fixture
def world(
    live_server: LiveServer, customer: User, service: Service, settings: LazySettings
) -> World:
    settings.API_REQUESTS_PER_MINUTE = 0
    settings.API_WRONG_KEYS_PER_MINUTE = 100_000
    settings.SITE_URL = live_server.url
    Service.objects.update(dripfeed=True, refill=True, cancel=True, min_quantity=1)
    program = Program(customer)
    order = at_provider(program.order(service.pk), Status.COMPLETED)
    refill = program("refill", order=order.pk)["refill"]
    other = program.order(service.pk, quantity="200")
    known = {
        "service": str(service.pk),
        "order": str(order.pk),
        "orders": f"{order.pk},{other.pk}",
        "refill": refill,
        "refills": refill,
    }
    schema = schemathesis.openapi.from_url(f"{live_server.url}/api/openapi.json")
    return World(schema["/api/v2"]["POST"], program.secret, known)


NAMES = st.sets(st.sampled_from(["order", "orders", "refill", "refills"]))


def test_what_the_description_allows_is_answered_as_it_says(world: World) -> None:
    answers = []

    @FEW
    @given(case=world.operation.as_strategy(generation_mode=GenerationMode.POSITIVE), names=NAMES)
    def each(case: Any, names: set[str]) -> None:
        answers.append(world.send(case, names | {"service"}).json())

    each()

    assert any("error" not in answer for answer in answers)
    assert any("error" in answer for answer in answers)


def test_what_it_does_not_allow_breaks_nothing(world: World) -> None:
    @FEW
    @given(case=world.operation.as_strategy(generation_mode=GenerationMode.NEGATIVE), names=NAMES)
    def each(case: Any, names: set[str]) -> None:
        world.send(case, names | {"service"})

    each()

    assert_ledger_adds_up()


@pytest.mark.parametrize(
    "call",
    [*api_docs.BEFORE_ADD, api_docs.ADDS[0], *api_docs.AFTER_ADD],
    ids=lambda call: call.slug,
)
def test_every_call_is_answered_in_its_own_shape(world: World, call: api_docs.Call) -> None:
    form = api_docs.sample(call) | {"quantity": "300"}
    case = world.operation.Case(body=form, media_type="application/x-www-form-urlencoded")

    answer = world.send(case, set(world.known)).json()

    assert type(answer) is type(call.answer)
    if call.slug != "refill":
        assert "error" not in answer


def test_an_answer_that_is_not_described_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = api.ACTIONS | {"balance": lambda _key, _fields: {"balance": 1}}  # type: ignore[operator]
    monkeypatch.setattr(api, "ACTIONS", odd)
    case = world.operation.Case(body={"action": "balance"}, media_type="application/json")

    with pytest.raises(FailureGroup):
        world.send(case, set())
