"""CSV that is streamed, and safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable

from django.http import StreamingHttpResponse

# What makes a spreadsheet take a cell for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def safe(text: str) -> str:
    """Text that somebody typed, as a cell that can't be taken for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def line(cells: Iterable[object]) -> str:
    written = io.StringIO()
    csv.writer(written).writerow(cells)
    return written.getvalue()


def download(lines: Iterable[str], name: str) -> StreamingHttpResponse:
    """The lines as a file to keep."""
    return StreamingHttpResponse(
        lines,
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
