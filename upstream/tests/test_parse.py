"""The deviations of real panels, each with its reading, and a search for crashes."""

import json
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    UnreadableRow,
)
from upstream.client import Client
from upstream.errors import Kind, OutcomeUnknown, Rejected, UpstreamError
from upstream.tests.conftest import ScriptedServer, reply
from upstream.values import (
    Numeral,
    decimal_of,
    document,
    flag_of,
    id_of,
    int_of,
    lines_of,
    money_of,
    text_of,
)


def row(**fields: Any) -> ServiceRow:
    """Read one service row that says only this beside its id."""
    body = json.dumps([{"service": 1, **fields}]).encode()
    (found,) = parse.catalogue(body).rows
    return found


def status(body: str) -> OrderStatus:
    return parse.order_status(document(body.encode()), "5")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("0.90", "0.90"),
        (" 8 ", "8"),
        (880, "880"),
        ("0", "0"),
        ("-1", "-1"),
        ("99999999", "99999999"),
        ("", None),
        (None, None),
        (True, None),
        ("free", None),
        ("0,90", None),
        ("1,234.50", None),
        ("1e400", None),
        ("1e999999", None),
        ("٣", None),
        ([], None),
    ],
)
def test_a_rate_is_an_exact_number_or_none(sent: Any, expected: str | None) -> None:
    assert row(rate=sent).rate == (None if expected is None else Decimal(expected))


@pytest.mark.parametrize(
    "digits",
    ["0.00011999999999999999", "1E-5", "116011238807365.0", "0.1", "12345678901234567.125"],
)
def test_a_rate_sent_as_a_number_keeps_its_digits(digits: str) -> None:
    body = b'[{"service":1,"rate":' + digits.encode() + b"}]"
    rate = parse.catalogue(body).rows[0].rate
    assert rate == Decimal(digits)
    assert type(rate) is Decimal


@pytest.mark.parametrize("digits", ["1e400", "1e999999", "-1E+99999999", "9" * 5000])
def test_an_absurd_number_costs_nothing_and_spoils_only_its_row(digits: str) -> None:
    body = f'[{{"service":1,"rate":{digits},"min":{digits}}},{{"service":2,"rate":1}}]'.encode()
    started = time.thread_time()
    found = parse.catalogue(body)
    assert time.thread_time() - started < 0.5
    assert [service.rate for service in found.rows] == [None, Decimal(1)]
    assert found.rows[0].min is None


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_no_json(word: str) -> None:
    with pytest.raises(OutcomeUnknown, match="not JSON"):
        parse.catalogue(f'[{{"service":1,"rate":{word}}}]'.encode())
    assert row(rate=word).rate is None


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("50", 50),
        (50, 50),
        (0, 0),
        ("2 147 483 647", 2147483647),
        ("2\u00a0147\u00a0483\u00a0647", 2147483647),
        ("10,000", 10000),
        ("1.0", 1),
        (1e3, 1000),
        ("-5", -5),
        ("1.5", None),
        ("1,5", None),
        ("", None),
        (None, None),
        (True, None),
        ("9" * 30, None),
        ("many", None),
    ],
)
def test_limits_are_whole_numbers_as_sent_or_none(sent: Any, expected: int | None) -> None:
    found = row(min=sent, max=sent)
    assert (found.min, found.max) == (expected, expected)
    assert type(found.min) in {int, type(None)}


FLAGS = [
    (True, True),
    (1, True),
    ("1", True),
    ("true", True),
    ("True", True),
    (False, False),
    (0, False),
    ("0", False),
    ("false", False),
    ("", False),
]


@pytest.mark.parametrize(("sent", "expected"), FLAGS)
def test_flags_come_in_five_spellings(sent: Any, expected: bool) -> None:
    found = row(refill=sent, cancel=sent, dripfeed=sent)
    assert (found.refill, found.cancel, found.dripfeed) == (expected, expected, expected)


@pytest.mark.parametrize("sent", [None, "maybe", [], {}, 2])
def test_a_flag_that_says_nothing_promises_nothing(sent: Any) -> None:
    found = row(refill=sent, cancel=sent, dripfeed=sent)
    assert (found.refill, found.cancel, found.dripfeed) == (False, False, None)


