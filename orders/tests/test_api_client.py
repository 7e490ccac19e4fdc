"""The project's own client against our own endpoint: each action, over HTTP, with a provider behind."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import pytest
from pytest_django.live_server_helper import LiveServer

from accounts.keys import create_key, revoke_key
from accounts.models import ApiKey, User
from catalog.services import reprice
from orders.following import poll_due
from orders.fulfilment import run_due
from orders.models import Order
from orders.requests import poll_due as poll_requests
from orders.requests import send_due
from orders.tests.upstream_world import Upstream, due, running_upstream
from upstream.answers import Balance, ItemError, RefillState, RefillStatus, State
from upstream.client import Client
from upstream.errors import Kind, Rejected
from upstream.recognition import Recognition
from wallet.services import top_up

LINK = {"link": "https://example.com/p", "quantity": "1000"}


@dataclass
class Chain:
    """Our panel, what is behind it, and a client in front of it."""

    upstream: Upstream
    client: Client

    def add(self, service: str = "1", **values: str) -> str:
        number = str(self.upstream.services[service].pk)
        return self.client.add(number, (LINK if service == "1" else {}) | values).order

    def forward(self, *orders: str) -> list[str]:
        """Have them sent, and give their IDs at the provider."""
        run_due()
        return [Order.objects.get(pk=each).upstream_id for each in orders]

    def follow(self) -> None:
        for _ in range(3):
            due(*Order.objects.exclude(upstream_id=""))
            poll_due()


@pytest.fixture
def chain(transactional_db: None, live_server: LiveServer) -> Iterator[Chain]:
    user = User.objects.create_user("panel@example.com", "a-Long-passw0rd")
    top_up(user=user, amount=Decimal("100.84292"), reference="opening")
    secret = create_key(user=user, name="panel").secret
    with (
        running_upstream() as upstream,
        Client(url=f"{live_server.url}/api/v2", key=secret, allow_private=True) as client,
    ):
        yield Chain(upstream, client)


def test_the_price_list_is_read_without_a_row_in_doubt(chain: Chain) -> None:
    catalogue = chain.client.services()

    assert catalogue.unreadable == ()
    ours = {str(service.pk): service for service in chain.upstream.services.values()}
    assert {row.service for row in catalogue.rows} == set(ours)
    for row in catalogue.rows:
        service = ours[row.service]
        assert row.rate == service.price_rate
        assert (row.min, row.max) == (service.min_quantity, service.max_quantity)
        assert (row.name, row.category) == (service.name, "Simulated")
        assert (row.refill, row.cancel, bool(row.dripfeed)) == (
            service.refill, service.cancel, service.dripfeed,
        )  # fmt: skip
    assert chain.client.services_if_new(Recognition()) == catalogue


def test_the_balance_is_exact(chain: Chain) -> None:
    assert chain.client.balance() == Balance(Decimal("100.84292"), "USD")


def test_an_order_is_placed_and_followed_to_its_end(chain: Chain) -> None:
    order = chain.add()
    pending = chain.client.status(order)
    assert (pending.state, str(pending.charge), pending.remains) == (State.PENDING, "2", 1000)

    chain.forward(order)
    chain.upstream.world.advance(11)
    chain.follow()

    done = chain.client.status(order)
    assert (done.state, str(done.charge), done.remains) == (State.COMPLETED, "2", 0)
    assert chain.client.balance().amount == Decimal("98.84292")


def test_a_partial_order_gives_back_what_remains(chain: Chain) -> None:
    order = chain.add()
    [upstream_id] = chain.forward(order)
    chain.upstream.world.force(upstream_id, status="Partial", remains="250")
    chain.follow()

    told = chain.client.status(order)

    assert (told.state, told.remains, told.charge) == (State.PARTIAL, 250, Decimal("1.5"))
    assert chain.client.balance().amount == Decimal("99.34292")


def test_a_cancel_before_sending_is_done_and_later_it_is_a_request(chain: Chain) -> None:
    first, second = chain.add(), chain.add(quantity="500")
    assert chain.client.cancel([first, "999999"]) == {
        first: None,
        "999999": ItemError("Incorrect order ID", Kind.REQUEST),
    }
    assert chain.client.status(first).state == State.CANCELED
    chain.forward(second)

    assert chain.client.cancel([second]) == {second: None}
    send_due()
    chain.upstream.world.advance(2)
    chain.follow()

    told = chain.client.status(second)
    assert told.state in {State.CANCELED, State.PARTIAL}
    assert chain.client.balance().amount == Decimal("100.84292") - (told.charge or 0)


def test_a_refill_is_requested_and_followed(chain: Chain) -> None:
    order = chain.add()
    chain.forward(order)
    chain.upstream.world.advance(11)
    chain.follow()

    refill = chain.client.refill(order)
    assert chain.client.refill_status(refill) == RefillStatus(RefillState.PENDING, "Pending")
    send_due()
    assert chain.client.refill_status(refill).state == RefillState.IN_PROGRESS
    with pytest.raises(Rejected) as refused:
        chain.client.refill(order)
    assert refused.value.kind == Kind.REQUEST

    assert chain.client.refills([order, "999999"])["999999"] == ItemError(
        "Incorrect order ID", Kind.REQUEST
    )
    told = chain.client.refill_statuses([refill, "999999"])
    assert told["999999"] == ItemError("Refill not found", Kind.REQUEST)
    poll_requests()


def test_many_statuses_come_with_one_call(chain: Chain) -> None:
    orders = [chain.add(quantity=str(100 + number)) for number in range(99)]

    told = chain.client.statuses([*orders, "999999"])

    assert isinstance(told["999999"], ItemError)
    assert not told["999999"].missing
    assert {getattr(told[each], "state", None) for each in orders} == {State.PENDING}


def test_drip_feed_passes_with_its_runs(chain: Chain) -> None:
    order = chain.add(runs="2", interval="1")
    chain.forward(order)
    chain.upstream.world.advance(200)
    chain.follow()

    told = chain.client.status(order)

    assert (told.state, told.runs, len(told.orders)) == (State.COMPLETED, 2, 2)
    parts = chain.client.statuses(list(told.orders))
    assert [getattr(part, "charge", None) for part in parts.values()] == [2, 2]


def test_a_subscription_passes_with_its_posts(chain: Chain) -> None:
    order = chain.add(
        "3", username="someone", min="10", max="20", posts="1", delay="0", expiry="31/12/2030"
    )
    chain.forward(order)
    assert chain.client.status(order).expiry == "2030-12-31"
    chain.upstream.world.advance(120)
    chain.follow()

    told = chain.client.status(order)

    assert (told.state, told.posts, len(told.orders)) == (State.COMPLETED, 1, 1)


def test_a_repeated_request_id_gets_the_same_order(chain: Chain) -> None:
    assert chain.add(request_id="r-1") == chain.add(request_id="r-1")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"quantity": "100001"}, Kind.QUANTITY),
        ({"quantity": "99999"}, Kind.FUNDS),
        ({"link": "javascript:x"}, Kind.LINK),
        ({"runs": "1", "interval": "1"}, Kind.REQUEST),
    ],
)
def test_a_refusal_is_understood_for_what_it_is(
    chain: Chain, values: dict[str, str], kind: Kind
) -> None:
    with pytest.raises(Rejected) as refused:
        chain.add(**values)

    assert refused.value.kind == kind


def test_duplicates_unknown_services_and_dead_keys_are_understood(chain: Chain) -> None:
    chain.add()
    with pytest.raises(Rejected) as duplicate:
        chain.add()
    with pytest.raises(Rejected) as unknown:
        chain.client.add("999999", LINK)
    revoke_key(ApiKey.objects.get())
    with pytest.raises(Rejected) as dead:
        chain.client.balance()

    assert duplicate.value.kind == Kind.DUPLICATE_LINK
    assert unknown.value.kind == Kind.SERVICE
    assert dead.value.kind == Kind.ACCOUNT


def test_prices_follow_ours_at_once(chain: Chain) -> None:
    before = chain.client.services()
    service = chain.upstream.services["1"]
    service.pinned_rate = Decimal("7.5")
    service.save()
    reprice()

    rates = {row.service: row.rate for row in chain.client.services().rows}

    assert rates[str(service.pk)] == Decimal("7.5")
    assert len(rates) == len(before.rows)
