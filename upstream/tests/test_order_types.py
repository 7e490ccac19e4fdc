"""The 17 order types: what each sends, what it is charged for, and what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstream.order_types import ORDER_TYPES, FieldKind, InvalidFields, OrderType, find_type

LINK = {"link": "https://example.com/p/1"}
SENT = LINK | {"quantity": "100"}
NAMES = {"usernames": " ann \r\n\r\n bob\n"}
TRAFFIC = SENT | {"country": "US", "device": "5", "type_of_traffic": "3"}
SUBSCRIPTION = {"username": "ann", "min": "10", "max": "20", "posts": "3", "delay": "30"}
# One filled-in form of each type, what is charged, and what is sent where it differs.
EXAMPLES: dict[str, tuple[dict[str, str], int, dict[str, str]]] = {
    "Default": (SENT, 100, {}),
    "Package": (LINK, 1, {}),
    "SEO": (SENT | {"keywords": "one\r\ntwo"}, 100, {"keywords": "one\ntwo"}),
    "Custom Comments": (LINK | {"comments": "a\n\n b \n"}, 2, {"comments": "a\nb"}),
    "Custom Comments Package": (LINK | {"comments": "a\nb"}, 1, {}),
    "Mentions": (SENT | NAMES, 100, {"usernames": "ann\nbob"}),
    "Mentions with Hashtags": (
        SENT | NAMES | {"hashtags": "#x"},
        100,
        {"usernames": "ann\nbob"},
    ),
    "Mentions Custom List": (LINK | NAMES, 2, {"usernames": "ann\nbob"}),
    "Mentions Hashtag": (SENT | {"hashtag": "x"}, 100, {}),
    "Mentions User Followers": (SENT | {"username": "ann"}, 100, {}),
    "Mentions Media Likers": (SENT | {"media": "https://example.com/m"}, 100, {}),
    "Comment Likes": (SENT | {"username": "ann"}, 100, {}),
    "Comment Replies": (LINK | {"username": "ann", "comments": "a\nb\nc"}, 3, {}),
    "Poll": (SENT | {"answer_number": "2"}, 100, {}),
    "Invites from Groups": (SENT | {"groups": "g1\ng2"}, 100, {}),
    "Subscriptions": (SUBSCRIPTION, 60, {}),
    "Web Traffic": (TRAFFIC, 100, {}),
}


def the(name: str) -> OrderType:
    found = find_type(name)
    assert found is not None
    return found


def errors_of(name: str, values: dict[str, str]) -> dict[str, str]:
    with pytest.raises(InvalidFields) as caught:
        the(name).clean(values)
    return caught.value.errors


def test_every_type_of_the_protocol_is_declared() -> None:
    assert [found.name for found in ORDER_TYPES] == list(EXAMPLES)
    assert len({found.key for found in ORDER_TYPES}) == 17


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_type_sends_its_fields_and_charges_its_units(name: str) -> None:
    values, units, differing = EXAMPLES[name]
    sent = the(name).clean({**values, "service": "9", "key": "x", "charge": "0"})
    assert sent == {**values, **differing}
    assert the(name).units(values) == units
    assert the(name).clean(sent) == sent


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_required_field_of_a_type_is_asked_for(name: str) -> None:
    required = {field.name for field in the(name).fields if field.required}
    assert set(errors_of(name, {})) == required
    for field in required:
        values = {**EXAMPLES[name][0], field: "  \n "}
        assert errors_of(name, values) == {field: "This field is required."}


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("Default", "Default"),
        ("default", "Default"),
        (" DEFAULT ", "Default"),
        ("custom_comments", "Custom Comments"),
        ("Custom-Comments", "Custom Comments"),
        ("Custom Comment", "Custom Comments"),
        ("custom comments package", "Custom Comments Package"),
        ("mentions_with_hashtags", "Mentions with Hashtags"),
        ("WebTraffic", "Web Traffic"),
    ],
)
def test_a_type_is_found_by_every_spelling_seen(spelling: str, name: str) -> None:
    assert the(spelling).name == name


@pytest.mark.parametrize("text", ["", "Special", "special", "fb_viplike", "like", "Likes spread"])
def test_an_unknown_type_is_none(text: str) -> None:
    assert find_type(text) is None


def test_drip_feed_charges_every_run() -> None:
    values = SENT | {"runs": "5", "interval": "60"}
    assert the("Default").units(values) == 500
    assert the("Default").clean(values) == values
    assert the("Web Traffic").units(TRAFFIC | {"runs": "2", "interval": "9"}) == 200


@pytest.mark.parametrize(("given_one", "missing"), [("runs", "interval"), ("interval", "runs")])
def test_runs_and_interval_go_together(given_one: str, missing: str) -> None:
    assert set(errors_of("Default", SENT | {given_one: "5"})) == {missing}


@pytest.mark.parametrize(
    ("posts", "old_posts", "units"), [("3", "2", 100), ("0", "2", 40), ("3", "", 60)]
)
def test_a_subscription_is_charged_for_its_worst_case(
    posts: str, old_posts: str, units: int
) -> None:
    values = SUBSCRIPTION | {"posts": posts, "old_posts": old_posts}
    assert the("Subscriptions").units(values) == units


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"min": "21"}, "min"),
        ({"posts": "0"}, "posts"),
        ({"posts": "0", "old_posts": "0"}, "posts"),
        ({"delay": "7"}, "delay"),
        ({"expiry": "31/02/2026"}, "expiry"),
        ({"expiry": "soon"}, "expiry"),
        ({"max": "-1"}, "max"),
    ],
)
def test_a_subscription_that_makes_no_sense_is_refused(change: dict[str, str], field: str) -> None:
    assert set(errors_of("Subscriptions", SUBSCRIPTION | change)) == {field}


@pytest.mark.parametrize("date", ["09/07/2026", "2026-07-09"])
def test_a_date_is_sent_as_day_month_year(date: str) -> None:
    assert the("Subscriptions").clean(SUBSCRIPTION | {"expiry": date})["expiry"] == "09/07/2026"


def test_web_traffic_needs_what_its_kind_of_traffic_needs() -> None:
    assert set(errors_of("Web Traffic", TRAFFIC | {"type_of_traffic": "1"})) == {"google_keyword"}
    assert set(errors_of("Web Traffic", TRAFFIC | {"type_of_traffic": "2"})) == {"referring_url"}
    assert set(errors_of("Web Traffic", TRAFFIC | {"device": "6"})) == {"device"}
    keyword = TRAFFIC | {"type_of_traffic": "1", "google_keyword": "two words"}
    assert the("Web Traffic").clean(keyword) == keyword


@pytest.mark.parametrize("quantity", ["0", "-5", "1.5", "1e3", "ten", "٣", "9" * 13, "1 000"])
def test_a_quantity_is_a_whole_positive_number(quantity: str) -> None:
    assert set(errors_of("Default", SENT | {"quantity": quantity})) == {"quantity"}


def test_a_quantity_loses_blanks_and_leading_zeros() -> None:
    assert the("Default").clean(SENT | {"quantity": " 0100 "})["quantity"] == "100"


@pytest.mark.parametrize("link", ["two words", "a\nb", "a\x00b", "x" * 2001])
def test_a_link_is_one_word_of_bounded_length(link: str) -> None:
    assert set(errors_of("Default", SENT | {"link": link})) == {"link"}


def test_a_link_may_be_a_user_name_or_have_letters_of_any_script() -> None:
    assert the("Package").clean({"link": " @ünïcode "}) == {"link": "@ünïcode"}


def test_control_characters_leave_no_trace_in_comments() -> None:
    sent = the("Custom Comments").clean(LINK | {"comments": "a\x00b\n\x00\nc 😀"})
    assert sent["comments"] == "a b\nc 😀"


@given(st.text(max_size=80))
def test_the_lines_sent_are_the_lines_charged(text: str) -> None:
    kind = the("Custom Comments")
    try:
        sent = kind.clean(LINK | {"comments": text})["comments"]
    except InvalidFields:
        assert not text.strip(" \n") or not any(char.isprintable() for char in text.split())
        return
    assert kind.units(LINK | {"comments": text}) == len(sent.split("\n"))
    assert all(line.strip() for line in sent.split("\n"))
    assert "\r" not in sent


def test_a_choice_lists_its_values_and_every_field_has_a_label() -> None:
    for found in ORDER_TYPES:
        for field in found.fields:
            assert field.label
            assert bool(field.choices) == (field.kind is FieldKind.CHOICE)