def test_missing_fields_of_a_service_are_empty() -> None:
    assert row() == ServiceRow("1", "", "", "", None, None, None, False, False, None, "")


def test_names_are_one_trimmed_line_and_descriptions_keep_theirs() -> None:
    found = row(
        name="  a\r\nb\x00\tc &amp; <b> \ud83d ",
        category="Likes \n",
        desc=" one\r\ntwo\n\n",
        type=" Default ",
    )
    assert found.name == "a b c &amp; <b>"
    assert found.category == "Likes"
    assert found.type == "Default"
    assert found.description == "one\ntwo"
    assert len(row(name="x" * 9999).name) == 500
    assert row(description="d", desc="e").description == "d"


WRAPPED = [
    '[{"service":7}]',
    '\ufeff[{"service":7}]',
    '{"data":[{"service":7}]}',
    '{"status":"success","services":[{"service":"7"}]}',
    '{"7":{"name":""}}',
    '{"data":{"7":{"service":7}}}',
]


@pytest.mark.parametrize("body", WRAPPED)
def test_a_price_list_may_be_wrapped_or_keyed_by_id(body: str) -> None:
    assert [found.service for found in parse.catalogue(body.encode()).rows] == ["7"]


@pytest.mark.parametrize("body", ["[]", '{"data":[]}', '{"status":"success","data":"Empty Data"}'])
def test_an_empty_price_list_is_empty(body: str) -> None:
    assert parse.catalogue(body.encode()) == Catalogue((), ())


@pytest.mark.parametrize("body", ["null", "7", '"x"', "", "<html>", '{"a":1}', '{"data":"[{1}]"}'])
def test_what_is_no_price_list_is_unknown(body: str) -> None:
    with pytest.raises(OutcomeUnknown):
        parse.catalogue(body.encode())


def test_a_row_without_an_id_is_reported_and_the_others_are_kept() -> None:
    body = b'[{"service":1},7,{"name":"x"},{"service":true},{"error":"no rights"},{"service":"a1"}]'
    found = parse.catalogue(body)
    assert [service.service for service in found.rows] == ["1", "a1"]
    assert found.unreadable == (
        UnreadableRow(1, "", "not an object"),
        UnreadableRow(2, "", "no service id"),
        UnreadableRow(3, "", "no service id"),
        UnreadableRow(4, "", "no rights"),
    )


def test_broken_utf8_spoils_a_letter_and_not_the_list() -> None:
    assert parse.catalogue(b'[{"service":1,"name":"caf\xe9"}]').rows[0].name == "caf\ufffd"


def said(body: str) -> bytes:
    return parse.contents(parse.listed(document(body.encode())))


SAID = '[{"service":1,"name":"a","rate":"1.0"},{"service":2,"name":"b"},{"name":"no id"}]'


@pytest.mark.parametrize(
    "body",
    [
        '{"data":[{"name":"b","service":"2"},{"name":"no id"},{"rate":"1.0","service":1,"name":"a"}]}',
        SAID.replace('{"service"', '{"seen":17,"service"'),
        SAID.replace(",", " ,\n").replace('"a"', '"\\u0061"'),
    ],
)
def test_a_price_list_says_the_same_in_another_order_and_spacing(body: str) -> None:
    assert said(body) == said(SAID)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"1.0"', '"1.1"'),
        ('"b"', '"b "'),
        ('"service":1', '"service":3'),
        ('"rate":"1.0"', '"rate":null'),
        ("no id", "no name"),
        (',{"service":2,"name":"b"}', ""),
        ('{"service":2', '{"service":1'),
        ('"rate"', '"refill":true,"rate"'),
        ('"rate"', '"desc":"d","rate"'),
        ('"rate"', '"description":"d","rate"'),
    ],
)
def test_whatever_is_read_of_a_price_list_is_part_of_what_it_says(old: str, new: str) -> None:
    assert old in SAID
    assert said(SAID.replace(old, new)) != said(SAID)


