"""The client of API v2: one method per action, typed answers, three kinds of failure."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TypeVar
from urllib.parse import urlencode, urlsplit

from upstream import parse
from upstream.answers import (
    Balance,
    Catalogue,
    ItemError,
    OrderStatus,
    Placed,
    RefillStatus,
)
from upstream.collector import resting
from upstream.errors import Kind, NotSent, OutcomeUnknown, Rejected, UpstreamError
from upstream.exchange import Timeouts
from upstream.kept import Kept
from upstream.recognition import Recognition
from upstream.transport import Answer, Transport
from upstream.values import document
from upstream.verdicts import NO_RULES, kind_of

__all__ = ["MAX_IDS", "Client", "Timeouts"]

T = TypeVar("T")
_Reader = Callable[[Any, Answer], T]

MAX_IDS = 100
USER_AGENT = "Mozilla/5.0 (compatible; reseller-panel/1.0)"

_KIB = 1024
_SUBMISSION_LIMIT = 64 * _KIB
_STATUS_LIMIT = 256 * _KIB
# A hundred parents that list a thousand parts each.
_STATUSES_LIMIT = 4 * _KIB * _KIB
_SERVICES_LIMIT = 32 * _KIB * _KIB
_ANSWER_KEPT = 2000


def _nothing() -> None:
    """The hook of a caller who marks nothing."""


class Client:
    """Speaks to one provider, from one thread at a time.

    Every method raises NotSent, Rejected or OutcomeUnknown (`upstream.errors`) and no other
    error of the network or of the answer. `add`, `refill`, `refills` and `cancel` send at most
    once: `before_send` is called when a connection is open and before the first byte; an exception
    of the hook goes through and nothing is sent. The connection is one of `kept`, which clients of
    many threads may share, or without it one of their own. Reads reuse connections and may be
    repeated by the caller.

    `rules` are this provider's own error texts (see `verdicts.kind_of`). `error_wins` is for a
    provider known to put an order id beside the error of an order it has not placed. `ca_file`
    names other certificate roots than the usual ones. The key appears in no error and no repr.
    """

    def __init__(  # noqa: PLR0913 - everything that differs between providers, by name
        self,
        *,
        url: str,
        key: str,
        allow_private: bool = False,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        rules: Mapping[str, Kind] = NO_RULES,
        user_agent: str = USER_AGENT,
        error_wins: bool = False,
        ca_file: str | None = None,
        kept: Kept | None = None,
    ) -> None:
        self._key = key
        self._echo = _echoes_of(key)
        self._rules = rules
        self._error_wins = error_wins
        self._transport = Transport(
            url,
            allow_private=allow_private,
            timeouts=timeouts,
            user_agent=user_agent,
            ca_file=ca_file,
            kept=kept,
        )

    def __repr__(self) -> str:
        return f"<Client of {self._transport.host}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that reads keep open."""
        self._transport.close()

    def services(self) -> Catalogue:
        """Fetch the whole price list."""
        return self._read(
            {"action": "services"},
            lambda answer, _: parse.service_rows(answer, self._rules),
            limit=_SERVICES_LIMIT,
        )

    def services_if_new(self, recognition: Recognition) -> Catalogue | None:
        """Fetch the price list; None when it is known, if it can be before it is read as JSON.

        An error is never known: it raises as usual.
        """
        result = self._new_services(recognition)
        if isinstance(result, UpstreamError):
            raise result
        return result

    def _new_services(self, recognition: Recognition) -> Catalogue | UpstreamError | None:
        """The error is returned, as by `_judge` and for its reason."""
        outcome = self._transport.read(self._form({"action": "services"}), _SERVICES_LIMIT)
        body = outcome.body if isinstance(outcome, Answer) and outcome.status == 200 else None
        if body is not None and recognition.knows_body(body):
            return None

        def read(answer: Any, _: Answer) -> Catalogue | None:
            rows = parse.listed(answer)
            return None if recognition.knows_contents(rows) else parse.read_all(rows)

        with resting():
            return self._judge(outcome, read)

    def add(
        self,
        service: str,
        parameters: Mapping[str, str],
        *,
        before_send: Callable[[], None] = _nothing,
    ) -> Placed:
        """Place an order with the parameters of its type (`order_types.OrderType.clean`).

        Accepted is only an answer with HTTP 2xx, no error and a usable id. OutcomeUnknown and
        Rejected(UNRECOGNISED) mean that the order may exist.
        """
        form = {**parameters, "action": "add", "service": service}
        return self._submit(form, before_send, self._placed, claim=parse.claimed_order)

    def _placed(self, answer: Any, raw: Answer) -> Placed:
        order = parse.placed_id(answer)
        if not order:
            raise OutcomeUnknown("no order id in the answer")
        return Placed(order, self._kept(raw))

    def status(self, order: str) -> OrderStatus:
        """Ask for one order."""
        return self._read(
            {"action": "status", "order": order},
            lambda answer, _: parse.order_status(answer, order),
        )

    def statuses(self, orders: Sequence[str]) -> dict[str, OrderStatus | ItemError]:
        """Ask for 1 to 100 orders; every one has an entry. ValueError outside those numbers."""
        return self._read(
            {"action": "status", "orders": _joined(orders)},
            lambda answer, _: parse.order_statuses(answer, orders, self._rules),
            limit=_STATUSES_LIMIT,
        )

    def refill(self, order: str, *, before_send: Callable[[], None] = _nothing) -> str:
        """Request a refill and return its id."""
        form = {"action": "refill", "order": order}
        return self._submit(form, before_send, self._refill_id, claim=parse.claimed_refill)

    def _refill_id(self, answer: Any, _: Answer) -> str:
        inner = answer.get("refill") if isinstance(answer, dict) else None
        text = parse.error_text(inner)
        if text:
            raise Rejected(kind_of(text, self._rules), text)
        refill = parse.refill_id(answer)
        if not refill:
            raise OutcomeUnknown("no refill id in the answer")
        return refill

    def refills(
        self, orders: Sequence[str], *, before_send: Callable[[], None] = _nothing
    ) -> dict[str, str | ItemError]:
        """Request refills of 1 to 100 orders; each has its refill's id or the reason why not."""
        form = {"action": "refill", "orders": _joined(orders)}
        return self._submit(
            form, before_send, lambda answer, _: parse.refill_ids(answer, orders, self._rules)
        )

    def refill_status(self, refill: str) -> RefillStatus:
        """Ask for one refill."""
        return self._read(
            {"action": "refill_status", "refill": refill},
            lambda answer, _: parse.refill_status(answer, self._rules),
        )

    def refill_statuses(self, refills: Sequence[str]) -> dict[str, RefillStatus | ItemError]:
        """Ask for 1 to 100 refills; every one has an entry."""
        return self._read(
            {"action": "refill_status", "refills": _joined(refills)},
            lambda answer, _: parse.refill_statuses(answer, refills, self._rules),
        )

    def cancel(
        self, orders: Sequence[str], *, before_send: Callable[[], None] = _nothing
    ) -> dict[str, ItemError | None]:
        """Request the cancelation of 1 to 100 orders; None means the request was accepted.

        Accepted is not canceled: money comes back with a later status.
        """
        form = {"action": "cancel", "orders": _joined(orders)}
        return self._submit(
            form, before_send, lambda answer, _: parse.cancels(answer, orders, self._rules)
        )

    def balance(self) -> Balance:
        """Ask for our balance at the provider."""
        return self._read({"action": "balance"}, lambda answer, _: parse.balance(answer))

    def _form(self, fields: Mapping[str, str]) -> bytes:
        return urlencode({**fields, "key": self._key}).encode("ascii")

    def _read(
        self, fields: Mapping[str, str], reader: _Reader[T], *, limit: int = _STATUS_LIMIT
    ) -> T:
        result = self._judge(self._transport.read(self._form(fields), limit), reader)
        if isinstance(result, UpstreamError):
            raise result
        return result

    def _submit(
        self,
        fields: Mapping[str, str],
        before_send: Callable[[], None],
        reader: _Reader[T],
        *,
        claim: Callable[[Any], str] | None = None,
    ) -> T:
        with self._transport.open() as line:
            before_send()
            result = self._judge(line.post(self._form(fields), _SUBMISSION_LIMIT), reader, claim)
        if isinstance(result, UpstreamError):
            raise result
        return result

    def _judge(
        self,
        outcome: Answer | UpstreamError,
        reader: _Reader[T],
        claim: Callable[[Any], str] | None = None,
    ) -> T | UpstreamError:
        """Turn an answer into a value or an error, which is returned and not raised.

        The frames in here hold the body, in which panels were seen to echo the key; an error
        that is raised by our caller carries none of them.
        """
        if isinstance(outcome, UpstreamError):
            return outcome
        try:
            return self._value(outcome, reader, claim)
        except UpstreamError as error:
            failed = error
        return self._clean(failed, outcome)

    def _value(self, outcome: Answer, reader: _Reader[T], claim: Callable[[Any], str] | None) -> T:
        """Judge by the body before the HTTP status: refusals come with 200, 400 and 404 alike."""
        if 300 <= outcome.status < 400:
            raise OutcomeUnknown("redirect", location=self._target(outcome.location))
        if outcome.status >= 500:
            raise OutcomeUnknown(f"HTTP {outcome.status}")
        answer = _json(outcome)
        text = parse.error_text(answer, http_failed=outcome.status >= 400)
        refused = bool(text) or outcome.status == 429
        if refused and claim is not None and claim(answer) and not (text and self._error_wins):
            raise OutcomeUnknown("an error beside an id")
        if outcome.status == 429:
            raise Rejected(Kind.RATE_LIMIT, text or "HTTP 429")
        if refused:
            raise Rejected(kind_of(text, self._rules), text)
        if not 200 <= outcome.status < 300:
            raise OutcomeUnknown(f"HTTP {outcome.status}")
        return reader(answer, outcome)

    def _clean(self, error: UpstreamError, raw: Answer) -> UpstreamError:
        """Make the error anew: without frames, and with the key replaced in what it quotes."""
        answer, status = self._kept(raw), raw.status
        if isinstance(error, Rejected):
            text = self._redacted(error.text)
            return Rejected(error.kind, text, answer=answer, http_status=status)
        if isinstance(error, OutcomeUnknown):
            return OutcomeUnknown(
                error.reason,
                answer=answer,
                http_status=status,
                location=error.location,
            )
        return NotSent(str(error))

    def _target(self, location: str) -> str:
        """Name the host of a redirect; the key is replaced first, a host has no upper case."""
        try:
            return (urlsplit(self._redacted(location)).hostname or "")[:255]
        except ValueError:
            return ""

    def _kept(self, raw: Answer) -> str:
        return self._redacted(raw.body.decode("utf-8", errors="replace"))[:_ANSWER_KEPT]

    def _redacted(self, text: str) -> str:
        # NUL is the one character that PostgreSQL does not store.
        return self._echo.sub("[key]", text).replace("\x00", "")


