"""Whatever is sent, a call is answered with JSON and never with an error of ours."""

import json
from typing import Any

import pytest
from django.conf import LazySettings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import User
from catalog.models import Service
from orders import api_docs
from orders.models import Order
from orders.tests.api_world import URL, Program
from orders.tests.worlds import assert_ledger_adds_up

NAMES = sorted({p.name for call in api_docs.CALLS for p in call.parameters} | {"action", "x"})
ACTIONS = ["services", "add", "status", "refill", "refill_status", "cancel", "balance"]
NUMBERS = st.one_of(
    st.integers(-3, 200).map(str),
    st.integers(10**17, 10**30).map(str),
    st.sampled_from(["1", "0", "007", "1e5", "1.5", "٣", "+1", " 1 ", "1,2,3", ",", "NaN"]),
)
TEXTS = st.one_of(NUMBERS, st.text(max_size=40), st.sampled_from(["https://example.com/p", "a\nb"]))
SCALARS = st.one_of(TEXTS, st.integers(), st.floats(), st.booleans(), st.none())
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
FEW = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def program(customer: User, service: Service, settings: LazySettings) -> Program:
    settings.API_REQUESTS_PER_MINUTE = 0
    settings.API_WRONG_KEYS_PER_MINUTE = 100_000
    Service.objects.update(dripfeed=True)
    return Program(customer)


def check(response: Any) -> None:
    assert response.status_code == 200, response.content[:500]
    assert isinstance(response.json(), dict | list)


@FEW
@given(
    action=st.sampled_from(ACTIONS),
    fields=st.dictionaries(st.sampled_from(NAMES), TEXTS, max_size=8),
)
def test_no_form_breaks_it(program: Program, action: str, fields: dict[str, str]) -> None:
    form = {"service": "1", "order": "1", **fields, "action": action, "key": program.secret}
    body = json.dumps(form).encode("utf-8", "surrogatepass")

    check(program.client.post(URL, {k: v.encode("utf-8", "replace") for k, v in form.items()}))
    check(program.client.generic("POST", URL, body, content_type="application/json"))


@FEW
@given(
    action=st.sampled_from(ACTIONS),
    fields=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8),
)
def test_no_json_breaks_it(program: Program, action: str, fields: dict[str, Any]) -> None:
    body = json.dumps({**fields, "action": action, "key": program.secret})

    check(program.client.generic("POST", URL, body, content_type="application/json"))


@FEW
@given(body=st.binary(max_size=200), kind=st.sampled_from(["", "text/html", "application/json",
       "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]))  # fmt: skip
def test_no_bytes_break_it(program: Program, body: bytes, kind: str) -> None:
    check(program.client.generic("POST", URL, body, content_type=kind))
    check(program.client.generic("POST", URL, b"{" + body, content_type=kind))


@FEW
@given(data=st.data())
def test_what_the_description_allows_is_answered_and_every_cent_is_right(
    program: Program, data: st.DataObject
) -> None:
    call = data.draw(st.sampled_from(api_docs.CALLS))
    Service.objects.update(order_type=call.order_type.key if call.order_type else "default")
    fields = api_docs.sample(call)
    chosen = data.draw(st.sets(st.sampled_from(sorted(fields)), max_size=2))
    wild = {name: data.draw(TEXTS) for name in chosen - {"action", "key"}}
    form = fields | wild | {"key": program.secret}

    check(program.client.post(URL, {k: v.encode("utf-8", "replace") for k, v in form.items()}))
    if Order.objects.exists():
        assert_ledger_adds_up()


@pytest.mark.parametrize("is_get", [True, False])
def test_an_address_with_too_many_fields_is_refused(
    program: Program, settings: LazySettings, is_get: bool
) -> None:
    settings.API_ALLOW_GET = is_get
    address = f"{URL}?{'&a' * 1001}"

    check(program.client.get(address) if is_get else program.client.post(address))


@pytest.mark.parametrize("charset", ["hex", "idna", "undefined", "unicode_escape", "x"])
def test_a_form_in_an_odd_encoding_is_answered(program: Program, charset: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="key"\r\n\r\n\\ud800\xff\r\n--x--\r\n'
    kind = f"multipart/form-data; boundary=x; charset={charset}"

    check(program.client.generic("POST", URL, body, content_type=kind))


@pytest.mark.parametrize("charset", ["UTF-8", "utf8", "ISO-8859-1"])
def test_a_form_is_read_whatever_its_encoding_is_called(program: Program, charset: str) -> None:
    """Django refuses any but UTF-8 by this very name; some libraries name one that isn't used."""
    kind = f"application/x-www-form-urlencoded; charset={charset}"
    body = f"key={program.secret}&action=balance"

    answer = program.client.generic("POST", URL, body, content_type=kind)

    assert answer.json()["balance"] == "10"