def test_of_an_id_that_is_listed_twice_the_order_is_part_of_what_a_list_says() -> None:
    twice = '[{"service":1,"name":"a"},{"service":2},{"service":"1","name":"b"}]'
    assert said(twice) == said(
        '[{"service":1,"name":"a"},{"service":"1","name":"b"},{"service":2}]'
    )
    assert said(twice) != said(
        '[{"service":"1","name":"b"},{"service":1,"name":"a"},{"service":2}]'
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("23501", "23501"),
        (Numeral("215935357"), "215935357"),
        (" ord_01HG9X7KJP4N ", "ord_01HG9X7KJP4N"),
        ("9" * 64, "9" * 64),
        ("9" * 65, ""),
        ("", ""),
        ("0", ""),
        ("000", ""),
        ("false", ""),
        ("null", ""),
        (Numeral("-1"), ""),
        (Numeral("1.0"), ""),
        (Numeral("1e9"), ""),
        ("two words", ""),
        (True, ""),
        (None, ""),
        ([], ""),
    ],
)
def test_an_id_is_short_text_without_blanks(value: Any, expected: str) -> None:
    assert id_of(value) == expected


@pytest.mark.parametrize(
    "body",
    [
        '{"order":215935357}',
        '{"order":"215935357"}',
        '{"order_id":215935357}',
        '{"orderId":215935357}',
        '{"id":"215935357"}',
        '{"status":"success","data":{"order":215935357}}',
        '[{"order":215935357}]',
        '\ufeff {"order":215935357,"charge":"1"} ',
        '{"error":"","order":215935357}',
        '{"error":false,"order":215935357}',
        '{"error":null,"errors":[],"order":215935357}',
    ],
)
def test_the_id_of_a_new_order_is_found_where_panels_put_it(
    server: ScriptedServer, client: Client, body: str
) -> None:
    server.answer(reply(body))
    assert client.add("1", {}).order == "215935357"


REFUSALS = [
    '{"error":"Bad link"}',
    '{"errors":["Bad link"]}',
    '{"errors":{"link":["Bad link"]}}',
    '{"status":"fail","message":"Bad link"}',
    '{"status":"error","msg":"Bad link"}',
    '{"success":false,"message":"Bad link"}',
    '{"error":{"code":7,"message":"Bad link"}}',
    '{"error":true,"message":"Bad link"}',
    '[{"error":"Bad link"}]',
    '{"status":"error","error":"Bad link","order":null}',
    '{"error":"Bad link","order":0}',
]


@pytest.mark.parametrize("body", REFUSALS)
@pytest.mark.parametrize("http", ["200 OK", "400 Bad Request", "404 Not Found", "422 No"])
def test_a_refusal_is_read_in_every_shape_and_http_status(
    server: ScriptedServer, client: Client, body: str, http: str
) -> None:
    server.answer(reply(body, http))
    with pytest.raises(Rejected) as caught:
        client.add("1", {})
    assert caught.value.kind is Kind.LINK
    assert caught.value.text == "Bad link"
    assert caught.value.http_status == int(http[:3])


def test_a_message_is_a_refusal_only_when_the_answer_says_so(
    server: ScriptedServer, client: Client
) -> None:
    server.answer(
        reply('{"message":"Unauthenticated."}', "401 Unauthorized"),
        reply('{"message":"Unauthenticated."}'),
    )
    with pytest.raises(Rejected) as caught:
        client.add("1", {})
    assert caught.value.kind is Kind.ACCOUNT
    with pytest.raises(OutcomeUnknown):
        client.add("1", {})


@pytest.mark.parametrize("body", ["<html>slow down", "", "{}", '{"error":"x"}', "[]"])
def test_429_is_a_rate_limit_whatever_it_says(
    server: ScriptedServer, client: Client, body: str
) -> None:
    server.answer(reply(body, "429 Too Many Requests"))
    for call in (lambda: client.add("1", {}), client.balance):
        with pytest.raises(Rejected) as caught:
            call()
        assert caught.value.kind is Kind.RATE_LIMIT


