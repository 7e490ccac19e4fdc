"""What can be changed about a simulated provider while it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OUTCOMES = ("Completed", "Partial", "Canceled", "Fail")
ID_KINDS = ("sequence", "random", "text")


@dataclass(frozen=True)
class Settings:
    """Behaviour of a World; `changed` gives a copy with other values.

    pace: seconds of an ordinary order's whole life, for orders placed from now on.
    latency_ms: milliseconds every API answer takes.
    currency: currency of the account.
    minute_seconds: seconds a protocol minute (interval, delay) lasts.
    weights: outcome -> weight, for orders whose link does not choose one.
    duplicate_link: refuse a second active order on the same link and service.
    subscription_upfront: charge the most a subscription can cost when it is placed.
    post_every: seconds between two new posts of a watched account.
    refill_wait: seconds between two refills of one order.
    show_full_charge: keep showing the whole charge after money was given back.
    ids: "sequence", "random" (numbers in no order) or "text" (ord_…).
    neighbours_per_order: IDs other customers take around each of ours, 0 to this many.
    neighbours_per_second: IDs other customers take per second.
    idempotency_param: field of `add` whose value, sent again, gets the first order's answer.
    open_status: answer status for everybody's IDs, as a careless panel does.
    """

    pace: float = 10.0
    latency_ms: float = 0.0
    currency: str = "USD"
    minute_seconds: float = 60.0
    weights: Mapping[str, float] = field(default_factory=lambda: {"Completed": 1.0})
    duplicate_link: bool = False
    subscription_upfront: bool = False
    post_every: float = 60.0
    refill_wait: float = 86400.0
    show_full_charge: bool = False
    ids: str = "sequence"
    neighbours_per_order: int = 0
    neighbours_per_second: float = 0.0
    open_status: bool = False
    idempotency_param: str = ""

    def __post_init__(self) -> None:
        unknown = set(self.weights) - set(OUTCOMES)
        if unknown or sum(self.weights.values()) <= 0:
            raise ValueError(f"weights: outcomes are {', '.join(OUTCOMES)}, one above zero")
        if self.ids not in ID_KINDS:
            raise ValueError(f"ids: one of {', '.join(ID_KINDS)}")

    def changed(self, **values: Any) -> Settings:
        """A copy with these values; raises ValueError for a name or a value it cannot use."""
        known = {item.name: item for item in dataclasses.fields(self)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"no setting {name}")
            if not _fits(getattr(self, name), value):
                raise ValueError(f"{name}: not a value like {getattr(self, name)!r}")
        return dataclasses.replace(self, **values)


def _fits(present: object, value: object) -> bool:
    if isinstance(present, bool) or isinstance(value, bool):
        return isinstance(present, bool) and isinstance(value, bool)
    if isinstance(present, int | float):
        return isinstance(value, int | float) and value >= 0
    if isinstance(present, Mapping):
        return isinstance(value, Mapping)
    return isinstance(value, str)
