"""Placing an order, and taking it back before it is sent."""

import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoCaptureOnCommitCallbacks

from accounts.models import User
from catalog.models import LinkRule, Service
from orders import services
from orders.errors import DuplicateLink, InvalidOrder, NotOnSale, PriceChanged, TokenReused
from orders.models import Attempt, Event, Order
from orders.money import lock_order, refund_order
from orders.services import place_order, withdraw
from orders.states import Dispatch, Outcome, Status
from orders.tests.worlds import assert_ledger_adds_up, balance_of
from orders.timeline import Code
from orders.wakeups import broker
from wallet.errors import AccountFrozen, InsufficientFunds
from wallet.models import Account, Entry
from wallet.prepared import Insert
from wallet.together import InsertUnless, Pending

VALUES = {"link": "https://example.com/p/1", "quantity": "1000"}


def place(customer: User, service: Service, **options: Any) -> Order:
    options.setdefault("client_token", uuid.uuid4())
    options.setdefault("values", VALUES)
    return place_order(customer=customer, service=service, **options)


def nothing_was_written(customer: User) -> bool:
    charged = Entry.objects.filter(kind=Entry.Kind.CHARGE).exists()
    return not (charged or Order.objects.exists()) and balance_of(customer) == 10


def finish(order: Order) -> None:
    Order.objects.filter(pk=order.pk).update(
        status=Status.COMPLETED, finished_at=order.created_at, dispatch=Dispatch.ACCEPTED,
        upstream_id="1",
    )  # fmt: skip


def test_an_order_is_queued_and_paid_in_one_step(customer: User, service: Service) -> None:
    order = place(customer, service)

    order.refresh_from_db()
    assert order.dispatch == Dispatch.QUEUED
    assert order.status == Status.PENDING
    assert (order.quantity, order.charge, order.cost) == (1000, 2, 1)
    assert order.parameters == VALUES
    assert balance_of(customer) == 8
    assert_ledger_adds_up()
    event = Event.objects.get(order=order)
    assert (event.code, event.actor, event.values) == (Code.PLACED, customer, {"charge": "2.00000"})


def test_placing_asks_what_is_sold_locks_and_writes_all_at_once(
    customer: User, service: Service
) -> None:
    with CaptureQueriesContext(connection) as queries:
        place(customer, service)

    statements = [each["sql"] for each in queries.captured_queries]
    counted = [sql for sql in statements if "SAVEPOINT" not in sql]
    # SQLite writes order, line, balance and entry one after the other.
    assert len(counted) == (3 if connection.vendor == "postgresql" else 6), counted


def test_rules_cost_a_query_only_where_there_are_some(customer: User, service: Service) -> None:
    rule = LinkRule.objects.create(kind=LinkRule.Kind.WORD, text="nothing-like-it")
    with CaptureQueriesContext(connection) as queries:
        place(customer, service)
    assert sum('SELECT "catalog_linkrule"' in each["sql"] for each in queries) == 1

    rule.text = "example"
    rule.save()
    with pytest.raises(InvalidOrder):
        place(customer, service, allow_duplicate=True)
    rule.is_on = False
    rule.save()
    assert place(customer, service, allow_duplicate=True).pk


def test_what_was_agreed_stays_when_the_service_changes(customer: User, service: Service) -> None:
    order = place(customer, service)
    Service.objects.update(price_rate=50, cost_rate=40, name="Other")

    order.refresh_from_db()
    assert order.charge == order.price_rate == 2
    assert order.cost == 1


def test_the_price_is_the_one_of_now_not_of_the_page(customer: User, service: Service) -> None:
    Service.objects.update(price_rate=3)

    assert place(customer, service).charge == 3


def test_a_price_that_moved_since_it_was_seen_is_not_charged(
    customer: User, service: Service
) -> None:
    Service.objects.update(price_rate=3)

    with pytest.raises(PriceChanged) as refusal:
        place(customer, service, seen_charge=Decimal(2))

    assert (str(refusal.value.seen), str(refusal.value.now)) == ("2", "3.00000")
    assert nothing_was_written(customer)
    assert place(customer, service, seen_charge=Decimal("3.00000")).charge == 3


def test_a_service_that_went_off_sale_meanwhile_is_not_sold(
    customer: User, service: Service
) -> None:
    Service.objects.update(is_held=True)

    with pytest.raises(NotOnSale):
        place(customer, service)

    assert nothing_was_written(customer)


