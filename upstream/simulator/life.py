"""How an order passes from Pending to its end: pure functions of the order and the time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from upstream.simulator.settings import Settings

OUTCOMES_THAT_END = ("Completed", "Partial", "Canceled", "Fail")
OPEN = ("Pending", "Processing", "In progress", "Active", "Paused")
_PROCESSING_FROM = 0.1
_DELIVERING_FROM = 0.2
_RULES = (("partial", "Partial"), ("cancel", "Canceled"), ("fail", "Fail"))


@dataclass(slots=True)
class Order:
    """One order on the provider's books.

    kind: "order", "drip-feed" (a parent with runs) or "subscription".
    source: "api", "hand" (placed on the provider's site) or "child" (of a parent).
    quantity: units to deliver; of a drip-feed parent per run.
    price: what it is worth; cost: what the balance paid for it by itself. A child that its
    parent has paid for has a price and no cost.
    born: seconds since the epoch; life: seconds from there to the end.
    final: the last status, once reached; forced: answers set by hand, shown in place of ours.
    """

    id: str
    service: str
    type: str
    link: str
    fields: dict[str, str]
    kind: str
    source: str
    quantity: int
    price: Decimal
    cost: Decimal
    born: float
    life: float
    outcome: str
    start_count: int
    parent: str = ""
    runs: int = 0
    children: list[str] = field(default_factory=list)
    old_children: list[str] = field(default_factory=list)
    given_back: Decimal = Decimal(0)
    paused: bool = False
    final: str = ""
    final_remains: int = 0
    forced: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Refill:
    """One refill request; `born` and `life` as for an order."""

    id: str
    order: str
    born: float
    life: float
    outcome: str

    def status(self, at: float) -> str:
        """Pending, In progress, then Completed or Rejected."""
        passed = share(self.born, self.life, at)
        if passed >= 1:
            return self.outcome
        return "Pending" if passed < _DELIVERING_FROM else "In progress"


@dataclass(frozen=True)
class Progress:
    """What an order looks like at one moment."""

    status: str
    remains: int


def share(born: float, life: float, at: float) -> float:
    """How much of a life has passed, from 0; 1 or more means it is over."""
    return (at - born) / life if life > 0 else 1.0


def progress(order: Order, at: float) -> Progress:
    """Status and remains at a time, before anything set by hand."""
    if order.final:
        return Progress(order.final, order.final_remains)
    if order.kind != "order":
        return Progress("Paused" if order.paused else "Active", order.quantity)
    passed = share(order.born, order.life, at)
    if passed >= 1:
        return Progress(order.outcome, remains_at_end(order))
    if passed < _PROCESSING_FROM:
        return Progress("Pending", order.quantity)
    if passed < _DELIVERING_FROM:
        return Progress("Processing", order.quantity)
    delivering = (passed - _DELIVERING_FROM) / (1 - _DELIVERING_FROM)
    delivered = round((order.quantity - remains_at_end(order)) * delivering)
    return Progress("In progress", order.quantity - delivered)


def remains_at_end(order: Order) -> int:
    """Units left undelivered when the order reaches its planned outcome."""
    if order.outcome == "Completed":
        return 0
    if order.outcome == "Partial":
        return max(1, order.quantity * 2 // 5)
    return order.quantity


def status_of(order: Order, at: float) -> str:
    """The status it answers with: one set by hand goes first."""
    return str(order.forced.get("status") or progress(order, at).status)


def plan(link: str, settings: Settings, rng: random.Random) -> tuple[str, float]:
    """Outcome and life in seconds: by a word in the link, otherwise by the weights."""
    words = link.lower()
    life = settings.pace * (10 if "slow" in words else 1)
    for word, outcome in _RULES:
        if word in words:
            return outcome, life
    outcomes = list(settings.weights)
    chosen = rng.choices(outcomes, weights=[settings.weights[name] for name in outcomes])
    return chosen[0], life
