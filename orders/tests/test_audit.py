"""The audit finds what is wrong, and nothing else."""

import io
import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User
from catalog.models import Provider, Service
from orders import audit, desk, polls
from orders.audit import Finding, Posted, account_fault, check
from orders.errors import NotPossible
from orders.models import Order
from orders.money import lock_order, refund_order
from orders.pacing import GIVE_UP_AFTER
from orders.poll_models import Poll
from orders.settlement import apply_status
from orders.states import Dispatch, Status
from orders.tests.test_settle_apply import make_order
from orders.tests.test_settle_rules import says
from upstream.answers import State
from wallet.errors import AccountFrozen
from wallet.models import Account, Entry
from wallet.services import lock_account, post, top_up

pytestmark = pytest.mark.django_db


@pytest.fixture
def order(customer: User, service: Service) -> Order:
    return make_order(customer, service)


def codes() -> list[str]:
    return [finding.code for finding in check() if finding.is_error]


def entry(order: Order, kind: str, amount: str) -> None:
    """An entry written by hand, without the order knowing."""
    with transaction.atomic():
        post(
            account=lock_account(order.customer_id),
            kind=Entry.Kind(kind),
            amount=Decimal(amount),
            reference=f"by-hand-{uuid.uuid4()}",
            order_number=order.pk,
        )


def end(order: Order, **fields: Any) -> None:
    Order.objects.filter(pk=order.pk).update(finished_at=timezone.now(), **fields)


def refund(order: Order, amount: str, reference: str = "canceled") -> None:
    with transaction.atomic():
        refund_order(
            lock_order(order.pk), amount=Decimal(amount), reference=f"order-{order.pk}-{reference}"
        )


@pytest.mark.parametrize("state", [State.COMPLETED, State.PARTIAL, State.CANCELED, State.PENDING])
def test_honest_orders_pass(order: Order, staff: User, state: State) -> None:
    desk.refund(
        order_id=order.pk, amount=Decimal("0.3"), reason="x", actor=staff, token=uuid.uuid4()
    )
    apply_status(order.pk, says(state, remains=990))
    top_up(user=order.customer, amount=Decimal("0.1"))
    assert codes() == []


def posted(amount: str, after: str) -> Posted:
    return Posted(1, "top_up", Decimal(amount), Decimal(after), None)


@pytest.mark.parametrize(
    ("balance", "entries", "is_right"),
    [
        ("0", [], True),
        ("3", [posted("1", "1"), posted("2", "3")], True),
        ("3", [posted("1", "1")], False),
        ("3", [], False),
        ("3", [posted("1", "1"), posted("2", "4")], False),
        ("0.8", [posted("0.7", "0.7"), posted("0.1", "0.8")], True),
    ],
)
def test_a_balance_is_the_sum_of_its_entries(
    balance: str, entries: list[Posted], is_right: bool
) -> None:
    assert (account_fault(Decimal(balance), entries) == "") is is_right


def test_a_balance_changed_behind_the_ledger_is_found_and_named(customer: User) -> None:
    Account.objects.update(balance=Decimal("10.00001"))
    (finding,) = check()
    assert (finding.code, finding.account_id) == ("balance_differs", customer.account.pk)
    assert f"account {customer.account.pk}" in str(finding)


def test_an_account_without_entries_is_looked_at_too(staff: User) -> None:
    Account.objects.create(user=staff, balance=1)
    assert codes() == ["balance_differs"]


def without_charge(order: Order) -> None:
    """As if the order had been made without paying: another order with no entry."""
    order.pk = None
    order.client_token = uuid.uuid4()
    order.upstream_id = "other"
    order.save(force_insert=True)


def changed(**fields: Any) -> Callable[[Order], None]:
    return lambda order: set_fields(order, **fields)


def set_fields(order: Order, **fields: Any) -> None:
    Order.objects.filter(pk=order.pk).update(**fields)


def asked_elsewhere(order: Order) -> None:
    """Its provider's ID means another order there."""
    other = Provider.objects.create(name="Other", url="https://other.example/", api_key="k")
    Poll.objects.filter(order=order).update(provider=other)


