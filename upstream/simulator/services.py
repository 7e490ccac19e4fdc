"""The price list: rows as they are served, and what an order needs to know of them."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Any

CATALOGUE = Path(__file__).with_name("catalogue.json")
_FINEST = Decimal("1E-10")
_FALSE = {"", "0", "false", "no", "none"}


@dataclass(frozen=True)
class Service:
    """One row of the price list; `rate` is the price of 1000 units in the account's currency.

    `row` is served as it was given, with whatever spelling of numbers and flags it has.
    `dripfeed` is None where the row does not have the flag.
    """

    id: str
    name: str
    type: str
    rate: Decimal
    min: int
    max: int
    refill: bool
    cancel: bool
    dripfeed: bool | None
    row: Mapping[str, Any]


def money(amount: Decimal) -> Decimal:
    """An amount at ten decimals: exact for every sensible rate, and sums of it stay exact."""
    return amount.quantize(_FINEST, ROUND_HALF_UP)


def load_services(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON file; numbers with a point become Decimal, so no rate passes a float."""
    rows = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    if not isinstance(rows, list):
        raise ValueError(f"{path}: a services file is a list of objects")  # noqa: TRY004
    return rows


@functools.cache
def shipped_catalogue() -> tuple[Mapping[str, Any], ...]:
    """The rows of the catalogue that comes with the simulator; do not change them."""
    return tuple(load_services(CATALOGUE))


def read_services(rows: Iterable[Mapping[str, Any]]) -> dict[str, Service]:
    """Services by ID, in the order given; an unusable number counts as zero.

    Rows no one could order stay in the list all the same: real lists have them.
    """
    services = (_read(row) for row in rows)
    return {service.id: service for service in services}


def _read(row: Mapping[str, Any]) -> Service:
    dripfeed = row.get("dripfeed")
    return Service(
        id=str(row["service"]),
        name=str(row.get("name", "")),
        type=str(row.get("type", "")),
        rate=_decimal(row.get("rate")),
        min=int(_decimal(row.get("min"))),
        max=int(_decimal(row.get("max"))),
        refill=_flag(row.get("refill")),
        cancel=_flag(row.get("cancel")),
        dripfeed=None if dripfeed is None else _flag(dripfeed),
        row=row,
    )


def _decimal(value: object) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return Decimal(0)
    return number if number.is_finite() else Decimal(0)


def _flag(value: object) -> bool:
    return str(value).strip().lower() not in _FALSE if value is not None else False
