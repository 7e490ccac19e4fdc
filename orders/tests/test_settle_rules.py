from dataclasses import replace
from decimal import Decimal

import pytest

from orders.attention import Attention
from orders.decisions import (
    Decision,
    Facts,
    Part,
    Shape,
    decide,
    is_news,
    partial_refund,
    shape_of,
    units_of_charge,
)
from orders.states import Dispatch, Status
from upstream.answers import OrderStatus, State

RUNNING = Facts(
    dispatch=Dispatch.ACCEPTED,
    status=Status.IN_PROGRESS,
    shape=Shape.PLAIN,
    quantity=1000,
    charge=Decimal("2.00000"),
    refunded=Decimal(0),
    raw_status="In progress",
    start_count=10,
    remains=500,
    upstream_charge=Decimal("1.00"),
)
DRIP = replace(
    RUNNING, shape=Shape.DRIP_FEED, quantity=300, charge=Decimal(3), runs=3, per_part=100
)
POSTS = replace(
    RUNNING,
    shape=Shape.SUBSCRIPTION,
    quantity=300,
    charge=Decimal("0.60000"),
    price_rate=Decimal(2),
    expected_charge=Decimal("0.3"),
    per_part=100,
)
DONE, CUT, NONE = Status.COMPLETED, Status.PARTIAL, Status.CANCELED


def says(state: State, raw: str = "", **shown: object) -> OrderStatus:
    empty = OrderStatus(
        state=state,
        raw_status=raw or state.value,
        charge=None,
        start_count=None,
        remains=None,
        currency="USD",
        runs=None,
        posts=None,
        expiry="",
        orders=(),
        old_orders=(),
    )
    return replace(empty, **shown)  # type: ignore[arg-type]


def ended(facts: Facts, answer: OrderStatus) -> Facts:
    """The facts after the answer was applied."""
    decision = decide(facts, answer)
    return replace(
        facts,
        status=decision.status,
        raw_status=decision.raw_status,
        remains=decision.remains,
        start_count=decision.start_count,
        upstream_charge=decision.upstream_charge,
        attention=decision.attention,
        refunded=facts.refunded + decision.refund,
    )


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (State.PENDING, Status.PENDING),
        (State.PROCESSING, Status.PROCESSING),
        (State.IN_PROGRESS, Status.IN_PROGRESS),
        (State.ACTIVE, Status.IN_PROGRESS),
        (State.PAUSED, Status.IN_PROGRESS),
        (State.COMPLETED, Status.COMPLETED),
    ],
)
def test_a_running_or_completed_order_moves_no_money(state: State, status: Status) -> None:
    decision = decide(RUNNING, says(state, start_count=11, remains=400, charge=Decimal("0.9")))
    assert (decision.status, decision.refund) == (status, Decimal(0))
    assert (decision.start_count, decision.remains) == (11, 400)
    assert decision.upstream_charge == Decimal("0.900000")
    assert decision.attention == ""


@pytest.mark.parametrize("state", [State.CANCELED, State.FAILED, State.REFUNDED])
@pytest.mark.parametrize("refunded", ["0", "0.5", "2"])
def test_an_undone_order_gives_back_all_that_is_left(state: State, refunded: str) -> None:
    facts = replace(RUNNING, refunded=Decimal(refunded))
    decision = decide(facts, says(state, remains=3))
    assert decision.status == Status.CANCELED
    assert decision.refund == Decimal(2) - Decimal(refunded)
    assert decision.reference == "canceled"


@pytest.mark.parametrize(
    ("remains", "refund", "attention"),
    [
        (157, "0.31400", ""),
        (0, "0", ""),
        (1, "0.00200", ""),
        (1000, "2.00000", ""),
        (1001, "2.00000", Attention.REMAINS_RANGE),
        (-5, "0", Attention.PARTIAL_REMAINS),
        (None, "0", Attention.PARTIAL_REMAINS),
        (10**40, "0", Attention.PARTIAL_REMAINS),
    ],
)
def test_a_partial_order_gives_back_its_share(
    remains: int | None, refund: str, attention: str
) -> None:
    decision = decide(RUNNING, says(State.PARTIAL, remains=remains))
    assert decision.status == Status.PARTIAL
    assert decision.refund == Decimal(refund)
    assert decision.attention == attention


def test_a_partial_answer_without_remains_forgets_what_an_earlier_answer_said() -> None:
    assert decide(RUNNING, says(State.PARTIAL)).remains is None


