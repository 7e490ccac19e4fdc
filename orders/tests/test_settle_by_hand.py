"""Orders that staff say have ended: money by the provider's rules, ceilings and a second person."""

import uuid
from contextlib import nullcontext
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEntry, User
from catalog.models import Service
from orders import approvals, desk, polls
from orders.attention import Attention
from orders.audit import check
from orders.errors import NotPossible
from orders.models import Order
from orders.settlement import apply_status
from orders.states import Dispatch, Status
from orders.tests.races import at_once
from orders.tests.test_settle_rules import says
from orders.tests.upstream_world import due_at
from orders.tests.worlds import assert_ledger_adds_up, balance_of, order_of
from upstream.answers import State
from wallet.ceilings import NotYours
from wallet.models import Account, Approval, Ceiling, Entry, TopUpMethod, TopUpRequest
from wallet.topups import approve_or_ask, file_request, refuse

D = Decimal


@pytest.fixture
def order(customer: User, service: Service) -> Order:
    """At the provider and running; a charge of 2 for 1,000."""
    made = order_of(customer, service, quantity=1000)
    Order.objects.update(
        dispatch=Dispatch.ACCEPTED, upstream_id="7", status=Status.IN_PROGRESS,
        raw_status="In progress", attention="stuck",
    )  # fmt: skip
    polls.follow(order_id=made.pk, provider_id=made.provider_id, due_at=timezone.now())
    made.refresh_from_db()
    return made


@pytest.fixture
def clerk(db: None) -> User:
    """May give back up to 1 of an order, and credit up to 5 a day."""
    user = User.objects.create_user("clerk@example.com", "a-Long-passw0rd", is_staff=True)
    names = [
        "view_order", "refund_order", "view_approval", "view_topuprequest", "decide_topuprequest",
        "view_account", "top_up_account",
    ]  # fmt: skip
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    Ceiling.objects.create(group=user.groups.create(name="clerks"), refund=1, top_up=5)
    return user


def settle(client: Client, order: Order, end: str, **fields: Any) -> Any:
    form = {"end": end, "code": "seen", "reason": "looked", "token": uuid.uuid4(), **fields}
    url = reverse("admin:orders_order_settle", args=[order.pk])
    answer = client.post(url, form, follow=True)
    order.refresh_from_db()
    return answer


@pytest.mark.parametrize(
    ("end", "remains", "refunded", "status"),
    [
        ("completed", None, "0", Status.COMPLETED),
        ("partial", 250, "0.5", Status.PARTIAL),
        ("partial", 333, "0.666", Status.PARTIAL),
        ("canceled", None, "2", Status.CANCELED),
    ],
)
def test_money_follows_from_the_end_that_staff_give(
    client: Client, staff: User, customer: User, order: Order,
    end: str, remains: int | None, refunded: str, status: str,
) -> None:  # fmt: skip
    client.force_login(staff)
    answer = settle(client, order, end, remains="" if remains is None else remains)

    assert "The order has ended" in answer.content.decode()
    assert (order.status, order.refunded) == (status, D(refunded))
    assert (due_at(order), order.attention, order.raw_status) == (None, "", "In progress")
    assert balance_of(customer) == 8 + D(refunded)
    if D(refunded):
        entry = Entry.objects.get(kind="refund")
        assert (entry.actor, entry.note) == (staff, "seen: looked")
    assert AuditEntry.objects.get().actor == staff
    assert not [each for each in check() if each.is_error]
    assert_ledger_adds_up()


