"""A process that spends one customer's balance until nothing is left: `python -m wallet.tests.spender`.

Arguments: the user's number, the amount, "locked" or "unlocked", and a file whose appearance is the
signal to start. Prints how often it spent.
"""

import sys
import time
import uuid
from decimal import Decimal
from pathlib import Path

import django

django.setup()

from django.db import transaction  # noqa: E402 - after the setup

from wallet.errors import InsufficientFunds  # noqa: E402
from wallet.models import Account, Entry  # noqa: E402
from wallet.services import lock_account, post  # noqa: E402


def spend(user_id: int, amount: Decimal) -> None:
    with transaction.atomic():
        take(lock_account(user_id), amount)


def spend_unlocked(user_id: int, amount: Decimal) -> None:
    """The twin: the same, but that the balance is read before the transaction and without a lock."""
    account = Account.objects.get(user_id=user_id)
    time.sleep(0.002)
    with transaction.atomic():
        take(account, amount)


def take(account: Account, amount: Decimal) -> None:
    post(
        account=account,
        kind=Entry.Kind.ADJUSTMENT,
        amount=-amount,
        reference=f"spend-{uuid.uuid4()}",
    )


def main(user_id: str, amount: str, mode: str, signal: str) -> int:
    spend_once = spend if mode == "locked" else spend_unlocked
    deadline = time.monotonic() + 150
    print("ready", flush=True)
    while not Path(signal).exists():
        if time.monotonic() > deadline:
            return 1
        time.sleep(0.005)
    spent = 0
    try:
        # More than one balance's worth is enough to show what the twin does.
        while spent < 500:
            spend_once(int(user_id), Decimal(amount))
            spent += 1
    except InsufficientFunds:
        pass
    print(spent)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