def test_a_share_is_rounded_down_and_a_full_one_is_exact() -> None:
    assert partial_refund(Decimal("0.00001"), 3, 2) == 0
    assert partial_refund(Decimal("1.00001"), 3, 1) == Decimal("0.33333")
    assert partial_refund(Decimal("1.00001"), 3, 3) == Decimal("1.00001")


def test_a_share_never_exceeds_what_staff_left() -> None:
    facts = replace(RUNNING, refunded=Decimal("1.9"))
    assert decide(facts, says(State.PARTIAL, remains=500)).refund == Decimal("0.1")


def test_a_package_has_no_proportion() -> None:
    facts = replace(RUNNING, shape=Shape.FLAT, quantity=1)
    decision = decide(facts, says(State.PARTIAL, remains=1))
    assert (decision.refund, decision.attention) == (Decimal(0), Attention.PARTIAL_PACKAGE)
    assert decide(facts, says(State.CANCELED)).refund == Decimal(2)


@pytest.mark.parametrize("answer", [says(State.UNKNOWN, "Outdated"), says(State.EXPIRED)])
def test_an_unknown_status_keeps_the_old_one_and_is_shown_until_a_good_one_comes(
    answer: OrderStatus,
) -> None:
    odd = decide(RUNNING, answer)
    assert (odd.status, odd.refund) == (Status.IN_PROGRESS, Decimal(0))
    assert odd.raw_status == answer.raw_status
    assert odd.attention == Attention.UNKNOWN_STATUS
    good = decide(ended(RUNNING, answer), says(State.IN_PROGRESS, "In progress"))
    assert good.attention == ""


def test_a_lasting_flag_outlives_good_answers() -> None:
    facts = replace(RUNNING, attention="unrecognised")
    assert decide(facts, says(State.PROCESSING)).attention == "unrecognised"


@pytest.mark.parametrize(
    "answer",
    [
        says(State.COMPLETED, remains=0),
        says(State.PARTIAL, remains=157),
        says(State.PARTIAL, remains=-5),
        says(State.PARTIAL),
        says(State.CANCELED),
        says(State.FAILED, "Fail"),
    ],
)
def test_the_same_end_again_changes_nothing(answer: OrderStatus) -> None:
    facts = ended(RUNNING, answer)
    assert not is_news(facts, decide(facts, answer))


@pytest.mark.parametrize("first", [State.CANCELED, State.PARTIAL])
@pytest.mark.parametrize("then", [State.COMPLETED, State.PENDING, State.UNKNOWN, State.IN_PROGRESS])
def test_a_contrary_answer_is_recorded_once_and_moves_no_money(first: State, then: State) -> None:
    facts = ended(RUNNING, says(first, remains=10))
    contrary = says(then, remains=0)
    decision = decide(facts, contrary)
    assert (decision.status, decision.refund) == (facts.status, Decimal(0))
    assert (decision.is_contrary, decision.attention) == (True, Attention.CONTRARY)
    assert decision.remains == facts.remains
    again = ended(facts, contrary)
    assert not is_news(again, decide(again, contrary))


def test_partial_then_canceled_pays_the_difference() -> None:
    facts = ended(RUNNING, says(State.PARTIAL, remains=250))
    decision = decide(facts, says(State.CANCELED))
    assert (decision.status, decision.refund) == (Status.CANCELED, Decimal("1.50000"))
    assert (decision.reference, decision.is_contrary) == ("canceled", True)
    assert decision.attention == Attention.LATE_REVERSAL


def test_a_second_partial_with_other_remains_pays_nothing() -> None:
    facts = ended(RUNNING, says(State.PARTIAL, remains=250))
    decision = decide(facts, says(State.PARTIAL, remains=900))
    assert (decision.refund, decision.remains) == (Decimal(0), 250)
    assert decision.is_contrary


@pytest.mark.parametrize(
    ("late", "refund", "status"),
    [
        (says(State.CANCELED), "2.00000", Status.CANCELED),
        (says(State.PARTIAL, remains=100), "0.20000", Status.PARTIAL),
    ],
)
def test_what_a_completed_order_owes_later_is_paid_and_flagged(
    late: OrderStatus, refund: str, status: Status
) -> None:
    facts = ended(RUNNING, says(State.COMPLETED))
    decision = decide(facts, late)
    assert (decision.refund, decision.status) == (Decimal(refund), status)
    assert (decision.is_contrary, decision.attention) == (True, Attention.LATE_REVERSAL)


def test_a_contrary_word_recorded_earlier_does_not_hide_a_cancel() -> None:
    facts = ended(RUNNING, says(State.PARTIAL, remains=250))
    facts = ended(facts, says(State.COMPLETED))
    assert decide(facts, says(State.CANCELED)).refund == Decimal("1.50000")


