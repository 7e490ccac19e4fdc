"""The price list as a CSV file: written for a spreadsheet, read back as a plan."""

import csv
import io
from collections.abc import Container, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from django.utils.translation import gettext as _

from catalog.models import Service
from catalog.pricing import site_cost

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
MOST_ROWS = 100_000
_WORDS = {"yes": True, "1": True, "true": True, "no": False, "0": False, "false": False}


class NotACsvFile(Exception):
    """The file can't be read as this list; the text says why."""


def write(services: Iterable[Service]) -> Iterator[str]:
    """The lines of the file."""
    yield _line([*_SHOWN, *EDITABLE])
    for service in services:
        cost = site_cost(service.cost_rate, service.provider.exchange_rate)
        shown = [
            service.pk, service.provider.name, service.upstream_id, service.title,
            service.category.title, _text(cost), _text(service.price_rate),
        ]  # fmt: skip
        yield _line(
            [*map(_harmless, shown), *(_text(getattr(service, name)) for name in EDITABLE.values())]
        )


def _line(values: Iterable[Any]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(values)
    return out.getvalue()


def _harmless(value: Any) -> str:
    """A spreadsheet must not take a provider's name for a formula."""
    text = str(value)
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def read(body: bytes) -> tuple[dict[int, dict[str, Any]], list[list[str]]]:
    """The wanted values by service ID, and [row, problem] for each row that can't be read.

    An empty cell empties the field; a column that is not in the file leaves it alone. Raises
    NotACsvFile.
    """
    rows = _rows(body)
    header = [cell.strip().lower() for cell in next(rows, [])]
    if "id" not in header or not set(header) & set(EDITABLE):
        raise NotACsvFile(_("The first line must name the column id and at least one to change."))
    wanted: dict[int, dict[str, Any]] = {}
    problems = []
    for number, cells in enumerate(rows, start=2):
        try:
            row = dict(zip(header, cells, strict=True))
            wanted[_new(int(row["id"]), wanted)] = _values(row)
        except ValueError as exc:
            problems.append([_("line %(number)s") % {"number": number}, _sentence(exc)])
    return wanted, problems


def _new(pk: int, known: Container[int]) -> int:
    if pk in known:
        raise ValueError(_("This service is in the file twice."))
    return pk


def _rows(body: bytes) -> Iterator[list[str]]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NotACsvFile(_("The file is not text in UTF-8.")) from None
    semicolons = text.partition("\n")[0]
    delimiter = ";" if semicolons.count(";") > semicolons.count(",") else ","
    for number, cells in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter)):
        if number > MOST_ROWS:
            raise NotACsvFile(_("The file has more than %(most)s lines.") % {"most": MOST_ROWS})
        if any(cells):
            yield cells


def _sentence(exc: ValueError) -> str:
    text = str(exc)
    known = ("zip()", "invalid literal")
    return _("This line doesn't have the columns of the first.") if text.startswith(known) else text


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
    if not value.is_finite():
        raise ValueError(
            _("%(cell)s in %(column)s is not a number.") % {"cell": cell[:40], "column": column}
        )
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < (
        -3 if column in ("markup_percent", "minimum_margin") else -7
    ):
        raise ValueError(
            _("%(cell)s in %(column)s has too many decimals.")
            % {"cell": cell[:40], "column": column}
        )
    return value