def test_an_id_beside_an_error_is_unknown_unless_the_error_is_known_to_win(
    server: ScriptedServer, make_client: Any
) -> None:
    server.answer(reply('{"error":"low balance","order":32}'))
    with pytest.raises(OutcomeUnknown):
        make_client().add("1", {})
    with pytest.raises(Rejected) as caught:
        make_client(error_wins=True).add("1", {})
    assert caught.value.kind is Kind.FUNDS
    server.answer(reply('{"order":32}', "429 Too Many Requests"))
    with pytest.raises(OutcomeUnknown):
        make_client(error_wins=True).add("1", {})


STATES = {
    State.PENDING: ["Pending", "Awaiting", "Queued", "held", " PENDING "],
    State.PROCESSING: ["Processing"],
    State.IN_PROGRESS: ["In progress", "Inprogress", "in_progress", "IN-PROGRESS", "Running"],
    State.COMPLETED: ["Completed", "Complete"],
    State.PARTIAL: ["Partial", "Partially Completed"],
    State.CANCELED: ["Canceled", "Cancelled", "Canelled"],
    State.FAILED: ["Fail", "Failed", "Error", "Rejected"],
    State.REFUNDED: ["Refunded", "Refund", "Refunds"],
    State.ACTIVE: ["Active"],
    State.PAUSED: ["Paused"],
    State.EXPIRED: ["Expired"],
    State.UNKNOWN: ["Outdated", "Old", "7", "3"],
}


@pytest.mark.parametrize(
    ("raw", "state"), [(raw, state) for state, raws in STATES.items() for raw in raws]
)
def test_a_status_is_folded_and_kept_as_sent(raw: str, state: State) -> None:
    found = status(json.dumps({"status": raw, "charge": "1"}))
    assert (found.state, found.raw_status) == (state, raw.strip())


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (0, State.PENDING),
        (1, State.PROCESSING),
        (2, State.COMPLETED),
        (3, State.PARTIAL),
        (4, State.CANCELED),
        (5, State.REFUNDED),
        (6, State.UNKNOWN),
    ],
)
def test_a_bare_number_is_a_status_code(code: int, state: State) -> None:
    assert status(json.dumps({"status": code, "charge": "1"})).state is state


@pytest.mark.parametrize(
    "body",
    [
        '{"status":"Completed","order":5}',
        '[{"status":"Completed","order":"5"}]',
        '{"5":{"status":"Completed"}}',
        '{"status":"success","data":{"status":"Completed"}}',
    ],
)
def test_one_orders_status_is_found_in_every_wrapping(body: str) -> None:
    assert status(body).state is State.COMPLETED


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "{}",
        "7",
        '"Completed"',
        '{"status":""}',
        '{"status":null}',
        '{"status":"error"}',
        '{"status":"fail"}',
        '{"status":"success"}',
        '{"status":"Completed","order":6}',
        '{"6":{"status":"Completed"}}',
        '{"status":{"error":"x"}}',
    ],
)
def test_what_is_not_this_orders_status_settles_nothing(body: str) -> None:
    with pytest.raises(OutcomeUnknown):
        status(body)


def test_a_failed_order_is_told_from_a_failed_request(
    server: ScriptedServer, client: Client
) -> None:
    server.answer(
        reply('{"status":"Error","charge":"0","remains":"100"}'),
        reply('{"status":"error","message":"Incorrect order ID"}'),
    )
    assert client.status("5").state is State.FAILED
    with pytest.raises(Rejected):
        client.status("5")


@pytest.mark.parametrize(
    ("sent", "start_count", "remains"),
    [
        ('"start_count":null,"remains":null', None, None),
        ('"start_count":"","remains":""', None, None),
        ('"start_count":12,"remains":-30', 12, -30),
        ('"start_counter":"7","remains":"5000"', 7, 5000),
        ('"start_count":null,"start_counter":7', 7, None),
        ('"start_count":"n/a","remains":"?"', None, None),
    ],
)
def test_counts_are_numbers_or_not_said(
    sent: str, start_count: int | None, remains: int | None
) -> None:
    found = status(f'{{"status":"Partial",{sent}}}')
    assert (found.start_count, found.remains) == (start_count, remains)


def test_a_parent_lists_its_children_and_an_expiry_may_be_a_flag() -> None:
    found = status(
        '{"status":"Active","posts":"2","expiry":false,"orders":[1,"2",null],"old_orders":"3"}'
    )
    assert (found.posts, found.expiry, found.orders, found.old_orders) == (
        2,
        "",
        ("1", "2"),
        ("3",),
    )


