from decimal import Decimal


class WalletError(Exception):
    """A movement of money was refused, and nothing was written."""


class InsufficientFunds(WalletError):
    """The balance does not cover the amount."""

    def __init__(self, *, balance: Decimal, needed: Decimal) -> None:
        super().__init__("the balance does not cover the amount")
        self.balance = balance
        self.needed = needed

    @property
    def missing(self) -> Decimal:
        return self.needed - self.balance


class AccountFrozen(WalletError):
    """The account's audit failed: it takes no charge until the difference is explained."""


class InvalidAmount(WalletError):
    """The amount is zero, too fine, too large or of the wrong sign."""


class AlreadyPosted(WalletError):
    """An entry of this kind and reference is in the ledger; it is never written twice."""


class AlreadyDecided(WalletError):
    """The top-up request was approved or refused before."""


class OwnRequest(WalletError):
    """Nobody decides about their own top-up."""


class TooManyRequests(WalletError):
    """The customer has as many open top-up requests as are allowed."""
