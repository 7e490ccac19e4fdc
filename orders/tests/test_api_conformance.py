"""One suite for the client, passed against the simulated provider and against our own API v2 alike."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from django.conf import LazySettings
from pytest_django.live_server_helper import LiveServer

from accounts.keys import create_key
from accounts.models import User
from orders import api_docs
from orders.following import poll_due
from orders.fulfilment import run_due
from orders.models import Order, Request
from orders.requests import poll_due as poll_requests
from orders.requests import send_due
from orders.tests.upstream_world import due, running_upstream
from orders.tests.worlds import assert_ledger_adds_up
from upstream.answers import Balance, ItemError, OrderStatus, RefillState, State
from upstream.client import Client
from upstream.errors import Kind, Rejected
from upstream.order_types import ORDER_TYPES, OrderType, Units
from upstream.recognition import Recognition
from upstream.simulator import Settings, Simulator, World
from wallet.services import top_up

KEY = "key-of-the-customer"
OPENING = Decimal("100.84292")
RATE = Decimal("2.5")
UNKNOWN = "999999"
WRONG_ORDER = ItemError("Incorrect order ID", Kind.REQUEST)
WRONG_REFILL = ItemError("Refill not found", Kind.REQUEST)


def price_list(rate: Decimal) -> list[dict[str, Any]]:
    """One service of every order type, whose number is the type's place."""
    return [
        {"service": number, "name": each.name, "type": each.name, "category": "All",
         "rate": str(rate), "min": "1", "max": "50000",
         "refill": each.key == "default", "cancel": each.key == "default", "dripfeed": True}
        for number, each in enumerate(ORDER_TYPES, 1)
    ]  # fmt: skip


@dataclass(frozen=True)
class Target:
    """What the client speaks to: numbers of its services by type, and its worker's part by hand."""

    url: str
    key: str = field(repr=False)
    client: Client
    services: dict[str, str]
    throttle: Callable[[], None]
    work: Callable[[], None]
    pass_time: Callable[[], None]

    def add(self, kind: str = "default", **values: str) -> str:
        return self.client.add(self.services[kind], values_of(kind) | values).order

    def finish(self) -> None:
        """Have everything that was asked for done."""
        self.work()
        self.pass_time()
        self.work()


def values_of(kind: str) -> dict[str, str]:
    [call] = [each for each in api_docs.ADDS if each.order_type and each.order_type.key == kind]
    return {
        name: text
        for name, text in api_docs.sample(call).items()
        if name not in {"key", "action", "service"}
    }


@contextmanager
def simulator() -> Iterator[Target]:
    rules = Settings(pace=10, subscription_upfront=True, duplicate_link=True)
    world = World(
        price_list(RATE), key=KEY, settings=rules, balance=OPENING, clock=lambda: 1_780_000_000.0
    )
    with (
        Simulator(world=world) as running,
        Client(url=running.url, key=KEY, allow_private=True) as client,
    ):
        numbers = {each.key: str(number) for number, each in enumerate(ORDER_TYPES, 1)}
        yield Target(
            url=running.url,
            key=KEY,
            client=client,
            services=numbers,
            throttle=lambda: world.break_with("balance", "rate_limit"),
            work=lambda: None,
            pass_time=lambda: world.advance(11),
        )


@contextmanager
def panel(url: str, settings: LazySettings) -> Iterator[Target]:
    user = User.objects.create_user("panel@example.com", "a-Long-passw0rd")
    top_up(user=user, amount=OPENING, reference="opening")
    secret = create_key(user=user, name="panel").secret
    with (
        # Sold at twice the cost.
        running_upstream(price_list(RATE / 2), subscription_upfront=True) as upstream,
        Client(url=url, key=secret, allow_private=True) as client,
    ):
        numbers = {
            each.key: str(upstream.services[str(number)].pk)
            for number, each in enumerate(ORDER_TYPES, 1)
        }
        yield Target(
            url=url,
            key=secret,
            client=client,
            services=numbers,
            throttle=lambda: setattr(settings, "API_REQUESTS_PER_MINUTE", 1),
            work=work_once,
            pass_time=lambda: upstream.world.advance(11),
        )
    assert_ledger_adds_up()