@pytest.mark.parametrize(
    "dispatch", [Dispatch.QUEUED, Dispatch.UNKNOWN, Dispatch.REJECTED, Dispatch.WITHDRAWN]
)
def test_an_order_that_is_not_at_the_provider_is_left_alone(dispatch: Dispatch) -> None:
    facts = replace(RUNNING, dispatch=dispatch)
    assert not is_news(facts, decide(facts, says(State.CANCELED)))


@pytest.mark.parametrize(
    ("order_type", "parameters", "shape"),
    [
        ("default", {"quantity": "5"}, Shape.PLAIN),
        ("default", {"quantity": "5", "runs": "2", "interval": "1"}, Shape.DRIP_FEED),
        ("package", {}, Shape.FLAT),
        ("customcommentspackage", {}, Shape.FLAT),
        ("subscriptions", {"max": "5"}, Shape.SUBSCRIPTION),
        ("", {}, Shape.PLAIN),
    ],
)
def test_the_shape_is_what_was_agreed(
    order_type: str, parameters: dict[str, str], shape: Shape
) -> None:
    found = shape_of(dispatch="accepted", order_type=order_type, parameters=parameters)
    assert found is shape
    assert shape_of(dispatch="child", order_type=order_type, parameters={}) is Shape.CHILD


def drip(state: State, *parts: Part, runs: int | None = None) -> Decision:
    listed = tuple(str(number) for number in range(len(parts)))
    return decide(replace(DRIP, parts=parts), says(state, orders=listed, runs=runs))


@pytest.mark.parametrize("still", [Status.PENDING, Status.IN_PROGRESS])
def test_a_container_waits_for_its_parts(still: Status) -> None:
    decision = drip(State.COMPLETED, Part(DONE, 100, 0), Part(still, 100, 50))
    assert (decision.status, decision.refund) == (Status.IN_PROGRESS, Decimal(0))


def test_a_container_waits_for_staff_when_a_part_belongs_to_another_order() -> None:
    facts = replace(DRIP, parts=(Part(DONE, 100, 0),), unadopted=1)
    decision = decide(facts, says(State.CANCELED, orders=("1", "2")))
    assert (decision.status, decision.refund) == (Status.IN_PROGRESS, Decimal(0))
    assert decision.attention == Attention.PART_TAKEN


@pytest.mark.parametrize(
    ("parts", "undelivered", "refund", "status"),
    [
        ([Part(DONE, 100, 0)] * 3, 0, "0", DONE),
        ([Part(DONE, 100, 0), Part(CUT, 100, 40), Part(DONE, 100, 0)], 40, "0.40000", CUT),
        ([Part(DONE, 100, 0), Part(NONE, 100, 0), Part(CUT, 100, 1)], 101, "1.01000", CUT),
        ([Part(NONE, 100, 100)] * 3, 300, "3", NONE),
        ([Part(CUT, 100, 999), Part(DONE, 100, 0), Part(DONE, 100, 7)], 100, "1", CUT),
    ],
)
def test_a_drip_feed_gives_back_what_its_parts_did_not_deliver(
    parts: list[Part], undelivered: int, refund: str, status: Status
) -> None:
    decision = drip(State.COMPLETED, *parts)
    assert (decision.status, decision.refund) == (status, Decimal(refund))
    assert decision.remains == undelivered
    assert decision.attention == ""


def test_a_canceled_drip_feed_gives_back_runs_that_were_never_made() -> None:
    decision = drip(State.CANCELED, Part(DONE, 100, 0), runs=1)
    assert (decision.status, decision.refund, decision.remains) == (CUT, Decimal(2), 200)
    assert decision.attention == ""
    assert drip(State.CANCELED, runs=0).refund == Decimal(3)
    assert drip(State.CANCELED, runs=0).status == NONE


@pytest.mark.parametrize(
    ("state", "runs"), [(State.COMPLETED, 3), (State.COMPLETED, None), (State.CANCELED, 3)]
)
def test_runs_that_are_counted_and_not_listed_are_left_to_staff(
    state: State, runs: int | None
) -> None:
    decision = drip(state, Part(DONE, 100, 0), runs=runs)
    assert (decision.refund, decision.attention) == (Decimal(0), Attention.PARTS_MISSING)


def test_an_unclear_part_counts_as_delivered_and_is_shown() -> None:
    decision = drip(State.COMPLETED, *[Part(DONE, 100, 0)] * 2, Part(CUT, 100, None))
    assert (decision.refund, decision.attention) == (Decimal(0), Attention.PARTS_MISSING)