def test_a_type_that_changed_meanwhile_is_the_one_that_is_asked_for(
    customer: User, service: Service
) -> None:
    """The caller's copy of the service still says the old one."""
    Service.objects.update(type="Custom Comments", order_type="customcomments")
    values = VALUES | {"comments": "\n".join(f"comment {number}" for number in range(10))}

    with pytest.raises(InvalidOrder) as refused:
        place(customer, service)
    order = place(customer, service, values=values)

    assert refused.value.errors.keys() == {"comments"}
    assert (order.order_type, order.quantity) == ("customcomments", 10)
    assert order.parameters == {"link": VALUES["link"], "comments": values["comments"]}


def test_fields_that_do_not_fit_write_nothing(customer: User, service: Service) -> None:
    with pytest.raises(InvalidOrder):
        place(customer, service, values={"link": "https://example.com", "quantity": "1"})

    assert nothing_was_written(customer)


def test_too_little_balance_writes_nothing(customer: User, service: Service) -> None:
    with pytest.raises(InsufficientFunds) as refusal:
        place(customer, service, values=VALUES | {"quantity": "5001"})

    assert refusal.value.missing == Decimal("0.002")
    assert nothing_was_written(customer)


def test_a_frozen_account_buys_nothing(customer: User, service: Service) -> None:
    Account.objects.update(frozen_reason="audit")

    with pytest.raises(AccountFrozen):
        place(customer, service)

    assert nothing_was_written(customer)


def test_the_same_form_sent_twice_is_one_order(customer: User, service: Service) -> None:
    token = uuid.uuid4()
    first = place(customer, service, client_token=token)
    second = place(customer, service, client_token=token)

    assert second == first
    assert balance_of(customer) == 8


def test_the_same_form_returns_its_order_even_when_the_service_is_gone(
    customer: User, service: Service
) -> None:
    token = uuid.uuid4()
    first = place(customer, service, client_token=token)
    Service.objects.update(is_present=False, price_rate=9)

    assert place(customer, service, client_token=token, seen_charge=Decimal(2)) == first


@pytest.mark.parametrize("change", [{"quantity": "1001"}, {"link": "https://example.com/p/2"}])
def test_a_token_with_other_content_is_refused(
    customer: User, service: Service, change: dict[str, str]
) -> None:
    token = uuid.uuid4()
    place(customer, service, client_token=token)

    with pytest.raises(TokenReused):
        place(customer, service, client_token=token, values=VALUES | change)

    assert balance_of(customer) == 8


def test_tokens_of_two_customers_do_not_meet(customer: User, staff: User, service: Service) -> None:
    token = uuid.uuid4()
    place(customer, service, client_token=token)

    with pytest.raises(InsufficientFunds):  # it is tried, not taken for the first one's
        place(staff, service, client_token=token)


def test_a_second_order_on_an_active_link_is_asked_about(customer: User, service: Service) -> None:
    first = place(customer, service)

    with pytest.raises(DuplicateLink) as refusal:
        place(customer, service)

    assert refusal.value.order_id == first.pk
    assert balance_of(customer) == 8
    assert place(customer, service, allow_duplicate=True) != first
    assert balance_of(customer) == 6


def test_a_finished_order_frees_its_link(customer: User, service: Service) -> None:
    withdraw(place(customer, service).pk, actor=customer)

    assert place(customer, service).pk