def work_once() -> None:
    """What the panel's jobs do."""
    run_due()
    send_due()
    due(*Order.objects.exclude(upstream_id="").filter(finished_at=None))
    poll_due()
    Request.objects.exclude(next_poll_at=None).update(next_poll_at="2000-01-01T00:00Z")
    poll_requests()


@pytest.fixture(params=["simulator", "panel"])
def target(
    request: pytest.FixtureRequest,
    transactional_db: None,
    live_server: LiveServer,
    settings: LazySettings,
) -> Iterator[Target]:
    settings.API_REQUESTS_PER_MINUTE = 0
    with ExitStack() as stack:
        if request.param == "simulator":
            yield stack.enter_context(simulator())
        else:
            yield stack.enter_context(panel(f"{live_server.url}/api/v2", settings))


def refusal(call: Callable[[], object]) -> Kind:
    with pytest.raises(Rejected) as refused:
        call()
    return refused.value.kind


def test_the_price_list_names_every_type_with_its_price_and_limits(target: Target) -> None:
    catalogue = target.client.services()

    assert catalogue.unreadable == ()
    rows = {row.service: row for row in catalogue.rows}
    assert set(rows) == set(target.services.values())
    for each in ORDER_TYPES:
        row = rows[target.services[each.key]]
        assert (row.name, row.type) == (each.name, each.name)
        assert (row.rate, row.min, row.max, row.dripfeed) == (RATE, 1, 50000, True)
        assert (row.refill, row.cancel) == (each.key == "default", each.key == "default")
    assert target.client.services_if_new(Recognition()) == catalogue


@pytest.mark.parametrize("order_type", ORDER_TYPES, ids=lambda each: each.key)
def test_every_type_is_ordered_for_exactly_its_charge(
    target: Target, order_type: OrderType
) -> None:
    units = order_type.units(values_of(order_type.key))
    charge = RATE if order_type.units_by is Units.FLAT else RATE * units / 1000

    order = target.add(order_type.key)

    assert target.client.balance() == Balance(OPENING - charge, "USD")
    told = target.client.status(order)
    # A subscription tells of its posts, and the parts of what they were charged.
    assert told.charge == (None if order_type.key == "subscriptions" else charge)
    assert told.state in {State.PENDING, State.ACTIVE}


def test_drip_feed_is_charged_for_all_its_runs_at_once(target: Target) -> None:
    target.add(quantity="100", runs="3", interval="1")

    assert target.client.balance().amount == OPENING - RATE * 300 / 1000


def test_an_order_is_followed_to_its_end(target: Target) -> None:
    order = target.add(quantity="1000")
    before = target.client.status(order)
    target.finish()
    after = target.client.status(order)

    assert (before.state, before.remains, before.charge) == (State.PENDING, 1000, RATE)
    assert (after.state, after.remains, after.charge) == (State.COMPLETED, 0, RATE)
    assert (after.currency, before.currency) == ("USD", "USD")


def test_many_statuses_come_with_one_call_and_unknown_ids_with_an_error_each(
    target: Target,
) -> None:
    orders = [target.add(link=f"https://example.com/{number}") for number in range(3)]

    told = target.client.statuses([orders[0], UNKNOWN, *orders[1:]])

    assert list(told) == [orders[0], UNKNOWN, *orders[1:]]
    assert told.pop(UNKNOWN) == WRONG_ORDER
    assert all(isinstance(each, OrderStatus) for each in told.values())
    assert refusal(lambda: target.client.status(UNKNOWN)) == Kind.REQUEST


def test_a_hundred_ids_are_answered(target: Target) -> None:
    told = target.client.statuses([str(900_000 + number) for number in range(100)])

    assert list(told.values()) == [WRONG_ORDER] * 100


def test_a_refill_is_asked_for_followed_and_not_given_twice(target: Target) -> None:
    order = target.add()
    early = refusal(lambda: target.client.refill(order))
    target.finish()

    refill = target.client.refill(order)
    assert target.client.refill_status(refill).state in {
        RefillState.PENDING,
        RefillState.IN_PROGRESS,
    }
    twice = refusal(lambda: target.client.refill(order))
    told = target.client.refill_statuses([refill, UNKNOWN])

    assert {early, twice} == {Kind.REQUEST}
    assert not isinstance(told[refill], ItemError)
    assert told[UNKNOWN] == WRONG_REFILL
    assert refusal(lambda: target.client.refill_status(UNKNOWN)) == Kind.REQUEST


