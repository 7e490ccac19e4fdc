"""Random histories of top-ups, orders, statuses and refunds against an oracle of integers.

The oracle reckons in hundred-thousandths with its own few rules, so that it shares neither code nor
number type with what it checks. Mutants come in pairs where two layers guard the same thing: one
alone is caught by the other and proves nothing. LEDGER_EXAMPLES sets how many histories are tried.
"""

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import ROUND_UP, Decimal
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from accounts.models import User
from catalog.models import Category, Provider, Service
from orders import decisions, desk, money, settlement
from orders.audit import check
from orders.decisions import Decision, Facts, partial_refund
from orders.errors import NotPossible
from orders.models import Order
from orders.settlement import apply_status
from orders.states import OPEN, Status
from orders.tests.test_settle_apply import make_order
from orders.tests.test_settle_rules import says
from upstream.answers import OrderStatus, State
from wallet.errors import InsufficientFunds, WalletError
from wallet.models import Account, Entry
from wallet.services import top_up

UNIT = Decimal("0.00001")
EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "25"))
TOKENS = [uuid.UUID(int=number) for number in range(2)]

# Tried more often than the states that end nothing.
ENDINGS = [State.PARTIAL, State.PARTIAL, State.CANCELED, State.COMPLETED]
REFUNDING = {State.CANCELED, State.FAILED, State.REFUNDED}


@dataclass
class Known:
    """What the oracle knows of an order; money in hundred-thousandths."""

    pk: int
    quantity: int
    charge: int
    refunded: int = 0
    ended: str = ""

    @property
    def left(self) -> int:
        return self.charge - self.refunded


class Books(RuleBasedStateMachine):
    """One customer; every example is rolled back."""

    orders = Bundle("orders")

    def __init__(self) -> None:
        super().__init__()
        self._outer = transaction.atomic()
        self._outer.__enter__()
        self.balance = 0
        self.known: list[Known] = []
        self.paid: set[tuple[int, uuid.UUID]] = set()
        self.user = User.objects.create_user("machine@example.com", None)
        self.staff = User.objects.create_user("staff-machine@example.com", None, is_staff=True)
        self.service = Service.objects.create(
            provider=Provider.objects.create(name="P", url="http://127.0.0.1:9", api_key="k"),
            category=Category.objects.create(name="C"),
            upstream_id="1",
            name="S",
            order_type="default",
            cost_rate=1,
            price_rate=2,
        )
        # Enough to order at once: histories of refused orders find nothing.
        self.top_up(10**7)

    def teardown(self) -> None:
        try:
            assert [str(finding) for finding in check() if finding.is_error] == []
        finally:
            transaction.set_rollback(True)
            self._outer.__exit__(None, None, None)

    @rule(amount=st.integers(1, 10**7))
    def pay_in(self, amount: int) -> None:
        self.top_up(amount)

    def top_up(self, amount: int) -> None:
        top_up(user=self.user, amount=amount * UNIT)
        self.balance += amount

    @rule(target=orders, quantity=st.integers(1, 1000), charge=st.integers(1, 2 * 10**6))
    def place(self, quantity: int, charge: int) -> Known:
        order = Known(pk=0, quantity=quantity, charge=charge)
        try:
            made = make_order(self.user, self.service, quantity=quantity, charge=charge * UNIT)
        except InsufficientFunds:
            assert charge > self.balance
            order.ended = "never"
            return order
        assert charge <= self.balance
        order.pk = made.pk
        self.balance -= charge
        self.known.append(order)
        return order

    @rule(
        order=orders,
        state=st.sampled_from([*ENDINGS, *ENDINGS, *State]),
        remains=st.one_of(st.none(), st.integers(1, 900), st.integers(-10, 6000)),
        times=st.integers(1, 3),
    )
    def status(self, order: Known, state: State, remains: int | None, times: int) -> None:
        if order.ended == "never":
            return
        for _ in range(times):
            apply_status(order.pk, says(state, remains=remains))
        self.expect(order, state, remains)

    def expect(self, order: Known, state: State, remains: int | None) -> None:
        """The oracle's rules: what ends an order pays once, and a cancel pays the rest."""
        if state in REFUNDING and order.ended != "canceled":
            self.pay(order, order.left)
            order.ended = "canceled"
        elif state == State.PARTIAL and order.ended in ("", "completed"):
            if remains is not None and remains > 0:
                share = order.charge * min(remains, order.quantity) // order.quantity
                self.pay(order, min(share, order.left))
            order.ended = "partial"
        elif state == State.COMPLETED and order.ended == "":
            order.ended = "completed"

    def pay(self, order: Known, amount: int) -> None:
        order.refunded += amount
        self.balance += amount

    @rule(order=orders, part=st.integers(0, 12), token=st.sampled_from(TOKENS))
    def staff_refund(self, order: Known, part: int, token: uuid.UUID) -> None:
        if order.ended == "never":
            return
        # Tenths of the charge; none stands for all that is left.
        amount = order.left if part == 0 else order.charge * part // 10
        try:
            desk.refund(
                order_id=order.pk,
                amount=None if part == 0 else amount * UNIT,
                reason="machine",
                actor=self.staff,
                token=token,
            )
        except NotPossible:
            assert (order.pk, token) not in self.paid
            assert amount == 0 or amount > order.left
            return
        if (order.pk, token) not in self.paid:
            self.paid.add((order.pk, token))
            self.pay(order, amount)

    @invariant()
    def the_balance_is_what_the_oracle_says(self) -> None:
        assert Account.objects.get(user=self.user).balance == self.balance * UNIT

    @invariant()
    def every_order_is_what_the_oracle_says(self) -> None:
        rows = {row.pk: row for row in Order.objects.filter(customer=self.user)}
        assert len(rows) == len(self.known)
        for order in self.known:
            row = rows[order.pk]
            assert row.refunded == order.refunded * UNIT
            assert row.status == order.ended if order.ended else row.status in OPEN


