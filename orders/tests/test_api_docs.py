"""The document and the OpenAPI description say what the endpoint does, type by type."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from accounts.keys import create_key
from accounts.models import User
from catalog.models import Service
from orders import api, api_docs
from orders.models import Order
from orders.tests.api_world import Program
from upstream.order_types import ORDER_TYPES
from upstream.simulator.document import EXAMPLES

URL = "https://panel.example.com/api/v2"


@pytest.fixture
def page(client: Client, db: None, settings: LazySettings) -> str:
    settings.SITE_URL = "https://panel.example.com"
    response = client.get("/api/")
    assert response.status_code == 200
    return response.content.decode()


def test_the_page_names_this_sites_own_address_and_every_action(page: str) -> None:
    assert f"<code>{URL}</code>" in page
    for action in [*api.ACTIONS, "services"]:
        assert f"<td>{action}</td>" in page


def test_the_page_lists_every_order_type_with_its_fields(page: str) -> None:
    for order_type in ORDER_TYPES:
        _before, _, part = page.partition(f"<summary>{order_type.name}</summary>")
        table = part.partition("</table>")[0]
        named = re.findall(r"<code>(\w+)</code>", table)
        assert named == [
            "key", "action", "service", *(field.name for field in order_type.fields), "request_id",
        ]  # fmt: skip


def test_visitors_and_customers_see_it_in_their_language(client: Client, customer: User) -> None:
    client.force_login(customer)

    turkish = client.get("/api/", headers={"Accept-Language": "tr"})

    assert turkish.status_code == 200
    assert 'lang="tr"' in turkish.content.decode()


def test_every_answer_of_the_providers_document_has_its_place_here() -> None:
    ours = {
        (call.action, *sorted(p.name for p in call.parameters))
        for call in (*api_docs.BEFORE_ADD, *api_docs.AFTER_ADD)
    }

    assert ours == {(fields["action"], *sorted(set(fields) - {"action"})) for fields, _ in EXAMPLES}


@pytest.fixture
def description(client: Client, db: None, settings: LazySettings) -> Any:
    settings.SITE_URL = "https://panel.example.com"
    return client.get("/api/openapi.json", headers={"Accept-Language": "tr"}).json()


def test_the_description_is_of_this_address(description: Any) -> None:
    assert description["openapi"].startswith("3.1")
    assert description["servers"] == [{"url": "https://panel.example.com"}]
    assert list(description["paths"]) == ["/api/v2"]


def test_every_reference_of_the_description_leads_somewhere(description: Any) -> None:
    references = re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(description))

    assert {call.slug for call in api_docs.CALLS} <= set(references)
    assert set(references) == set(description["components"]["schemas"])


def test_the_description_demands_what_the_order_types_demand(description: Any) -> None:
    schemas = description["components"]["schemas"]
    for order_type in ORDER_TYPES:
        schema = schemas[f"add-{order_type.key}"]
        required = {field.name for field in order_type.fields if field.required}
        assert set(schema["required"]) == {"key", "action", "service"} | required
        assert set(schema["properties"]) >= {field.name for field in order_type.fields}
        assert schema["properties"]["action"] == {"const": "add"}


@pytest.mark.parametrize("order_type", ORDER_TYPES, ids=lambda order_type: order_type.key)
def test_every_sample_of_the_description_is_an_order(
    customer: User, service: Service, order_type: Any
) -> None:
    Service.objects.update(order_type=order_type.key, min_quantity=1)
    [call] = [call for call in api_docs.ADDS if call.order_type is order_type]
    sample = api_docs.sample(call) | {"service": str(service.pk)}
    del sample["key"], sample["action"]

    answer = Program(customer)("add", **sample)

    assert set(answer) == {"order"}


def test_the_python_example_runs_as_it_is_printed(
    transactional_db: None, live_server: LiveServer, customer: User, service: Service
) -> None:
    [python] = [each for each in api_docs.examples(f"{live_server.url}/api/v2") if
                each.name == "Python"]  # fmt: skip
    secret = create_key(user=customer, name="example").secret
    code = python.code.replace("YOUR_API_KEY", secret).replace(
        '"service": "1"', f'"service": "{service.pk}"'
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=180, check=True
    )

    assert done.stdout.strip() == str(Order.objects.get().pk)


def test_the_other_examples_name_every_field() -> None:
    for example in api_docs.examples(URL):
        for name, value in api_docs.sample(api_docs.ADDS[0]).items():
            assert name in example.code
            assert value in example.code
        assert URL in example.code