def _json(outcome: Answer) -> Any:
    """Read a body as an object, a list or a bare number; anything else is no answer."""
    try:
        return document(outcome.body)
    except ValueError:
        pass
    if outcome.status == 429:
        raise Rejected(Kind.RATE_LIMIT, "HTTP 429")
    raise OutcomeUnknown("not JSON" if outcome.body.strip() else "empty answer")


def _joined(ids: Sequence[str]) -> str:
    if not 1 <= len(ids) <= MAX_IDS:
        raise ValueError(f"1 to {MAX_IDS} ids at a time, not {len(ids)}")
    return ",".join(ids)


@functools.lru_cache(maxsize=64)
def _echoes_of(key: str) -> re.Pattern[str]:
    r"""Match the key in an answer as it is, URL-encoded, HTML-escaped or with JSON's \u escapes."""
    if not key:
        raise ValueError("an empty API key")
    return re.compile("".join(_spellings(char) for char in key))


def _spellings(char: str) -> str:
    code = ord(char)
    percent = "".join(f"%{byte:02x}" for byte in char.encode())
    forms = [re.escape(char), rf"(?i:{percent})", rf"(?i:\\u{code:04x})", f"&#{code};"]
    forms += [rf"(?i:&\#x0*{code:x};)", re.escape("\\" + char)]
    forms += {" ": [r"\+"], "&": ["&amp;"], "<": ["&lt;"], ">": ["&gt;"]}.get(char, [])
    return "(?:" + "|".join(forms) + ")"