def test_many_refills_are_asked_for_with_one_call(target: Target) -> None:
    first, second = (
        target.add(link="https://example.com/1"),
        target.add(link="https://example.com/2"),
    )
    target.finish()

    answers = target.client.refills([first, UNKNOWN, second])

    assert answers[UNKNOWN] == WRONG_ORDER
    refills = [answers[each] for each in (first, second)]
    assert len(set(refills)) == 2
    assert all(isinstance(each, str) for each in refills)


def test_a_service_without_refill_says_so(target: Target) -> None:
    order = target.add("package")
    target.finish()

    assert refusal(lambda: target.client.refill(order)) == Kind.REQUEST
    assert isinstance(target.client.refills([order])[order], ItemError)


def test_a_cancel_gives_back_what_was_not_delivered(target: Target) -> None:
    order = target.add(quantity="1000")

    assert target.client.cancel([order, UNKNOWN]) == {order: None, UNKNOWN: WRONG_ORDER}
    target.finish()

    told = target.client.status(order)
    assert told.state in {State.CANCELED, State.PARTIAL}
    assert target.client.balance().amount == OPENING - (told.charge or 0)
    assert told.charge is not None
    assert told.charge < RATE


def test_a_finished_order_is_not_canceled(target: Target) -> None:
    order = target.add()
    target.finish()

    answer = target.client.cancel([order])[order]

    assert answer == ItemError("Order already completed", Kind.REQUEST)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"quantity": "0"}, Kind.QUANTITY),
        ({"quantity": "50001"}, Kind.QUANTITY),
        ({"quantity": "50000"}, Kind.FUNDS),
        ({"link": ""}, Kind.LINK),
        ({"runs": "2"}, Kind.REQUEST),
    ],
    ids=str,
)
def test_a_refusal_is_of_the_same_kind(target: Target, values: dict[str, str], kind: Kind) -> None:
    assert refusal(lambda: target.add(**values)) == kind
    assert target.client.balance().amount == OPENING


def test_unknown_services_and_active_links_are_refused(target: Target) -> None:
    target.add()

    assert refusal(target.add) == Kind.DUPLICATE_LINK
    assert refusal(lambda: target.client.add(UNKNOWN, values_of("default"))) == Kind.SERVICE


def test_a_wrong_key_is_refused_by_every_action(target: Target) -> None:
    with Client(url=target.url, key="no-such-key", allow_private=True) as stranger:
        calls: list[Callable[[], object]] = [
            stranger.services,
            stranger.balance,
            lambda: stranger.add(target.services["default"], values_of("default")),
            lambda: stranger.status("1"),
            lambda: stranger.statuses(["1", "2"]),
            lambda: stranger.refill("1"),
            lambda: stranger.refills(["1"]),
            lambda: stranger.refill_status("1"),
            lambda: stranger.refill_statuses(["1"]),
            lambda: stranger.cancel(["1"]),
        ]
        assert [refusal(call) for call in calls] == [Kind.ACCOUNT] * len(calls)


def test_before_send_is_called_once_and_can_stop_the_order(target: Target) -> None:
    calls: list[str] = []
    target.client.add(
        target.services["default"], values_of("default"), before_send=lambda: calls.append("sent")
    )

    def stop() -> None:
        raise KeyError("stop")

    with pytest.raises(KeyError):
        target.client.add(target.services["package"], values_of("package"), before_send=stop)

    assert calls == ["sent"]
    assert target.client.balance().amount == OPENING - RATE / 10


def test_the_key_is_in_no_refusal(target: Target) -> None:
    with pytest.raises(Rejected) as refused:
        target.client.add(UNKNOWN, values_of("default") | {"link": f"https://e.com/{target.key}"})

    assert target.key not in f"{refused.value!r} {refused.value.answer}"


def test_a_client_that_asks_too_often_is_told_to_wait(target: Target) -> None:
    def ask_on() -> None:
        # A new minute may begin between two of them.
        for _ in range(3):
            target.client.balance()

    target.throttle()
    with pytest.raises(Rejected) as refused:
        ask_on()

    assert (refused.value.kind, refused.value.http_status) == (Kind.RATE_LIMIT, 429)