@pytest.mark.parametrize(
    ("fields", "end", "remains", "says"),
    [
        ({"dispatch": Dispatch.QUEUED, "upstream_id": ""}, "completed", None, "not at a provider"),
        ({"dispatch": Dispatch.UNKNOWN, "upstream_id": ""}, "canceled", None, "not at a provider"),
        (
            {"status": Status.COMPLETED, "finished_at": timezone.now()},
            "canceled",
            None,
            "has ended",
        ),
        ({}, "partial", None, "needs what remains"),
        ({}, "partial", 1001, "needs what remains"),
        ({"order_type": "package", "quantity": 1}, "partial", 1, "A package has no parts"),
    ],
)
def test_an_end_that_cannot_be_is_refused_and_writes_nothing(
    client: Client, staff: User, order: Order, fields: dict[str, Any], end: str,
    remains: int | None, says: str,
) -> None:  # fmt: skip
    Order.objects.update(**fields)
    order.refresh_from_db()
    before = order.status
    client.force_login(staff)

    answer = settle(client, order, end, remains="" if remains is None else remains)

    assert says in answer.content.decode()
    assert (order.status, order.refunded) == (before, 0)


def test_a_container_waits_for_its_parts(
    order: Order, staff: User, customer: User, service: Service
) -> None:
    Order.objects.update(order_type="subscriptions", parameters={"max": "100", "posts": "10"})
    child = Order.objects.create(
        customer=customer, service=service, provider=service.provider, parent=order, charge=0,
        quantity=100, order_type="subscriptions", dispatch=Dispatch.CHILD, upstream_id="8",
        price_rate=2, cost=0, exchange_rate=1, expected_charge=0,
    )  # fmt: skip
    with pytest.raises(NotPossible, match="part orders"):
        desk.settle(order_id=order.pk, end=Status.COMPLETED, remains=None, reason="x", actor=staff)

    desk.settle(order_id=child.pk, end=Status.COMPLETED, remains=None, reason="x", actor=staff)
    given = desk.settle(
        order_id=order.pk, end=Status.COMPLETED, remains=None, reason="x", actor=staff
    )
    # 100 of 1,000 units were delivered.
    assert given == D("1.8")
    assert_ledger_adds_up_to(order, D("1.8"))


@pytest.mark.parametrize(
    ("end", "given", "status"),
    [(Status.CANCELED, "1.2", Status.PARTIAL), (Status.COMPLETED, "0", Status.COMPLETED)],
)
@pytest.mark.parametrize("by_hand", [True, False])
def test_what_the_parts_of_a_drip_feed_delivered_is_not_given_back(
    order: Order, staff: User, end: Status, given: str, status: Status, by_hand: bool
) -> None:
    """Ten runs of 100, four of which were made; the word of the end names none of them."""
    Order.objects.update(parameters={"quantity": "100", "runs": "10", "interval": "9"})
    listed = says(State.IN_PROGRESS, "In progress", orders=("11", "12", "13", "14"))
    apply_status(order.pk, listed)
    *made, last = order.children.order_by("pk")
    for part in made:
        apply_status(part.pk, says(State.COMPLETED, remains=0))

    def settle_it() -> None:
        if by_hand:
            desk.settle(order_id=order.pk, end=end, remains=None, reason="x", actor=staff)
        else:
            apply_status(order.pk, says(State(end.value)))

    with pytest.raises(NotPossible, match="part orders") if by_hand else nullcontext():
        settle_it()
    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.IN_PROGRESS, 0)

    apply_status(last.pk, says(State.COMPLETED, remains=0))
    settle_it()
    order.refresh_from_db()
    assert (order.status, order.refunded) == (status, D(given))
    assert [finding for finding in check() if finding.is_error] == []


