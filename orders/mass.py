"""The list of a mass order: one `service | link | quantity` per line, read and reckoned."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.utils.translation import gettext as _

from catalog.models import Service
from orders.bulk import MOST, Wanted, agree
from orders.quotes import Quote
from wallet.money import ZERO
from wallet.paging import key
from wallet.templatetags.money import number as written

# Rows the page shows of a list; the sums are of all lines.
SHOWN = 50


@dataclass(frozen=True)
class Line:
    """One line as it was typed, and what it would be: a quote, or a sentence about what is wrong."""

    number: int
    text: str
    wanted: Wanted | None
    quote: Quote | None = None
    error: str = ""

    @property
    def service(self) -> Service | None:
        return self.quote.service if self.quote else None


@dataclass(frozen=True)
class MassDraft:
    """A whole list; `problem` is a sentence about the list as such."""

    lines: Sequence[Line]
    problem: str = ""

    @property
    def good(self) -> list[Line]:
        return [line for line in self.lines if line.quote]

    @property
    def bad(self) -> list[Line]:
        return [line for line in self.lines if not line.quote]

    @property
    def shown(self) -> list[Line]:
        """What is wrong first, because that is what has to be read."""
        return [*self.bad, *self.good][:SHOWN]

    @property
    def hidden(self) -> int:
        return max(0, len(self.lines) - SHOWN)

    @property
    def charge(self) -> Decimal:
        """The sum of the lines that can be placed."""
        return sum((line.quote.charge for line in self.lines if line.quote), ZERO)


def read_lines(text: str) -> list[Line]:
    """The lines that hold something, each with what it asks for or what keeps it from being read."""
    return [
        _read(number, line.strip())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip()
    ]


def _read(number: int, text: str) -> Line:
    # A link may hold the separator, the numbers around it never do.
    first, _bar, rest = text.partition("|")
    link, bar, quantity = rest.rpartition("|")
    if not bar:
        link, quantity = rest, ""
    service_id = key(first.strip().removeprefix("#"))
    if not _bar:
        return Line(number, text, None, error=_("Write service | link | quantity."))
    if service_id is None:
        return Line(number, text, None, error=_("The line begins with the number of a service."))
    values = {"link": link.strip(), "quantity": quantity.strip()}
    return Line(number, text, Wanted(service_id, values))


def reckon(customer_id: int, text: str) -> MassDraft:
    """What the list would be now; asks the database the same whatever its length."""
    lines = read_lines(text)
    if len(lines) > MOST:
        problem = _("At most %(most)s lines at a time; these are %(count)s.") % {
            "most": written(MOST),
            "count": written(len(lines)),
        }
        return MassDraft([], problem)
    wanted = [line.wanted for line in lines if line.wanted]
    answers = iter(agree(customer_id, wanted) if wanted else [])
    return MassDraft([_answered(line, next(answers)) if line.wanted else line for line in lines])


def _answered(line: Line, answer: Quote | str) -> Line:
    if isinstance(answer, str):
        return Line(line.number, line.text, line.wanted, error=answer)
    return Line(line.number, line.text, line.wanted, quote=answer)
