"""What an answer means for an order: pure rules by table."""

import pytest

from orders.states import Dispatch, Outcome
from orders.verdicts import Signal, judge
from upstream.answers import Placed
from upstream.errors import Kind, NotSent, OutcomeUnknown, Rejected

Q, R, U = Dispatch.QUEUED, Dispatch.REJECTED, Dispatch.UNKNOWN


def test_an_id_is_acceptance() -> None:
    found = judge(Placed("23501", '{"order":23501}'), tries=1, jitter=0)

    assert (found.dispatch, found.outcome) == (Dispatch.ACCEPTED, Outcome.ACCEPTED)
    assert (found.upstream_id, found.signal) == ("23501", Signal.ANSWERED)


@pytest.mark.parametrize(
    ("kind", "dispatch", "outcome", "signal", "seconds"),
    [
        (Kind.FUNDS, Q, Outcome.REJECTED, Signal.FUNDS, 60),
        (Kind.ACCOUNT, Q, Outcome.REJECTED, Signal.ACCOUNT, 60),
        (Kind.DUPLICATE_LINK, Q, Outcome.REJECTED, Signal.ANSWERED, 120),
        (Kind.RATE_LIMIT, Q, Outcome.REJECTED, Signal.NOT_SENT, 15),
        (Kind.UNAVAILABLE, Q, Outcome.REJECTED, Signal.ANSWERED, 60),
        (Kind.SERVICE, R, Outcome.REJECTED, Signal.ANSWERED, 0),
        (Kind.QUANTITY, R, Outcome.REJECTED, Signal.ANSWERED, 0),
        (Kind.LINK, R, Outcome.REJECTED, Signal.ANSWERED, 0),
        (Kind.REQUEST, R, Outcome.REJECTED, Signal.ANSWERED, 0),
        (Kind.UNRECOGNISED, U, Outcome.UNKNOWN, Signal.UNKNOWN, 0),
    ],
)
def test_each_kind_of_refusal_has_its_consequence(
    kind: Kind, dispatch: Dispatch, outcome: Outcome, signal: Signal, seconds: int
) -> None:
    found = judge(Rejected(kind, "text", answer="body", http_status=200), tries=1, jitter=0)

    assert (found.dispatch, found.outcome, found.signal) == (dispatch, outcome, signal)
    assert found.delay.total_seconds() == seconds
    assert (found.kind, found.reason, found.answer) == (kind.value, "text", "body")
    assert found.waiting_for == (kind.value if dispatch == Q else "")
    assert found.holds_service == (kind == Kind.SERVICE)


def test_every_kind_is_decided() -> None:
    for kind in Kind:
        assert judge(Rejected(kind, "x"), tries=1, jitter=0).dispatch in {Q, R, U}


def test_a_lost_answer_is_unknown_and_keeps_what_was_read() -> None:
    found = judge(OutcomeUnknown("HTTP 502", answer="<html>", http_status=502), tries=1, jitter=0)

    assert (found.dispatch, found.outcome, found.signal) == (U, Outcome.UNKNOWN, Signal.UNKNOWN)
    assert (found.answer, found.http_status, found.attention) == ("<html>", 502, "unknown")


def test_a_redirect_names_its_target() -> None:
    found = judge(OutcomeUnknown("redirect", location="evil.example"), tries=1, jitter=0)

    assert (found.dispatch, found.signal, found.target) == (U, Signal.REDIRECT, "evil.example")


def test_a_vague_text_is_unknown_until_staff_say_what_it_means() -> None:
    found = judge(Rejected(Kind.UNRECOGNISED, "try again"), tries=1, jitter=0)

    assert (found.attention, found.reason) == ("unrecognised", "try again")


@pytest.mark.parametrize(
    ("tries", "jitter", "seconds"),
    [(1, 0, 15), (2, 0, 30), (3, 0, 60), (3, 1, 75), (7, 0, 600), (7, 1, 600), (9999, 1, 600)],
)
def test_not_sent_waits_from_15_seconds_to_10_minutes(
    tries: int, jitter: float, seconds: int
) -> None:
    found = judge(NotSent("connection refused"), tries=tries, jitter=jitter)

    assert (found.dispatch, found.outcome) == (Q, Outcome.NOT_SENT)
    assert found.delay.total_seconds() == seconds


@pytest.mark.parametrize(("tries", "minutes"), [(1, 2), (2, 4), (4, 16), (5, 30), (50, 30)])
def test_a_duplicate_link_waits_from_2_to_30_minutes(tries: int, minutes: int) -> None:
    found = judge(Rejected(Kind.DUPLICATE_LINK, "x"), tries=tries, jitter=0)

    assert found.delay.total_seconds() == minutes * 60