def answers_for(body: str, *asked: str) -> dict[str, Any]:
    return parse.order_statuses(document(body.encode()), asked)


MISSING = ItemError("not in the answer", Kind.UNRECOGNISED, missing=True)
WRONG = ItemError("Incorrect order ID", Kind.REQUEST)


@pytest.mark.parametrize(
    "body",
    [
        '{"1":{"status":"Completed"},"2":{"error":"Incorrect order ID"}}',
        '{"1":{"status":"Completed"},"2":"Incorrect order ID"}',
        '{"1":{"status":"Completed"},"2":["Incorrect order ID"]}',
        '{"1":{"status":"Completed"},"2":{"errors":["Incorrect order ID"]}}',
        '[{"order":1,"status":"Completed"},{"order":"2","error":"Incorrect order ID"}]',
        (
            '[{"order":1,"status":"Completed"},'
            '{"order":2,"status":"error","message":"Incorrect order ID"}]'
        ),
        '{"data":{"1":{"status":"Completed"},"2":"Incorrect order ID"}}',
        (
            '{"status":"success","orders":[{"id":1,"status":"Completed"},'
            '{"id":2,"error":"Incorrect order ID"}]}'
        ),
    ],
)
def test_many_statuses_are_sorted_to_the_ids_that_were_asked(body: str) -> None:
    found = answers_for(body, "1", "2", "3")
    assert found["1"].state is State.COMPLETED
    assert found["2"] == WRONG
    assert found["3"] == MISSING


def test_one_bad_item_spoils_no_other() -> None:
    body = '{"1":null,"2":{},"3":[],"4":7,"5":true,"6":{"status":"error"},"7":{"status":"Partial"}}'
    found = answers_for(body, *"1234567")
    assert found["1"] == MISSING
    assert [found[key] for key in "2356"] == [ItemError("unreadable", Kind.UNRECOGNISED)] * 4
    assert found["4"].kind is Kind.UNRECOGNISED
    assert found["7"].state is State.PARTIAL


def test_one_asked_among_many_may_be_answered_flat() -> None:
    assert answers_for('{"status":"Completed","charge":"1"}', "1")["1"].state is State.COMPLETED
    assert answers_for('{"status":"Completed","charge":"1"}', "1", "2") == {
        "1": MISSING,
        "2": MISSING,
    }


def test_a_refused_batch_is_rejected_as_a_whole(server: ScriptedServer, client: Client) -> None:
    server.answer(reply('{"error":"Invalid Order Ids"}', "400 Bad Request"))
    with pytest.raises(Rejected):
        client.statuses(["1", "2"])


def test_refills_are_read_in_every_shape() -> None:
    body = (
        '[{"order":1,"refill":"ref_01HG"},{"order":2,"error":"Refill not found"},'
        '{"order":3,"status":{"error":"Refill not found"}},{"order":4,"refill":"Refill not found"},'
        '{"order":5,"refill":0},{"order":6,"status":"Pending"}]'
    )
    refused = ItemError("Refill not found", Kind.REQUEST)
    found = parse.refill_ids(document(body.encode()), tuple("1234567"))
    assert found["1"] == "ref_01HG"
    assert [found[key] for key in "234"] == [refused] * 3
    assert found["5"] == ItemError("unreadable", Kind.UNRECOGNISED)
    assert isinstance(found["6"], ItemError)
    assert found["7"] == MISSING
    assert parse.refill_ids(document(b'{"1":{"refill":9},"2":8}'), ("1", "2")) == {
        "1": "9",
        "2": "8",
    }


@pytest.mark.parametrize("body", ["{}", '{"refill":0}', '{"status":"success"}', '{"refill":""}'])
def test_a_refill_without_an_id_is_unknown(
    server: ScriptedServer, client: Client, body: str
) -> None:
    server.answer(reply(body))
    with pytest.raises(OutcomeUnknown):
        client.refill("1")


