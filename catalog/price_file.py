"""The price list as a file: written for a spreadsheet, read back as what somebody wants changed."""

from collections.abc import Container, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from django.utils.translation import gettext as _

from catalog.models import Service
from catalog.pricing import site_cost
from catalog.sheets import UnreadableFile, read_rows

# Columns that may be changed, and the service's field behind each.
EDITABLE = {
    "pinned_price": "pinned_rate",
    "markup_percent": "markup_percent",
    "markup_fixed": "markup_fixed",
    "minimum_margin": "margin_min",
    "rounding_step": "rounding_step",
    "sold": "is_sold",
}
_SHOWN = ["id", "provider", "upstream_id", "name", "category", "cost", "price"]
_WORDS = {"yes": True, "1": True, "true": True, "no": False, "0": False, "false": False}
_LARGEST_ID = 2**63 - 1
# No price and no percentage has more digits before its point.
_MOST_DIGITS = 12


def table(services: Iterable[Service]) -> Iterator[list[Any]]:
    """The header and a row for each service; needs provider and category."""
    yield [*_SHOWN, *EDITABLE]
    for service in services:
        cost = site_cost(service.cost_rate, service.provider.exchange_rate)
        yield [
            service.pk, service.provider.name, service.upstream_id, service.title,
            service.category.title, cost, service.price_rate,
            *(getattr(service, name) for name in EDITABLE.values()),
        ]  # fmt: skip


def read(body: bytes) -> tuple[dict[int, dict[str, Any]], list[list[str]]]:
    """The wanted values by service ID, and [line, problem] for each row that can't be read.

    An empty cell empties the field; a column that is not in the file leaves it alone. Raises
    UnreadableFile.
    """
    rows = read_rows(body)
    _number_of_header, first = next(rows, (1, []))
    header = [cell.strip().lower() for cell in first]
    if "id" not in header or not set(header) & set(EDITABLE) or _repeats(header):
        raise UnreadableFile(
            _("The first line must name the column id and at least one to change, each once.")
        )
    wanted: dict[int, dict[str, Any]] = {}
    problems = []
    for number, cells in rows:
        try:
            row = _named(header, cells)
            wanted[_new(_id(row["id"]), wanted)] = _values(row)
        except ValueError as exc:
            problems.append([_("line %(number)s") % {"number": number}, str(exc)])
    return wanted, problems


def _repeats(header: list[str]) -> bool:
    named = [cell for cell in header if cell]
    return len(named) != len(set(named))


def _named(header: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(header):
        raise ValueError(_("This line doesn't have the columns of the first."))
    return dict(zip(header, cells, strict=True))


def _id(cell: str) -> int:
    text = cell.strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 20) or int(text) > _LARGEST_ID:
        raise ValueError(_("The column id doesn't hold the number of a service."))
    return int(text)


def _new(pk: int, known: Container[int]) -> int:
    if pk in known:
        raise ValueError(_("This service is in the file twice."))
    return pk


def _values(row: dict[str, str]) -> dict[str, Any]:
    return {
        field: _flag(row[column]) if field == "is_sold" else _number(column, row[column])
        for column, field in EDITABLE.items()
        if column in row
    }


def _flag(cell: str) -> bool:
    word = cell.strip().lower()
    if word not in _WORDS:
        raise ValueError(_("Write yes or no in the column sold."))
    return _WORDS[word]


def _number(column: str, cell: str) -> Decimal | None:
    if not cell.strip():
        return None
    try:
        value = Decimal(cell.strip())
    except InvalidOperation:
        value = Decimal("NaN")
    words = {"cell": cell[:40], "column": column}
    if not value.is_finite():
        raise ValueError(_("%(cell)s in %(column)s is not a number.") % words)
    if value and value.adjusted() >= _MOST_DIGITS:
        raise ValueError(_("%(cell)s in %(column)s is out of range.") % words)
    exponent = value.as_tuple().exponent
    places = 3 if column in ("markup_percent", "minimum_margin") else 7
    if isinstance(exponent, int) and exponent < -places:
        raise ValueError(_("%(cell)s in %(column)s has too many decimals.") % words)
    return value
