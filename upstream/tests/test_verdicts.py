"""What real error texts mean, in the order of how often they were seen."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from upstream.answers import ItemError
from upstream.client import Client
from upstream.errors import Kind, NotSent, OutcomeUnknown, Rejected
from upstream.tests.conftest import ScriptedServer, raw_reply, reply
from upstream.verdicts import kind_of, normalise

CSV = Path(__file__).parent / "data" / "error-strings-real.csv"
with CSV.open(encoding="utf-8", newline="") as lines:
    ROWS = list(csv.DictReader(lines))

KIND_OF_CLASS = {
    "F": Kind.FUNDS,
    "T-duplicate": Kind.DUPLICATE_LINK,
    "T-limit": Kind.RATE_LIMIT,
    "T-maintenance": Kind.UNAVAILABLE,
    "T": Kind.UNAVAILABLE,
    "R-link": Kind.LINK,
    "R-service": Kind.SERVICE,
    "R-quantity": Kind.QUANTITY,
    "R-auth": Kind.ACCOUNT,
    "A": Kind.UNRECOGNISED,
}
# These rows tell of something else than an error text.
OTHER = {
    "Api order ID: <n> (accepted)",
    "(empty / dash)",
    "HTML page instead of JSON (61 'Sign in', 3 PHP warnings, 1 nginx test page)",
    "(client crash: body was a JSON string, not an object/array)",
    'HTTP 404 {"error":"Incorrect request"}',
    "cURL error 28: Failed to connect ... port 443 after 10000 ms",
}
TEXTS = [row for row in ROWS if row["upstream_answer_to_add"] not in OTHER]


def test_the_file_has_all_its_rows() -> None:
    assert len(ROWS) == 44
    assert len(TEXTS) == 44 - len(OTHER)


@pytest.mark.parametrize("row", TEXTS, ids=lambda row: row["upstream_answer_to_add"][:40])
@pytest.mark.parametrize("spell", [str, str.upper, str.lower, str.title])
def test_a_real_error_text_has_its_kind(row: dict[str, str], spell: type[str]) -> None:
    text = spell(row["upstream_answer_to_add"])
    assert kind_of(text) is KIND_OF_CLASS[row["class"]]


@pytest.mark.parametrize("row", TEXTS, ids=lambda row: row["upstream_answer_to_add"][:40])
def test_a_real_error_text_is_raised_with_its_kind(
    server: ScriptedServer, client: Client, row: dict[str, str]
) -> None:
    text = row["upstream_answer_to_add"]
    server.answer(reply(f'{{"error":"{text}"}}'))
    with pytest.raises(Rejected) as caught:
        client.add("1", {})
    assert caught.value.kind is KIND_OF_CLASS[row["class"]]
    assert caught.value.text == text


def test_the_rows_that_are_no_error_text_mean_what_they_tell(
    server: ScriptedServer, client: Client
) -> None:
    server.answer(
        reply('{"order":98765432}'),
        reply(""),
        reply("<!DOCTYPE html><title>Sign in</title>"),
        reply('"Order accepted"'),
        reply('{"error":"Incorrect request"}', "404 Not Found"),
    )
    assert client.add("1", {}).order == "98765432"
    for _ in range(3):
        with pytest.raises(OutcomeUnknown):
            client.add("1", {})
    with pytest.raises(Rejected) as caught:
        client.add("1", {})
    assert caught.value.kind is Kind.REQUEST
    assert caught.value.http_status == 404


def test_a_connection_that_never_opened_is_not_sent(server: ScriptedServer) -> None:
    server.answer(raw_reply(b""))
    url = server.url
    server.close()
    with (
        Client(url=url, key="k", allow_private=True) as client,
        pytest.raises(NotSent, match="refused"),
    ):
        client.add("1", {})


BY_KIND: dict[Kind, list[str]] = {
    Kind.FUNDS: [
        "not_enough_funds",
        "Insufficient balance",
        "Insufficient funds",
        "insufficient_funds",
        "Not enough funds",
        "neworder.error.insufficient_balance",
        "Số dư không đủ để thực hiện",
        "Yetersiz bakiye",
        "BAKİYENİZ YETERSİZ",
        "Insufficient balance. Please top up and try again.",
        "low balance",
    ],
    Kind.DUPLICATE_LINK: [
        "link_duplicate",
        "error.duplicate_order",
        "Duplicate order",
        "An identical order was just placed",
        "You already have an active order for this link",
        "У вас уже есть активный заказ с этой ссылкой",
        "Bu bağlantıya ait aktif siparişiniz var",
    ],
    Kind.RATE_LIMIT: [
        "neworder.error.too_many_orders",
        "Rate limit exceeded",
        "Rate limit exceeded. Max 60 requests per minute.",
        "Too many requests",
        "Too many requests, please try again later",
    ],
    Kind.UNAVAILABLE: [
        "Service temporarily disabled",
        "Ordering is disabled",
        "API is disabled",
        "This panel is temporarily unavailable",
        "Hệ thống đang bảo trì!",
        "Dịch vụ tạm bảo trì",
        "Sistem bakımda",
        "Cancellation requests are currently disabled.",
    ],
    Kind.SERVICE: [
        "neworder.error.incorrect_service_id",
        "neworder.error.service_not_found",
        "neworder.error.service_inactive",
        "error.invalid_service",
        "Invalid Service Id",
        "Service ID does not exists",
        "Service not found",
        "Disabled service ID",
        "Dịch vụ không tồn tại",
        "Geçersiz servis",
    ],
    Kind.QUANTITY: [
        "Quantity less than minimal 100",
        "Quantity more than maximum 5000",
        "Quantity less than maximum 5,000",
        "neworder.error.max_quantity",
        "neworder.error.invalid_quantity",
        "neworder.error.not_enough_quantity",
        "Quantity must be a multiple of 10",
        "Incorrect quantity",
        "Quantity must be between 10 and 20",
        "Quantity must to be greater than or equal to minimum amount 50",
        "Minimum quantity is 50",
        "Maximum quantity is 1000",
        "Quantity is required",
        "Số lượng tối thiểu là 100",
    ],
    Kind.LINK: [
        "Bad link",
        "Invalid Link",
        "Incorrect link",
        "neworder.error.link",
        "neworder.error.invalid_link",
        "neworder.error.link_not_found",
        "error.invalid_link",
        "Link is required",
        "Geçersiz bağlantı",
        "Liên kết không hợp lệ",
    ],
    Kind.ACCOUNT: [
        "Invalid API key",
        "invalid api key",
        "Incorrect API key",
        "API key is not specified!",
        "Missing API key",
        "API is Disable for this user or User Not Found! Contact the Support",
        "API access disabled",
        "Account suspended",
        "Your account is not active",
        "ip_not_allowed",
        "neworder.error.account_banned",
    ],
    Kind.REQUEST: [
        "Incorrect request",
        "Invalid action",
        "This action is Invalid",
        "The action field is required",
        "The quantity field is required.",
        "Incorrect username",
        "Incorrect posts",
        "Incorrect min",
        "Incorrect delay",
        "Incorrect comments",
        "neworder.error.comment",
        "Comments field is required",
        "Incorrect runs",
        "Min cannot be higher than Max",
        "Interval time is required",
        "Maximum 100 orders",
        "Invalid Order Ids",
        "error.incorrect_order_id",
        "You are not eligible to send refill request.",
        "Refill is not available for this service",
        "Incorrect refill ID",
        "error.refill_too_early",
        "You are not eligible to cancel this order.",
        "This order has already started and cannot be cancelled.",
        "This services does not support Dripfeed feature!",
        "Dripfeed is not supported by this service",
    ],
    Kind.UNRECOGNISED: [
        "",
        "unknown",
        "There was an error processing your request. Please try again.",
        "Order could not be created",
        "Failed to place order. Please try again.",
        "Failed to place order",
        "Internal error",
        "Database error: not enough funds",
        "Request timed out",
        "Temporarily unavailable, try again",
        "cURL error 28: Failed to connect ... port 443 after 10000 ms",
        "a text nobody has seen",
        "misinvalid linkage",
    ],
}


@pytest.mark.parametrize(
    ("text", "kind"), [(text, kind) for kind, texts in BY_KIND.items() for text in texts]
)
def test_a_text_met_in_documents_and_servers_has_its_kind(text: str, kind: Kind) -> None:
    assert kind_of(text) is kind


def test_sentence_and_key_forms_and_numbers_are_folded() -> None:
    assert normalise("Not  Enough_Funds!") == normalise("not.enough-funds")
    assert normalise("Minimum 50") == normalise("minimum 100")
    assert normalise("İNCORRECT") == "incorrect"


def test_a_providers_own_rule_wins_over_the_table(
    server: ScriptedServer, make_client: Callable[..., Client]
) -> None:
    rules = {normalise("Order could not be created"): Kind.LINK}
    assert kind_of("order could not be CREATED.", rules) is Kind.LINK
    server.answer(
        reply('{"error":"Order could not be created!"}'),
        reply('{"5":"Order could not be created!"}'),
    )
    client = make_client(rules=rules)
    with pytest.raises(Rejected) as caught:
        client.add("1", {})
    assert caught.value.kind is Kind.LINK
    assert client.statuses(["5"]) == {"5": ItemError("Order could not be created!", Kind.LINK)}