def test_what_the_parts_of_an_order_give_back_counts_towards_the_ceiling(
    clerk: User, staff: User, order: Order
) -> None:
    """Each part has no money of its own; the parent's end pays for all that did not come."""
    Order.objects.update(parameters={"quantity": "100", "runs": "10", "interval": "9"})
    ids = tuple(str(11 + n) for n in range(10))
    apply_status(order.pk, says(State.IN_PROGRESS, "In progress", orders=ids))
    parts = list(order.children.order_by("pk"))

    def cancel(part: Order) -> Decimal | None:
        return approvals.settle_or_ask(
            part, end=Status.CANCELED, remains=None, reason="r", actor=clerk, token=uuid.uuid4()
        )

    # Each comes to 0.2, and the clerk may give back 1 of one order.
    assert [cancel(part) for part in parts[:6]] == [0, 0, 0, 0, 0, None]
    waiting = Approval.objects.get()
    assert (waiting.amount, waiting.order_number) == (D("0.2"), parts[5].pk)
    refund = {"amount": D("0.1"), "reason": "r", "actor": clerk}
    assert approvals.refund_or_ask(order, token=uuid.uuid4(), **refund) is None  # type: ignore[arg-type]
    approvals.approve(waiting.pk, staff)
    for part in parts[6:]:
        apply_status(part.pk, says(State.COMPLETED, remains=0))
    apply_status(order.pk, says(State.COMPLETED))
    assert_ledger_adds_up_to(order, D("1.2"))


@pytest.mark.parametrize(("remains", "given"), [(100, "0.2"), (1000, "2"), (0, "0"), (None, "0")])
@pytest.mark.parametrize("by_hand", [True, False])
def test_what_remains_of_a_drip_feed_is_given_back_and_not_the_runs_that_nobody_listed(
    order: Order, staff: User, remains: int | None, given: str, by_hand: bool
) -> None:
    """Ten runs of 100, of which one was listed: the word of the end is about them all."""
    Order.objects.update(parameters={"quantity": "100", "runs": "10", "interval": "9"})
    apply_status(order.pk, says(State.IN_PROGRESS, "In progress", orders=("11",)))
    apply_status(order.children.get().pk, says(State.COMPLETED, remains=0))

    if not by_hand:
        apply_status(order.pk, says(State.PARTIAL, remains=remains))
    elif remains:
        end = Status.PARTIAL
        desk.settle(order_id=order.pk, end=end, remains=remains, reason="x", actor=staff)
    else:
        return  # which staff can't say

    order.refresh_from_db()
    assert order.refunded == D(given)
    if remains is None and not by_hand:
        assert order.attention == Attention.PARTS_MISSING
    assert [finding for finding in check() if finding.is_error] == []


def assert_ledger_adds_up_to(order: Order, refunded: Decimal) -> None:
    order.refresh_from_db()
    entries = Entry.objects.filter(order_number=order.pk, amount__gt=0)
    assert order.refunded == refunded == sum(entries.values_list("amount", flat=True))


def test_an_end_above_the_ceiling_waits_for_a_second_person(
    client: Client, clerk: User, staff: User, order: Order
) -> None:
    client.force_login(clerk)
    assert (
        "waits for a second person"
        in settle(client, order, "partial", remains=600).content.decode()
    )
    approval = Approval.objects.get()
    assert (approval.kind, approval.amount) == ("settlement", D("1.2"))
    assert approval.order_number == order.pk
    assert order.status == Status.IN_PROGRESS
    with pytest.raises(NotYours):
        approvals.approve(approval.pk, clerk)
    client.force_login(staff)
    page = client.get(reverse("admin:wallet_approval_change", args=[approval.pk]))
    assert "Partial, remains 600" in page.content.decode()

    assert approvals.approve(approval.pk, staff) == D("1.2")

    order.refresh_from_db()
    assert (order.status, order.refunded, order.remains) == (Status.PARTIAL, D("1.2"), 600)
    assert_ledger_adds_up()


def test_what_comes_to_more_by_now_than_was_approved_is_not_paid(
    clerk: User, staff: User, order: Order
) -> None:
    approvals.settle_or_ask(
        order, end=Status.CANCELED, remains=None, reason="x", actor=clerk, token=uuid.uuid4()
    )
    approval = Approval.objects.get()
    Approval.objects.update(amount=D("1.5"))

    with pytest.raises(NotPossible, match="More would be given back"):
        approvals.approve(approval.pk, staff)

    approval.refresh_from_db()
    order.refresh_from_db()
    assert (approval.state, order.refunded) == ("open", 0)