def paid_back(amount: str, **ending: Any) -> Callable[[Order], None]:
    def harm(order: Order) -> None:
        refund(order, amount)
        end(order, **ending)

    return harm


LATE = timezone.now() - timedelta(minutes=6)
FAULTS: list[tuple[Callable[[Order], None], str]] = [
    (without_charge, "charge_missing"),
    (changed(charge=3), "charge_differs"),
    (lambda order: entry(order, "refund", "0.5"), "refunds_differ"),
    (changed(refunded=1), "refunds_differ"),
    (lambda order: entry(order, "refund", "2.5"), "refunded_too_much"),
    (lambda order: refund(order, "0.5"), "refunded_while_open"),
    (paid_back("0.5", status=Status.COMPLETED), "refunded_though_completed"),
    (lambda order: end(order, status=Status.PARTIAL, remains=500), "partial_refund_differs"),
    (paid_back("1.1", status=Status.PARTIAL, remains=500), "partial_refund_differs"),
    (paid_back("1", status=Status.PARTIAL, remains=None), "partial_refund_differs"),
    (lambda order: polls.forget([order.pk]), "not_followed"),
    (asked_elsewhere, "not_followed"),
    (asked_elsewhere, "followed_wrongly"),
    (lambda order: end(order, status=Status.COMPLETED), "followed_wrongly"),
    (changed(dispatch=Dispatch.UNKNOWN, upstream_id=""), "followed_wrongly"),
    (changed(dispatch=Dispatch.SENDING, lease_until=LATE), "lease_over"),
    (changed(dispatch=Dispatch.CHILD), "part_charged"),
]


@pytest.mark.parametrize(("harm", "code"), FAULTS)
def test_each_harm_is_found_in_its_order(
    order: Order, harm: Callable[[Order], None], code: str
) -> None:
    harm(order)
    findings = {finding.code: finding for finding in check() if finding.is_error}
    assert code in findings
    assert findings[code].order_id is not None
    assert str(findings[code]).startswith(f"order {findings[code].order_id}: ")


def test_an_entry_in_another_wallet_is_found(order: Order, staff: User) -> None:
    top_up(user=staff, amount=Decimal(5))
    with transaction.atomic():
        post(
            account=lock_account(staff.pk),
            kind=Entry.Kind.REFUND,
            amount=Decimal("0.5"),
            reference="elsewhere",
            order_number=order.pk,
        )
    assert "account_differs" in codes()


def test_entries_of_an_order_that_does_not_exist_are_found(order: Order) -> None:
    with transaction.atomic():
        post(
            account=lock_account(order.customer_id),
            kind=Entry.Kind.REFUND,
            amount=Decimal("0.5"),
            reference="nowhere",
            order_number=99_999,
        )
    assert codes() == ["entry_without_order"]


def test_a_lease_that_has_just_run_out_is_no_finding(customer: User, service: Service) -> None:
    lease_until = timezone.now() - timedelta(minutes=4)
    make_order(customer, service, dispatch=Dispatch.SENDING, lease_until=lease_until)
    assert codes() == []


def test_an_order_that_is_asked_about_no_more_after_90_days_is_no_finding(order: Order) -> None:
    polls.forget([order.pk])
    assert codes() == ["not_followed"]
    Order.objects.update(sent_at=timezone.now() - timedelta(days=91))
    assert codes() == []


def test_unconfirmed_orders_are_told_and_are_no_error(customer: User, service: Service) -> None:
    make_order(
        customer,
        service,
        dispatch=Dispatch.UNKNOWN,
        upstream_id="",
        created_at=timezone.now() - timedelta(hours=7),
    )
    (finding,) = check()
    assert not finding.is_error
    assert "1 order is unconfirmed; the oldest for 7 hours" in str(finding)


def test_an_order_placed_after_its_refund_is_told(order: Order) -> None:
    Order.objects.update(attention="placed_after_refund")
    assert [(f.code, f.order_id, f.is_error) for f in check()] == [
        ("placed_after_refund", order.pk, False)
    ]