def test_a_refused_refill_may_put_its_error_in_the_place_of_the_id(
    server: ScriptedServer, client: Client
) -> None:
    server.answer(reply('{"refill":{"error":"Order not eligible for refill."}}'))
    with pytest.raises(Rejected) as caught:
        client.refill("1")
    assert caught.value.kind is Kind.REQUEST


@pytest.mark.parametrize(
    ("raw", "state"),
    [
        ("Pending", RefillState.PENDING),
        ("Awaiting", RefillState.PENDING),
        ("In progess", RefillState.IN_PROGRESS),
        ("in_progress", RefillState.IN_PROGRESS),
        ("Completed", RefillState.COMPLETED),
        ("Rejected", RefillState.REJECTED),
        ("Cancelled", RefillState.CANCELED),
        ("Partial", RefillState.PARTIAL),
        ("Refunded", RefillState.REFUNDED),
        ("Error", RefillState.ERROR),
        ("Whatever", RefillState.UNKNOWN),
    ],
)
def test_a_refills_status_is_folded(raw: str, state: RefillState) -> None:
    assert parse.refill_status({"status": raw}) == RefillStatus(state, raw)
    assert parse.refill_statuses({"1": raw, "2": {"status": raw}}, ("2",)) == {
        "2": RefillStatus(state, raw)
    }


@pytest.mark.parametrize(
    "body",
    [
        '[{"order":1,"cancel":1},{"order":2,"cancel":{"error":"Incorrect order ID"}}]',
        '[{"order":1,"cancel":77},{"order":2,"error":"Incorrect order ID"}]',
        '{"1":{"cancel":true},"2":{"cancel":"Incorrect order ID"}}',
        '{"1":1,"2":"Incorrect order ID"}',
    ],
)
def test_cancels_are_read_item_by_item(body: str) -> None:
    assert parse.cancels(document(body.encode()), ("1", "2", "3")) == {
        "1": None,
        "2": WRONG,
        "3": MISSING,
    }


@pytest.mark.parametrize("body", ['{"ok":"true"}', '{"success":"On its way"}', '{"cancel":5}'])
def test_a_cancel_of_one_order_may_be_answered_flat(body: str) -> None:
    assert parse.cancels(document(body.encode()), ("1",)) == {"1": None}
    assert parse.cancels(document(body.encode()), ("1", "2")) == {"1": MISSING, "2": MISSING}


@pytest.mark.parametrize("body", ['{"ok":"false"}', '{"success":false}', '{"cancel":0}', "{}"])
def test_a_cancel_that_is_not_confirmed_is_not_accepted(body: str) -> None:
    assert parse.cancels(document(body.encode()), ("1",)) == {"1": MISSING}
    assert parse.cancels([{"order": Numeral("1"), "cancel": Numeral("0")}], ("1",)) == {
        "1": ItemError("unreadable", Kind.UNRECOGNISED)
    }


@pytest.mark.parametrize(
    ("body", "amount", "currency"),
    [
        ('{"balance":"100.84292","currency":"USD"}', "100.84292", "USD"),
        ('{"balance":100.84292,"currency":"USDT"}', "100.84292", "USDT"),
        ('{"status":"success","balance":"1,526,952.50","currency":"IRT"}', "1526952.50", "IRT"),
        ('{"balance":"$1,234.5"}', "1234.5", ""),
        ('{"balance":"1.234,56 €"}', "1234.56", ""),
        ('{"balance":"100,84"}', "100.84", ""),
        ('{"balance":"1 234.5"}', "1234.5", ""),
        ('{"balance":"-$3.50"}', "-3.50", ""),
        ('{"balance":"1.234.567 ₫","currency":"VND"}', "1234567", "VND"),
        ('{"balance":0}', "0", ""),
        ('{"data":{"balance":"7","currency":"NGN"}}', "7", "NGN"),
        ("12.5", "12.5", ""),
        ('"12.5"', "12.5", ""),
    ],
)
def test_a_balance_is_read_with_separators_and_signs(body: str, amount: str, currency: str) -> None:
    found = parse.balance(document(body.encode()))
    assert found == Balance(Decimal(amount), currency)
    assert type(found.amount) is Decimal


