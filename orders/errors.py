"""Why an order, or something asked about an order, was refused. Nothing was written then."""

from collections.abc import Mapping
from decimal import Decimal


class OrderError(Exception):
    """The order, or what was asked of it, was refused, and nothing was written."""


class InvalidOrder(OrderError):
    """Fields of the order don't fit its service; `errors` maps each field to a sentence."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = dict(errors)


class NotOnSale(OrderError):
    """The service is not sold now."""


class InvalidLines(OrderError):
    """Orders of a list can't be placed; `errors` maps the position in the list to a sentence."""

    def __init__(self, errors: Mapping[int, str]) -> None:
        super().__init__(f"{len(errors)} orders of the list can't be placed")
        self.errors = dict(errors)


class PriceChanged(OrderError):
    """The price moved since the customer saw it; nothing is charged before it is seen."""

    def __init__(self, *, seen: Decimal, now: Decimal) -> None:
        super().__init__(f"the charge was {seen} and is now {now}")
        self.seen = seen
        self.now = now


class DuplicateLink(OrderError):
    """The customer has an active order of this service on this link."""

    def __init__(self, order_id: int) -> None:
        super().__init__(f"order {order_id} is active on this link")
        self.order_id = order_id


class TokenReused(OrderError):
    """The one-time token belongs to another order with other content."""


class NotPossible(OrderError):
    """A refill, cancel or refund can't be done now; the text says why, for the one who asked."""