def test_the_same_form_above_the_ceiling_twice_refunds_once(clerk: User, order: Order) -> None:
    token = uuid.uuid4()
    made = [
        approvals.refund_or_ask(order, amount=D("0.6"), reason="x", actor=clerk, token=token)
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert not Approval.objects.exists()


def filed(customer: User, credit: int) -> TopUpRequest:
    method = TopUpMethod.objects.get_or_create(name="Bank", defaults={"instructions": "x"})[0]
    return file_request(
        user=customer, method=method, amount=D(credit), reference=f"R{credit}",
        client_token=uuid.uuid4(),
    )  # fmt: skip


def test_a_top_up_above_the_ceiling_waits_and_is_credited_once(
    client: Client, customer: User, clerk: User, staff: User
) -> None:
    """4 of 5 are credited alone; the next 3 are above what is left of the day."""
    small, big = filed(customer, 4), filed(customer, 3)
    client.force_login(clerk)
    for asked in (small, big, big):
        client.post(
            reverse("admin:wallet_topuprequest_approve", args=[asked.pk]), {"token": uuid.uuid4()}
        )
    small.refresh_from_db()
    big.refresh_from_db()
    assert (small.state, big.state) == ("approved", "open")
    assert balance_of(customer) == 14
    approval = Approval.objects.get()
    with pytest.raises(NotYours):
        approvals.approve(approval.pk, clerk)

    assert approvals.approve(approval.pk, staff) == 3

    big.refresh_from_db()
    approval.refresh_from_db()
    assert (big.state, big.decided_by, approval.decided_by) == ("approved", staff, staff)
    assert balance_of(customer) == 17
    assert_ledger_adds_up()


def test_a_request_that_is_decided_leaves_no_approval_behind(
    customer: User, clerk: User, staff: User
) -> None:
    asked = filed(customer, 6)
    assert approve_or_ask(request_id=asked.pk, actor=clerk) is None
    refuse(request_id=asked.pk, actor=clerk, reason="nothing came")

    approval = Approval.objects.get()
    assert (approval.state, approval.decided_by) == ("refused", None)
    with pytest.raises(NotYours):
        approvals.approve(approval.pk, staff)
    assert balance_of(customer) == 10


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_ceilings_hold_against_ones_own_second_click(
    clerk: User, customer: User, service: Service, order: Order
) -> None:
    """Two refunds and two top-ups at once, each below the ceiling and both above it."""
    second = User.objects.create_user("two@example.com", "a-Long-passw0rd")
    requests = [filed(customer, 3), filed(second, 3)]

    def refund() -> Any:
        return approvals.refund_or_ask(
            order, amount=D("0.6"), reason="x", actor=clerk, token=uuid.uuid4()
        )

    def credit(asked: TopUpRequest) -> Any:
        return approve_or_ask(request_id=asked.pk, actor=clerk)

    told = at_once([refund, refund, lambda: credit(requests[0]), lambda: credit(requests[1])])

    assert not [each for each in told if isinstance(each, Exception)]
    order.refresh_from_db()
    assert order.refunded == D("0.6")
    assert sorted(Approval.objects.values_list("kind", "amount")) == [
        ("refund", D("0.6")), ("top_up", D(3)),
    ]  # fmt: skip
    assert sum(Account.objects.values_list("balance", flat=True)) == 8 + D("0.6") + 3


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_who_settle_at_once_give_back_once(order: Order, staff: User, customer: User) -> None:
    def end(status: Status, remains: int | None) -> Any:
        return lambda: desk.settle(
            order_id=order.pk, end=status, remains=remains, reason="x", actor=staff
        )

    told = at_once([end(Status.CANCELED, None), end(Status.PARTIAL, 500)] * 2)

    assert sum(isinstance(each, NotPossible) for each in told) == 3
    assert_ledger_adds_up()
