"""Tables as CSV and XLSX files: written so that no text becomes a formula, read without any trust."""

import csv
import io
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import Any
from xml.etree.ElementTree import ParseError

from django.utils.translation import gettext as _

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

MOST_ROWS = 100_000
MOST_COLUMNS = 40
# What an XLSX file may unpack to, and how tightly a large part of it may be packed: lists of ours
# come to 16 : 1, a file made to fill the memory to 1,000 : 1.
MOST_UNPACKED = 100_000_000
MOST_RATIO = 100
MOST_PARTS = 200
_LARGE = 1_000_000
# Sheets are read row by row, other parts such as the texts of the cells are in memory whole.
MOST_IN_MEMORY = 30_000_000
_SHEETS = "xl/worksheets/"

# A cell is a double, which carries 15 digits; what follows them is noise, not price.
_DOUBLE = Context(prec=15)
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "#")
# Whatever zip, XML and openpyxl raise for a file that only looks like a workbook.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, ParseError, ValueError, LookupError, TypeError, AttributeError,
    ArithmeticError, OSError, EOFError, RuntimeError,
)  # fmt: skip

# The row's number as a spreadsheet shows it, and its cells as text.
Row = tuple[int, list[str]]


class UnreadableFile(Exception):
    """The file is no table that can be read; the text says why."""


def csv_lines(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """The lines of a CSV file."""
    for row in rows:
        out = io.StringIO()
        csv.writer(out).writerow([_harmless(value) for value in row])
        yield out.getvalue()


def _harmless(value: Any) -> str:
    """A spreadsheet must not take a provider's name for a formula."""
    if isinstance(value, str) and value.startswith(_FORMULA_SIGNS):
        return f"'{value}"
    return plain_text(value)


def plain_text(value: Any) -> str:
    """A value as a person would type it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def xlsx_file(title: str, rows: Iterable[Sequence[Any]]) -> bytes:
    """A workbook of one sheet; while it is made a row at a time is in memory."""
    # Imported where it is used, here and below: 15 MB that most processes never need.
    from openpyxl import Workbook  # noqa: PLC0415

    book = Workbook(write_only=True)
    sheet: Any = book.create_sheet(title)
    sheet.freeze_panes = "A2"
    for row in rows:
        sheet.append([_cell(sheet, value) for value in row])
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _cell(sheet: Any, value: Any) -> Any:
    from openpyxl.cell import WriteOnlyCell  # noqa: PLC0415
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE  # noqa: PLC0415

    if isinstance(value, bool):
        return plain_text(value)
    if not isinstance(value, str):
        return value  # numbers stay numbers, nothing stays empty
    text = ILLEGAL_CHARACTERS_RE.sub("", value)
    if not text.startswith(_FORMULA_SIGNS):
        return text
    cell: Any = WriteOnlyCell(sheet, value=text)
    # Text it is, and stays when somebody edits the cell.
    cell.data_type, cell.quotePrefix = "s", True
    return cell


def read_rows(body: bytes) -> Iterator[Row]:
    """The rows of a CSV or XLSX file that are not empty. Raises UnreadableFile, also half-way."""
    rows = _xlsx_rows(body) if body.startswith(b"PK\x03\x04") else _csv_rows(body)
    for number, cells in rows:
        if number > MOST_ROWS + 1:
            raise UnreadableFile(
                _("The file has more than %(most)s lines.") % {"most": f"{MOST_ROWS:,}"}
            )
        if any(cells):
            yield number, cells


def _csv_rows(body: bytes) -> Iterator[Row]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableFile(_("The file is not text in UTF-8.")) from None
    first = text.partition("\n")[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","
    try:
        yield from enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), start=1)
    except csv.Error:
        raise UnreadableFile(_("The file is no CSV that can be read.")) from None


def _xlsx_rows(body: bytes) -> Iterator[Row]:
    try:
        has_formulas = _check_parts(body)
        yield from _cells(body, has_formulas=has_formulas)
    except _BROKEN:
        raise UnreadableFile(_("The file is no XLSX that can be read.")) from None


def _check_parts(body: bytes) -> bool:
    """Refuse a file that unpacks to too much; tell whether it holds formulas.

    The sizes are those the file declares: reading stops there, whatever follows.
    """
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        parts = archive.infolist()
        sheets = [part for part in parts if part.filename.startswith(_SHEETS)]
        others = [part for part in parts if part not in sheets]
        if (
            len(parts) > MOST_PARTS
            or sum(part.file_size for part in parts) > MOST_UNPACKED
            or sum(part.file_size for part in others) > MOST_IN_MEMORY
        ):
            raise UnreadableFile(_("The file is too large when it is unpacked."))
        if any(part.file_size > max(_LARGE, part.compress_size * MOST_RATIO) for part in parts):
            raise UnreadableFile(_("The file is packed more tightly than a list ever is."))
        return any(
            b"<f" in chunk or b":f" in chunk for part in sheets for chunk in _chunks(archive, part)
        )


def _chunks(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> Iterator[bytes]:
    last = b""
    with archive.open(part) as file:
        while chunk := file.read(65_536):
            yield last + chunk
            last = chunk[-1:]


def _cells(body: bytes, *, has_formulas: bool) -> Iterator[Row]:
    """The first sheet's rows; a formula counts with the value it had when the file was saved."""
    values = _sheet_rows(body, data_only=True)
    # Without a stored value a formula would look like an empty cell, which empties a price.
    formulas = _sheet_rows(body, data_only=False) if has_formulas else None
    width = 0
    for number, row in enumerate(values, start=1):
        texts = [_typed(value) for value in row]
        for at, formula in enumerate(next(formulas, ()) if formulas else ()):
            if formula is not None and row[at] is None:
                texts[at] = str(formula)[:40]
        while len(texts) > width and not texts[-1]:
            texts.pop()
        # The first row with anything in it is the header: a sheet leaves empty ends of others out.
        width = width or len(texts)
        yield number, texts


def _sheet_rows(body: bytes, *, data_only: bool) -> Iterator[tuple[Any, ...]]:
    from openpyxl import load_workbook  # noqa: PLC0415

    with warnings.catch_warnings():
        # Of styles and other parts that don't matter here.
        warnings.simplefilter("ignore")
        book: Any = load_workbook(
            io.BytesIO(body), read_only=True, data_only=data_only, keep_links=False
        )
    sheet = book.worksheets[0]
    sheet.reset_dimensions()  # what the file says of its size may be wrong
    yield from sheet.iter_rows(max_col=MOST_COLUMNS, max_row=MOST_ROWS + 2, values_only=True)


def _typed(value: Any) -> str:
    """What a person would have typed into this cell."""
    if isinstance(value, float):
        return plain_text(_DOUBLE.create_decimal(repr(value)))
    if isinstance(value, datetime | date | time | timedelta):
        return str(value)
    return plain_text(value).strip()
