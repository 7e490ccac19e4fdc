"""A list in another order is recognised by its rows' texts, and nothing else is taken for it."""

import json
from collections.abc import Sequence
from itertools import permutations

import pytest

from upstream import parse
from upstream.recognition import Recognition
from upstream.values import document

ROWS = ['{"service":1,"rate":"1.0"}', '{"service":2,"name":"b"}', '{"service":3,"name":"ü"}']


def listing(rows: Sequence[str]) -> bytes:
    return f"[{','.join(rows)}]".encode()


def read(body: bytes, *, known: Sequence[str] = (), premises: bytes = b"") -> Recognition:
    """As the client asks: of the body, and then of what it says."""
    found = Recognition(known, premises)
    if not found.knows_body(body):
        found.knows_contents(parse.listed(document(body)))
    return found


def recognised_by_texts(first: bytes, other: bytes) -> bool:
    return Recognition([read(first).rows]).knows_body(other)


@pytest.mark.parametrize("rows", list(permutations(ROWS)))
def test_any_order_of_the_same_texts_is_known_without_reading(rows: Sequence[str]) -> None:
    assert recognised_by_texts(listing(ROWS), b"  " + listing(rows) + b"\n")


@pytest.mark.parametrize(
    "rows",
    [
        ROWS[:2],
        [*ROWS, ROWS[0]],
        [*ROWS, '{"service":4}'],
        [ROWS[0].replace("1.0", "1.1"), *ROWS[1:]],
        [ROWS[0].replace(":1,", ": 1,"), *ROWS[1:]],
    ],
)
def test_other_texts_are_not_known(rows: Sequence[str]) -> None:
    assert not recognised_by_texts(listing(ROWS), listing(rows))


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"[{}]",
        b'{"data":[{"service":1},{"service":2}]}',
        b'{"1":{"name":"a"},"2":{"name":"b"}}',
        b'[{"service":1}, {"service":2}]',
        b'[{"service":1},\n{"service":2},{"service":3}]',
        b'[{"service":1},{"service":2},{"name":"no id"}]',
        b'[{"service":1},{"service":2},7]',
        # The first row of an ID counts, so their order says something.
        b'[{"service":1,"rate":"1"},{"service":1,"rate":"2"}]',
        b'[{"service":1,"rate":"1"},{"service":"1","rate":"2"}]',
        # What looks like the place between two rows, and is none.
        b'[{"service":1,"name":"x},{y"},{"service":2}]',
        b'[{"service":1,"name":"x},{y"}, {"service":2}]',
        b'[{"service":1,"name":"x} ,{y"},{"service":2}]',
        b'[{"service":1,"tags":[{"a":1},{"b":2}]}, {"service":2}]',
        b'[{"service":1,"tags":[{"a":1},{"b":2}]},{"service":2}]',
    ],
)
def test_the_texts_of_other_shapes_tell_nothing(body: bytes) -> None:
    found = read(body)

    assert found.rows == ""
    assert found.whole
    assert found.contents


def test_whoever_moves_half_a_name_is_read() -> None:
    """The same pieces in another order, and another list: each half stands in the other's name."""
    one = b'[{"service":1,"name":"a},{b"},{"service":2,"name":"c},{d"}]'
    other = b'[{"service":1,"name":"a},{d"},{"service":2,"name":"c},{b"}]'
    assert sorted(one[2:-2].split(b"},{")) == sorted(other[2:-2].split(b"},{"))

    assert not recognised_by_texts(one, other)
    assert read(one).contents != read(other).contents


def test_what_the_texts_tell_is_what_reading_them_tells() -> None:
    first = read(listing(ROWS))

    for rows in permutations(ROWS):
        assert read(listing(rows)).contents == first.contents
        assert read(listing(rows)).rows == first.rows


def test_premises_are_part_of_all_three() -> None:
    one, other = (read(listing(ROWS), premises=each) for each in (b"1\n", b"2\n"))

    assert len({one.whole, one.rows, one.contents, other.whole, other.rows, other.contents}) == 6


def test_nothing_is_known_to_who_knows_nothing() -> None:
    for body in (listing(ROWS), b"[]", json.dumps([{"service": 1}, 7]).encode()):
        assert not Recognition([""]).knows_body(body)
        assert not Recognition([""]).knows_contents(parse.listed(document(body)))
