"""A provider's answers as typed values: ids are text, money is Decimal, None is "not said"."""

import enum
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from upstream.errors import Kind


class ServiceRow(NamedTuple):
    """One service as the provider lists it; whether it can be sold is the catalogue's judgement.

    `rate` is the price of 1,000 units in the currency of our account there, None when it is
    missing or not a number. `min` and `max` are as sent: 0 as a maximum was seen to mean
    "no limit". `refill` and `cancel` say what the API accepts, not what the name promises.
    """

    service: str
    name: str
    type: str
    category: str
    rate: Decimal | None
    min: int | None
    max: int | None
    refill: bool
    cancel: bool
    dripfeed: bool | None
    description: str


@dataclass(frozen=True)
class UnreadableRow:
    """A row of a price list that names no service; `position` counts from 0."""

    position: int
    service: str
    reason: str


@dataclass(frozen=True)
class Catalogue:
    """A whole price list, in the provider's order."""

    rows: tuple[ServiceRow, ...]
    unreadable: tuple[UnreadableRow, ...]


class State(enum.StrEnum):
    """An order's status with the spellings of different panels folded together."""

    PENDING = "pending"
    PROCESSING = "processing"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    PARTIAL = "partial"
    CANCELED = "canceled"
    FAILED = "failed"
    REFUNDED = "refunded"
    ACTIVE = "active"
    PAUSED = "paused"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class OrderStatus:
    """What a provider says of an order; a drip-feed or subscription parent has children.

    `charge` is in `currency` (often missing, not always ISO) and advisory: panels were seen to
    send the service's price, or a charge on a canceled order. `remains` may be negative
    (over-delivered) or above the quantity. `runs` and `posts` count what is done;
    `orders` and `old_orders` are the ids of the children.
    """

    state: State
    raw_status: str
    charge: Decimal | None
    start_count: int | None
    remains: int | None
    currency: str
    runs: int | None
    posts: int | None
    expiry: str
    orders: tuple[str, ...]
    old_orders: tuple[str, ...]


@dataclass(frozen=True)
class ItemError:
    """Why one id of a request for many has no result; `missing` when the answer left it out."""

    text: str
    kind: Kind
    missing: bool = False


class RefillState(enum.StrEnum):
    """A refill request's status, spellings folded together."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    REJECTED = "rejected"
    CANCELED = "canceled"
    PARTIAL = "partial"
    REFUNDED = "refunded"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class RefillStatus:
    """What a provider says of a refill request."""

    state: RefillState
    raw_status: str


@dataclass(frozen=True)
class Balance:
    """Our money at the provider; `currency` is empty when the answer names none."""

    amount: Decimal
    currency: str


@dataclass(frozen=True)
class Placed:
    """An accepted order: the provider's id, and its answer with the key replaced."""

    order: str
    answer: str