def test_a_token_that_slips_past_the_look_up_is_still_one_order(
    customer: User, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unique token alone, as if two forms had come through the lock at once."""
    token = uuid.uuid4()
    first = place(customer, service, client_token=token)
    blind = InsertUnless(
        Insert(Order), Insert(Event), naming="order", unless=[lambda: Order.objects.filter(pk=0)]
    )
    monkeypatch.setattr(blind, "of", lambda row, line, **_: Pending(blind, row, line, {}))
    monkeypatch.setattr(services, "_new_on_link", blind)

    assert place(customer, service, client_token=token) == first
    assert balance_of(customer) == 8
    assert_ledger_adds_up()


def test_a_form_sent_again_needs_no_money(customer: User, service: Service) -> None:
    token = uuid.uuid4()
    values = VALUES | {"quantity": "5000"}
    first = place(customer, service, client_token=token, values=values)
    assert balance_of(customer) == 0

    assert place(customer, service, client_token=token, values=values) == first
    Account.objects.update(frozen_reason="being checked")
    assert place(customer, service, client_token=token, values=values) == first
    with pytest.raises(DuplicateLink):
        place(customer, service)  # what it says before it says that money is missing
    assert Order.objects.count() == 1
    assert_ledger_adds_up()


def test_a_link_that_is_freed_while_it_is_asked_about_is_ordered_again(
    customer: User, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = place(customer, service)

    def ends(form: services._Form) -> None:
        """The order ends after it has kept the new one from being written."""
        finish(first)

    monkeypatch.setattr(services._Form, "active", ends)
    second = place(customer, service)

    assert second.pk != first.pk
    assert balance_of(customer) == 6
    assert_ledger_adds_up()


def test_a_broker_that_is_away_does_not_harm_the_order(
    customer: User,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    tries = []

    def refuse(*args: object, **options: object) -> None:
        tries.append(args)
        raise ConnectionRefusedError

    monkeypatch.setattr("orders.wakeups.publish", refuse)
    with django_capture_on_commit_callbacks(execute=True):
        first = place(customer, service)
        second = place(customer, service, allow_duplicate=True)

    assert Order.objects.filter(pk__in=[first.pk, second.pk]).count() == 2
    assert len(tries) == 1  # the second page did not wait for the broker
    broker.forgive()
    assert not broker.send("orders.tasks.forward_order", first.pk)
    assert len(tries) == 2


def test_the_wake_up_is_sent_after_the_commit_and_carries_the_number_only(
    customer: User,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    sent: list[tuple[Any, Any]] = []
    monkeypatch.setattr(
        "orders.wakeups.publish", lambda _app, name, number, _headers: sent.append((name, number))
    )
    with django_capture_on_commit_callbacks(execute=True):
        order = place(customer, service)
        assert sent == []

    assert sent == [("orders.tasks.forward_order", order.pk)]


def test_a_queued_order_is_withdrawn_and_refunded_in_full(customer: User, service: Service) -> None:
    order = place(customer, service)

    assert withdraw(order.pk, actor=customer)

    order.refresh_from_db()
    assert (order.dispatch, order.status) == (Dispatch.WITHDRAWN, Status.CANCELED)
    assert order.refunded == order.charge
    assert order.finished_at is not None
    assert balance_of(customer) == 10
    assert_ledger_adds_up()
    codes = list(order.events.values_list("code", flat=True))
    assert codes == [Code.PLACED, Code.REFUNDED, Code.WITHDRAWN]


def test_withdrawing_twice_refunds_once(customer: User, service: Service) -> None:
    order = place(customer, service)

    assert withdraw(order.pk, actor=customer)
    assert not withdraw(order.pk, actor=customer)
    assert balance_of(customer) == 10


@pytest.mark.parametrize(
    ("dispatch", "fields"),
    [
        (Dispatch.SENDING, {"lease_until": "2099-01-01T00:00Z"}),
        (Dispatch.UNKNOWN, {}),
        (Dispatch.ACCEPTED, {"upstream_id": "7"}),
    ],
)
def test_what_may_have_been_sent_is_not_withdrawn(
    customer: User, service: Service, dispatch: Dispatch, fields: dict[str, str]
) -> None:
    order = place(customer, service)
    Order.objects.filter(pk=order.pk).update(dispatch=dispatch, **fields)

    assert not withdraw(order.pk, actor=customer)
    assert balance_of(customer) == 8


def test_an_order_queued_again_by_mistake_is_not_withdrawn(
    customer: User, service: Service
) -> None:
    order = place(customer, service)
    Attempt.objects.create(order=order, number=1, outcome=Outcome.UNKNOWN)

    assert not withdraw(order.pk, actor=customer)
    assert balance_of(customer) == 8


def test_withdrawing_after_a_part_was_refunded_gives_the_rest(
    customer: User, service: Service
) -> None:
    order = place(customer, service)
    refund_order(lock_order(order.pk), amount=Decimal("1.5"), reference="by-hand")

    assert withdraw(order.pk, actor=customer)
    assert balance_of(customer) == 10
    assert_ledger_adds_up()


def test_a_link_that_fits_no_index_is_refused(customer: User, service: Service) -> None:
    """PostgreSQL keeps at most 2,704 bytes in an index, and a character has up to four."""
    letters = [chr(0x4E00 + number * number * 7919 % 20_000) for number in range(980)]
    values = {**VALUES, "link": f"https://example.com/{''.join(letters)}"}

    with pytest.raises(InvalidOrder, match="link"):
        place(customer, service, values=values)

    values["link"] = values["link"][:800]
    assert place(customer, service, values=values).link == values["link"]