@pytest.mark.parametrize(
    "body",
    ["{}", "[]", "null", '{"balance":null}', '{"balance":"n/a"}', '{"balance":true}', '"1 of 2"'],
)
def test_what_is_no_balance_is_unknown(body: str) -> None:
    with pytest.raises(OutcomeUnknown):
        parse.balance(document(body.encode()))


FIELD_NAMES = ["order", "orders", "id", "status", "error", "errors", "message", "refill", "cancel"]
FIELD_NAMES += ["canceled", "data", "balance", "service", "services", "rate", "min", "charge"]
FIELD_NAMES += ["success", "ok", "1", "2"]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["Completed", "error", "success", "0", "1", "true", "1,000", "-"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELD_NAMES),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
READERS: list[Any] = [
    parse.service_rows,
    lambda answer: parse.contents(parse.listed(answer)),
    parse.balance,
    parse.refill_status,
    parse.placed_id,
    parse.refill_id,
    parse.error_text,
    lambda answer: parse.order_status(answer, "1"),
    lambda answer: parse.order_statuses(answer, ("1", "2")),
    lambda answer: parse.refill_ids(answer, ("1", "2")),
    lambda answer: parse.refill_statuses(answer, ("1", "2")),
    lambda answer: parse.cancels(answer, ("1", "2")),
    lambda answer: parse.cancels(answer, ("1",)),
]


def has_float(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(has_float, value.values()))
    if isinstance(value, list | tuple):
        return any(map(has_float, value))
    if hasattr(value, "__dataclass_fields__"):
        return has_float(vars(value))
    return isinstance(value, float)


@given(JSON)
def test_no_json_makes_a_reader_raise_anything_else_or_a_float(value: Any) -> None:
    answer = document(json.dumps(value).encode())
    for reader in READERS:
        try:
            found = reader(answer)
        except UpstreamError:
            continue
        assert not has_float(found)
        if isinstance(found, dict):
            assert set(found) in ({"1", "2"}, {"1"})


@given(st.binary(max_size=200))
def test_no_bytes_make_the_catalogue_raise_anything_else(body: bytes) -> None:
    try:
        parse.catalogue(body)
    except UpstreamError:
        return


@given(st.text(max_size=60) | st.from_regex(r"[-+$€ ]?\d{1,9}([., ]\d{3}){0,3}([.,]\d{1,4})?"))
def test_no_text_makes_a_scalar_reader_raise(text: str) -> None:
    for value in (text, Numeral(text)):
        for number in (decimal_of(value), money_of(value)):
            assert number is None or (type(number) is Decimal and number.is_finite())
        assert type(int_of(value)) in {int, type(None)}
        assert len(id_of(value)) <= 64
        assert flag_of(value) in {True, False, None}
        assert len(text_of(value)) <= 500
        assert "\n" not in text_of(value)
        assert len(lines_of(value)) <= 5000


@given(st.decimals(min_value=0, max_value=10**9, places=5))
def test_a_balance_survives_both_ways_of_grouping(amount: Decimal) -> None:
    english = f"{amount:,}"
    assert money_of(f"${english}") == amount
    german = english.replace(",", "_").replace(".", ",").replace("_", ".")
    assert money_of(f"{german} €") == amount


@given(st.integers(min_value=1, max_value=10**18))
def test_an_id_of_any_length_stays_exact(number: int) -> None:
    assert parse.placed_id(document(f'{{"order":{number}}}'.encode())) == str(number)


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ("1", "1"), ('"17"', "17"), ('"007"', "007"), ("0", ""), ('"0"', ""), ('"00"', ""),
        ('" 5 "', "5"), ('"a1"', "a1"), ('"\\u00b2"', "\u00b2"), ("1.5", ""), ("true", ""), ("null", ""),
        ('"' + "9" * 64 + '"', "9" * 64), ('"' + "9" * 65 + '"', ""), ("[1]", ""),
    ],
)  # fmt: skip
def test_the_id_of_a_row_is_read_as_every_id_is(service: str, expected: str) -> None:
    row = document(f'{{"service":{service}}}'.encode())

    ((found, _, _),) = parse.listed([row])

    assert found == expected == id_of(row["service"])
    assert type(found) is str