def test_a_drip_feed_that_answers_like_one_order_is_settled_as_one() -> None:
    decision = decide(DRIP, says(State.PARTIAL, remains=150))
    assert (decision.refund, decision.reference) == (Decimal("1.50000"), "partial")


def test_a_container_that_staff_refunded_in_part_is_not_called_canceled() -> None:
    facts = replace(DRIP, refunded=Decimal("2.5"), parts=(Part(DONE, 100, 0),))
    decision = decide(facts, says(State.CANCELED, orders=("1",), runs=1))
    assert (decision.refund, decision.status) == (Decimal("0.5"), CUT)


def posts(state: State, *parts: Part, **shown: object) -> Decision:
    listed = tuple(str(number) for number in range(len(parts)))
    told: dict[str, object] = {"orders": listed, "posts": len(parts)} | shown
    answer = replace(says(state), **told)  # type: ignore[arg-type]
    return decide(replace(POSTS, parts=parts), answer)


@pytest.mark.parametrize("state", [State.COMPLETED, State.EXPIRED])
def test_a_subscription_returns_what_its_posts_did_not_use(state: State) -> None:
    decision = posts(state, Part(DONE, 80, 0), Part(CUT, 100, 50))
    # 80 and 50 units at 2 per 1,000.
    assert (decision.refund, decision.status) == (Decimal("0.34000"), DONE)
    assert decision.reference == "settled"


def test_a_canceled_subscription_pays_for_what_was_delivered() -> None:
    decision = posts(State.CANCELED, Part(DONE, 80, 0), Part(NONE, 100, 100))
    assert (decision.refund, decision.status) == (Decimal("0.44000"), CUT)


@pytest.mark.parametrize("state", [State.CANCELED, State.EXPIRED, State.COMPLETED])
def test_a_subscription_that_used_nothing_is_canceled_in_full(state: State) -> None:
    decision = posts(state, posts=0)
    assert (decision.refund, decision.status) == (Decimal("0.60000"), NONE)


def test_a_subscription_never_costs_more_than_its_reserve() -> None:
    decision = posts(State.COMPLETED, *[Part(DONE, 100, 0)] * 5)
    assert (decision.refund, decision.status) == (Decimal(0), DONE)


def test_posts_that_are_counted_and_not_listed_cost_the_most_and_are_shown() -> None:
    decision = posts(State.COMPLETED, Part(DONE, 50, 0), posts=2)
    assert decision.refund == Decimal("0.60000") - Decimal("0.10000") - Decimal("0.20000")
    assert decision.attention == Attention.PARTS_MISSING


def test_a_subscription_without_parts_is_settled_by_the_charge_it_shows() -> None:
    decision = posts(State.COMPLETED, posts=2, charge=Decimal("0.1"))
    assert (decision.refund, decision.attention) == (Decimal("0.40000"), "")


def test_a_pause_is_no_end() -> None:
    for _ in range(3):
        assert posts(State.PAUSED, Part(DONE, 50, 0)).refund == 0


@pytest.mark.parametrize(
    ("charge", "units"),
    [("0.05", 50), ("0.0504", 50), ("0.0506", 51), ("0.5", 100), ("0.000001", 10)],
)
def test_a_posts_units_follow_from_its_charge_within_what_was_agreed(
    charge: str, units: int
) -> None:
    assert units_of_charge(Decimal(charge), POSTS, least=10) == units


def test_a_post_of_unknown_price_counts_as_the_largest() -> None:
    assert units_of_charge(Decimal(1), replace(POSTS, expected_charge=Decimal(0)), least=1) == 100


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("remains", [None, -(10**30), -1, 0, 1, 999, 1000, 1001, 10**30])
@pytest.mark.parametrize("refunded", ["0", "1.99999", "2"])
def test_no_answer_gives_back_more_than_is_left_or_breaks_the_row(
    state: State, remains: int | None, refunded: str
) -> None:
    facts = replace(RUNNING, refunded=Decimal(refunded))
    for shape in Shape:
        answer = says(
            state, remains=remains, charge=Decimal("1e30"), start_count=remains, orders=("7",)
        )
        decision = decide(replace(facts, shape=shape, per_part=10, runs=100), answer)
        assert 0 <= decision.refund <= facts.left
        assert decision.remains is None or abs(decision.remains) < 2**63
        assert decision.upstream_charge == Decimal("1.00")
        if decision.status == Status.CANCELED:
            assert decision.refund == facts.left
