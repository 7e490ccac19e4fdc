"""How a call of API v2 may be written, and what is said to calls that can't go on."""

import json
import logging
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import LazySettings
from django.test import Client

from accounts.models import User
from orders.tests.api_world import URL, Program

BALANCE = {"balance": "10", "currency": "USD"}
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def program(customer: User) -> Program:
    return Program(customer)


def form(program: Program, **fields: str) -> str:
    return urlencode({"key": program.secret, "action": "balance", **fields})


def test_a_form_a_json_object_multipart_and_get_mean_the_same(program: Program) -> None:
    client, fields = program.client, {"key": program.secret, "action": "balance"}

    answers = [
        client.post(URL, form(program), content_type=FORM),
        client.post(f"{URL}/", form(program), content_type=FORM),
        client.post(URL, fields),
        client.post(URL, json.dumps(fields), content_type="application/json"),
        client.post(URL, json.dumps(fields), content_type="text/plain"),
        client.post(URL, form(program), content_type="text/plain"),
        client.get(URL, fields),
        client.post(f"{URL}?{form(program)}", b"", content_type=FORM),
    ]

    for response in answers:
        assert (response.status_code, response.json()) == (200, BALANCE)
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Cache-Control"] == "no-store"


def test_the_body_wins_over_the_address(program: Program) -> None:
    response = program.client.post(f"{URL}?action=services&key=x", form(program), content_type=FORM)

    assert response.json() == BALANCE


def test_get_can_be_switched_off_and_then_no_key_is_taken_from_an_address(
    program: Program, settings: LazySettings
) -> None:
    settings.API_ALLOW_GET = False
    told = {"error": "Incorrect request: use POST and send the key in the body"}

    assert program.client.get(f"{URL}?{form(program)}").json() == told
    assert program.client.post(f"{URL}?{form(program)}").json() == told
    assert program("balance") == BALANCE


def test_json_may_hold_numbers_lists_and_nothing(program: Program) -> None:
    def call(**fields: Any) -> Any:
        body = json.dumps({"key": program.secret, **fields})
        return program.client.post(URL, body, content_type="application/json").json()

    assert call(action="status", order=5) == {"error": "Incorrect order ID"}
    assert list(call(action="status", orders=[5, "6"])) == ["5", "6"]
    assert call(action="balance", order=None) == BALANCE
    assert call(action="balance", more=True) == BALANCE


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "{}",
        "[]",
        '"x"',
        "null",
        '{"key": NaN}',
        '{"key": {"a": 1}}',
        '{"key": [[1]]}',
        '{"key": "\\ud800"}',
        '{"key": "a\\u0000b"}',
        '{"a": ' * 5000,
    ],
)
def test_json_that_is_no_call_is_an_incorrect_request_or_has_no_key(
    client: Client, db: None, body: str
) -> None:
    response = client.post(URL, body, content_type="application/json")

    assert response.status_code == 200
    assert response.json()["error"] in {"Incorrect request", "Invalid API key"}


@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe", b"key=%00", b"key=%ED%A0%80", b"&" * 3000, b"a=1&" * 2000, b"%", b"=;=\n"],
)
@pytest.mark.parametrize(
    "kind", [FORM, f"{FORM}; charset=x-unknown", f"{FORM}; charset=utf-16", "multipart/form-data"]
)
def test_a_broken_form_is_no_error_of_ours(
    client: Client, db: None, body: bytes, kind: str
) -> None:
    response = client.generic("POST", URL, body, content_type=kind)

    assert response.status_code == 200
    assert response.json()["error"] in {"Incorrect request", "Invalid API key"}


def test_a_body_beyond_all_measure_is_refused(program: Program) -> None:
    body = form(program, comments="x" * (1024 * 1024))

    response = program.client.post(URL, body, content_type=FORM)

    assert response.json() == {"error": "Incorrect request: too long"}


@pytest.mark.parametrize("method", ["put", "patch", "delete", "head", "options"])
def test_other_methods_are_not_for_this_address(client: Client, db: None, method: str) -> None:
    response = getattr(client, method)(URL)

    assert response.status_code == 405
    assert response.headers["Allow"] == "GET, POST"


@pytest.mark.parametrize("action", ["", "orders", "__class__", "ADD", "statuses"])
def test_an_unknown_action_is_an_incorrect_request(program: Program, action: str) -> None:
    assert program(action) == {"error": "Incorrect request"}


def test_a_call_without_a_key_or_with_a_wrong_one_is_refused(program: Program) -> None:
    told = {"error": "Invalid API key"}

    assert program.client.post(URL, {"action": "balance"}).json() == told
    assert program.client.post(URL, {"action": "balance", "key": "x"}).json() == told
    assert program.client.post(URL, {"key": "x"}).json() == told


def test_a_disabled_customer_and_a_foreign_address_get_clear_errors(program: Program) -> None:
    program.user.api_keys.update(allowed_from="203.0.113.0/24")
    assert program("balance") == {"error": "IP address not allowed"}

    User.objects.update(is_active=False)
    assert program("balance") == {"error": "Your account is not active"}


def test_too_many_calls_get_429_with_the_seconds_to_wait(
    program: Program, settings: LazySettings
) -> None:
    settings.API_REQUESTS_PER_MINUTE = 1
    fields = {"key": program.secret, "action": "balance"}

    answers = [program.client.post(URL, fields) for _ in range(4)]

    late = answers[-1]
    assert late.status_code == 429
    assert 1 <= int(late.headers["Retry-After"]) <= 60
    assert late.json() == {"error": "Too many requests"}


def test_the_texts_are_english_whatever_the_client_or_its_owner_speaks(program: Program) -> None:
    User.objects.update(language="tr")

    response = program.client.post(
        URL,
        {"key": program.secret, "action": "add", "service": "7"},
        headers={"Accept-Language": "tr"},
    )

    assert response.json() == {"error": "Incorrect service ID"}


def test_an_error_of_ours_is_a_500_without_an_answer_and_the_key_is_in_no_log(
    program: Program, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_args: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setitem(__import__("orders.api", fromlist=["ACTIONS"]).ACTIONS, "balance", fail)
    with caplog.at_level(logging.DEBUG):
        response = program.client.post(URL, {"key": program.secret, "action": "balance"})

    assert response.status_code == 500
    assert response.json() == {"error": "Internal server error"}
    assert "broken" in caplog.text
    assert program.secret not in caplog.text


def test_a_session_opens_nothing_here(client: Client, customer: User) -> None:
    client.force_login(customer)

    assert client.post(URL, {"action": "balance"}).json() == {"error": "Invalid API key"}
