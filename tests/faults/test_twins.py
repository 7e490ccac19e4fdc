"""The harness bites: with a guard switched off, and with harm done by hand, something goes red."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.db import IntegrityError, connection, models, transaction
from django.utils import timezone

from accounts.models import User
from catalog.models import Service
from orders.errors import NotPossible
from orders.fulfilment import forward
from orders.models import Attempt, Order
from orders.money import lock_order, refund_order
from orders.services import withdraw
from orders.states import Dispatch, Status
from orders.tests.conftest import simulator, sold
from orders.tests.worlds import KEY, balance_of, order_of
from tests.emptying import empty_database
from tests.faults.oracle import Placement, placements_in, violations
from upstream.simulator import Simulator
from wallet.errors import AlreadyPosted
from wallet.models import Account, Entry
from wallet.services import top_up
from wallet.triggers import install_triggers

__all__ = ["simulator", "sold"]

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def without(model: type[models.Model], name: str) -> Iterator[None]:
    """Drop one constraint; what it kept out must be gone again at the end."""
    kept = model._meta.constraints
    guard = next(each for each in kept if each.name == name)
    # SQLite makes the table anew, from what the model says, and the triggers go with the old one.
    model._meta.constraints = [each for each in kept if each is not guard]
    with connection.schema_editor() as editor:
        editor.remove_constraint(model, guard)
    try:
        yield
    finally:
        model._meta.constraints = kept
        with connection.schema_editor() as editor:
            editor.add_constraint(model, guard)
        install_triggers()


def _write_without_looking(account_id: int, entries: Sequence[Entry]) -> bool:
    """What the ledger's writer does, but for its look at what is there."""
    Account.objects.filter(pk=account_id).update(balance=entries[-1].balance_after)
    Entry.objects.bulk_create(entries)
    return True


def credit_twice(customer: User) -> None:
    for _ in range(2):
        top_up(user=customer, amount=Decimal(3), reference="payment-1")


def test_a_payment_is_credited_once_by_looking_and_by_the_database(customer: User) -> None:
    with pytest.raises(AlreadyPosted):
        credit_twice(customer)

    assert balance_of(customer) == 13


def test_without_looking_the_database_still_refuses(
    customer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wallet.services._write", _write_without_looking)

    with pytest.raises(IntegrityError):
        credit_twice(customer)

    assert balance_of(customer) == 13


def test_without_both_the_same_payment_is_credited_twice(
    customer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin of unique (kind, reference)."""
    with without(Entry, "entry_written_once"):
        with monkeypatch.context() as patch:
            patch.setattr("wallet.services._write", _write_without_looking)
            credit_twice(customer)
        assert balance_of(customer) == 16
        # Rows that the missing guard let in would keep it from coming back.
        empty_database()


def found(simulator: Simulator, *extra: Placement, **options: object) -> list[str]:
    truth = [*placements_in(simulator.world.truth()["orders"]), *extra]
    return violations(truth, key=KEY, **options)  # type: ignore[arg-type]


def test_the_oracle_is_content_with_an_honest_panel(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    forward(order_of(customer, sold).pk)
    withdraw(order_of(customer, sold).pk, actor=None)
    order_of(customer, sold)

    assert found(simulator) == []


def placed_twice(order: Order) -> list[Placement]:
    return [Placement("another", order.link)]


def nobodys(order: Order) -> list[Placement]:
    return [Placement("another", "https://example.com/nobodys")]


def other_id(order: Order) -> list[Placement]:
    Order.objects.filter(pk=order.pk).update(upstream_id="999")
    return []


def accepted_unplaced(order: Order) -> list[Placement]:
    Order.objects.filter(pk=order.pk).update(link="https://example.com/elsewhere")
    return []


def rejected_unpaid(order: Order) -> list[Placement]:
    # As much as the database lets through: it wants a rejected order to be refunded.
    Order.objects.filter(pk=order.pk).update(
        dispatch=Dispatch.REJECTED,
        status=Status.CANCELED,
        refunded=order.charge,
        finished_at=timezone.now(),
    )
    return []


def past_its_lease(order: Order) -> list[Placement]:
    Order.objects.filter(pk=order.pk).update(
        dispatch=Dispatch.SENDING, lease_until=timezone.now() - timedelta(seconds=1)
    )
    return []


def money_from_nowhere(order: Order) -> list[Placement]:
    Account.objects.update(balance=Decimal(999))
    return []


def key_in_an_answer(order: Order) -> list[Placement]:
    Attempt.objects.update(answer=f"no such key: {KEY}")
    return []


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (placed_twice, "O1"),
        (other_id, "O2"),
        (accepted_unplaced, "O2"),
        (rejected_unpaid, "O3"),
        (nobodys, "O4"),
        (past_its_lease, "O4"),
        (money_from_nowhere, "O5"),
        (key_in_an_answer, "O6"),
    ],
)
def test_the_oracle_sees_each_harm(
    simulator: Simulator,
    customer: User,
    sold: Service,
    harm: Callable[[Order], list[Placement]],
    told: str,
) -> None:
    order = order_of(customer, sold)
    forward(order.pk)
    order.refresh_from_db()

    extra = harm(order)

    assert any(sentence.startswith(told) for sentence in found(simulator, *extra))


def test_the_oracle_misses_no_form_and_searches_the_logs(
    simulator: Simulator, sold: Service, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    log.write_text(f"key={KEY}")

    sentences = found(simulator, tokens=[uuid.uuid4()], sinks=[log])

    assert [sentence[:2] for sentence in sentences] == ["O4", "O6"]


def test_a_second_refund_of_a_withdrawn_order_is_refused(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    order = order_of(customer, sold)
    withdraw(order.pk, actor=None)

    with pytest.raises(NotPossible, match="more than what is left"):
        _refund_again(order)

    assert found(simulator) == []


def _refund_again(order: Order) -> None:
    with transaction.atomic():
        refund_order(lock_order(order.pk), amount=order.charge, reference="again")