def test_what_moved_during_the_audit_is_looked_at_again(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(order_facts: Any, _entries: Any, _now: Any) -> Any:
        if not looked:
            looked.append(order_facts.pk)
            return iter(["refunds_differ"])
        return iter(())

    looked: list[int] = []
    monkeypatch.setattr(audit, "order_faults", stale)
    assert codes() == []
    assert looked == [order.pk]


def test_the_audit_reads_the_tables_a_fixed_number_of_times(
    customer: User, service: Service, django_assert_max_num_queries: Any
) -> None:
    for _ in range(30):
        make_order(customer, service, charge=Decimal("0.1"))
    with django_assert_max_num_queries(7):
        assert check() == []


def test_a_failed_account_is_frozen_once_and_takes_no_charge(
    customer: User, service: Service
) -> None:
    Account.objects.update(balance=Decimal(11))
    (finding,) = check()
    assert audit.freeze(finding)
    assert not audit.freeze(finding)
    assert not audit.freeze(Finding("unknown", "x", is_error=False))
    with pytest.raises(AccountFrozen):
        make_order(customer, service)


def test_an_account_is_not_frozen_for_an_order_that_is_on_its_way_wrongly(order: Order) -> None:
    """Workers that were away for some minutes at night must not stop anybody's orders."""
    changed(dispatch=Dispatch.SENDING, lease_until=LATE)(order)
    polls.forget([order.pk])
    findings = [finding for finding in check() if finding.is_error]

    assert [finding.code for finding in findings] == ["lease_over"]
    assert not any(audit.freeze(finding) for finding in findings)
    assert not Account.objects.exclude(frozen_reason="").exists()


def test_the_command_passes_on_an_honest_ledger(order: Order) -> None:
    out = io.StringIO()
    call_command("check_ledger", stdout=out)
    assert "agrees with the ledger" in out.getvalue()


def test_the_command_names_every_difference_and_fails(order: Order) -> None:
    Account.objects.update(balance=Decimal(9))
    Order.objects.update(charge=3)
    out = io.StringIO()
    with pytest.raises(CommandError, match="2 findings"):
        call_command("check_ledger", stdout=out)
    assert f"account {order.customer.account.pk}: " in out.getvalue()
    assert f"order {order.pk}: " in out.getvalue()
    order.customer.account.refresh_from_db()
    assert order.customer.account.frozen_reason == ""


def test_the_nightly_check_freezes_what_fails(order: Order) -> None:
    Account.objects.update(balance=Decimal(9))
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("check_ledger", "--freeze", stdout=out)
    assert "accounts frozen: 1" in out.getvalue()
    order.customer.account.refresh_from_db()
    assert "balance" in order.customer.account.frozen_reason


def test_the_sum_of_the_audit_is_exact_where_the_databases_is_not(customer: User) -> None:
    for _ in range(10):
        top_up(user=customer, amount=Decimal("0.1"))
    assert codes() == []
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SELECT SUM(amount) = 11.0 FROM wallet_entry")
            assert cursor.fetchone() == (0,), "floats do differ; the test has teeth"


@pytest.mark.parametrize("remains", [500, None])
def test_staff_correct_no_count_by_which_money_was_given_back(
    order: Order, staff: User, remains: int | None
) -> None:
    """The audit would call the refund wrong, and the customer's account would be frozen."""
    apply_status(order.pk, says(State.PARTIAL, "Partial", remains=remains))
    counts: dict[str, Any] = {"order_id": order.pk, "start_count": 7, "reason": "x", "actor": staff}

    with pytest.raises(NotPossible, match="owed is a refund"):
        desk.set_counts(remains=300, **counts)
    desk.set_counts(remains=remains, **counts)

    assert codes() == []


def test_an_order_that_is_given_up_during_the_audit_is_no_finding(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = timezone.now()
    Order.objects.update(sent_at=began - GIVE_UP_AFTER + timedelta(minutes=1))
    polls.forget([order.pk])
    times = [began, began + timedelta(minutes=2)]
    monkeypatch.setattr(timezone, "now", lambda: times.pop(0) if len(times) > 1 else times[0])

    assert codes() == []