def histories(examples: int, *, steps: int = 20) -> None:
    run_state_machine_as_test(
        Books,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
            report_multiple_bugs=False,
        ),
    )


@pytest.mark.django_db
def test_every_history_agrees_with_the_oracle() -> None:
    histories(EXAMPLES)


Mutate = Callable[[pytest.MonkeyPatch], None]
honest_decide = decisions.decide
honest_refund = money.refund_order


def forgets_the_end(facts: Facts, answer: OrderStatus) -> Decision:
    """As if every order were still running."""
    return honest_decide(replace(facts, status=Status.IN_PROGRESS), answer)


def without_reference(locked: money.Locked, *, reference: str, **rest: Any) -> Entry:
    return honest_refund(locked, reference=f"{reference}-{uuid.uuid4()}", **rest)


def pays_twice(patch: pytest.MonkeyPatch) -> None:
    """A pair: the end is forgotten, and nothing makes a refund unique."""
    patch.setattr(settlement, "decide", forgets_the_end)
    patch.setattr(settlement, "refund_order", without_reference)


def rounds_up(patch: pytest.MonkeyPatch) -> None:
    def upward(charge: Decimal, quantity: int, remains: int | None) -> Decimal:
        share = charge * max(0, min(remains or 0, quantity)) / quantity
        return share.quantize(UNIT, rounding=ROUND_UP)

    patch.setattr(decisions, "partial_refund", upward)


def trusts_remains(patch: pytest.MonkeyPatch) -> None:
    """A pair: neither the share is kept within the quantity nor the refund within what is left."""

    def unclamped(charge: Decimal, quantity: int, remains: int | None) -> Decimal:
        return (charge * (remains or 0) / quantity).quantize(UNIT)

    patch.setattr(decisions, "partial_refund", unclamped)
    patch.setattr(Facts, "left", Decimal(10**6))


def ignores_the_token(patch: pytest.MonkeyPatch) -> None:
    honest = desk.refund

    def untokened(*, token: uuid.UUID, **rest: Any) -> Entry:
        return honest(token=uuid.uuid4(), **rest)

    patch.setattr(desk, "refund", untokened)


def pays_the_charge_again(patch: pytest.MonkeyPatch) -> None:
    """What staff gave is forgotten when the order is canceled."""

    def forgetful(facts: Facts, answer: OrderStatus) -> Decision:
        return honest_decide(replace(facts, refunded=Decimal(0)), answer)

    patch.setattr(settlement, "decide", forgetful)


MUTANTS: list[Mutate] = [
    pays_twice, rounds_up, trusts_remains, ignores_the_token, pays_the_charge_again,
]  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize("mutate", MUTANTS)
def test_the_machine_finds_each_mutant(mutate: Mutate, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch)
    # Either the oracle disagrees, or a layer below (cap, CHECK) refuses what the mutant asks for.
    with pytest.raises((AssertionError, NotPossible, WalletError, DatabaseError)):
        histories(100, steps=25)


def test_the_share_the_oracle_reckons_is_the_documented_one() -> None:
    assert partial_refund(Decimal(2), 1000, 157) == Decimal("0.31400")
