"""One POST, of which we can always say whether a byte of it has left this machine.

Exception types cannot tell: a read time-out was seen for a TLS handshake that hung and for an
order that was placed, a reset for a request never read and for one carried out. So the phase
decides. A socket is opened only in `_Dialling._new_conn`, bytes leave only through
`_Dialling.send`, and both keep the book of the `Exchange` they work for.

The frames in here hold the request body and with it the key. Functions that touch the body
therefore return an error in place of raising it; raised outside, it carries no such frame.
"""

import functools
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from upstream.addresses import resolve
from upstream.errors import NotSent, OutcomeUnknown, UpstreamError
from upstream.exchange import Exchange, Timeouts, current
from upstream.kept import Kept, Warm

T = TypeVar("T")

_CHUNK = 16 * 1024
_HEADERS = {
    "Content-Type": "application/x-www-form-urlencoded",
    "Accept": "application/json",
    # A compressed answer is one more thing that can be cut, broken or a bomb.
    "Accept-Encoding": "identity",
}
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Answer:
    """An answer of any HTTP status; `location` is where a redirect points, its body is not read."""

    status: int
    body: bytes
    location: str = ""


class _Dialling(HTTPConnection):
    """A connection that dials only addresses it has checked, and notes when bytes leave."""

    allow_private = False

    def _new_conn(self) -> socket.socket:
        exchange = current.get()
        port = self.port or self.default_port
        failure: OSError = TimeoutError("no time left")
        for address in resolve(self._dns_host, port, allow_private=self.allow_private):
            patience = min(exchange.timeouts.connect, exchange.remaining())
            if patience <= 0:
                break
            try:
                sock = socket.create_connection((address, port), patience)
            except OSError as error:
                failure = error
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            exchange.hold(sock)
            return sock
        raise failure

    def send(self, data: Any) -> None:
        if self.sock is None and self.auto_open:
            self.connect()
        exchange = current.get()
        if not exchange.sent and self.sock is not None:
            exchange.hold(self.sock)
            exchange.sent = True
        super().send(data)


class _DiallingTLS(_Dialling, HTTPSConnection):
    """The same under TLS: the certificate is checked against the name, not the address."""


class _DiallingPrivate(_Dialling):
    allow_private = True


class _DiallingTLSPrivate(_DiallingTLS):
    allow_private = True


def _attempt(step: Callable[[], T]) -> T | str:
    """Run a step and return its result, or why it failed.

    Returned, the failure keeps no frame: those of urllib3 hold the request body.
    """
    try:
        return step()
    except NotSent as error:
        return error.reason
    except Exception as error:  # noqa: BLE001 - the one boundary to urllib3 and ssl
        return _reason(error)


class _TooLarge(Exception):
    """The answer is larger than any honest one."""


_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (_TooLarge, "answer too large"),
    (socket.gaierror, "name not found"),
    (ssl.SSLCertVerificationError, "certificate not trusted"),
    (ConnectionRefusedError, "connection refused"),
    (ConnectionResetError, "connection reset"),
    (TimeoutError, "time-out"),
    (urllib3.exceptions.TimeoutError, "time-out"),
    (ssl.SSLError, "TLS failed"),
    (urllib3.exceptions.IncompleteRead, "answer cut short"),
    (urllib3.exceptions.DecodeError, "answer not decodable"),
    (ConnectionError, "connection broken"),
)


# What a read on a kept connection finds when the provider closed it as we wrote.
_CLOSED = {"connection reset", "connection broken"}


def _reason(error: BaseException) -> str:
    """Name a failure in constant words; the texts of libraries may quote what was sent."""
    chain: list[BaseException] = [error]
    while len(chain) < 8 and (inner := _inner(chain[-1])) is not None:
        chain.append(inner)
    for kind, words in _REASONS:
        if any(isinstance(link, kind) for link in chain):
            return words
    return type(chain[-1]).__name__


def _inner(error: BaseException) -> BaseException | None:
    wrapped = getattr(error, "reason", None)
    if isinstance(wrapped, BaseException):
        return wrapped
    if error.__cause__ is not None or error.__context__ is not None:
        return error.__cause__ or error.__context__
    return next((part for part in error.args if isinstance(part, BaseException)), None)


def _failure(exchange: Exchange, reason: str) -> UpstreamError:
    if exchange.expired:
        reason = "deadline passed"
    return OutcomeUnknown(reason) if exchange.sent else NotSent(reason)


class Line:
    """An open connection for one submission, of which nothing has been sent on it.

    A kept one that grew cold while the caller marked is dialled anew: nothing has left on it.
    """

    def __init__(
        self, warm: Warm, exchange: Exchange, path: str, headers: Mapping[str, str], *, kept: bool
    ) -> None:
        self.warm = warm
        self.is_reusable = False
        self._exchange = exchange
        self._path = path
        self._headers = headers
        self._kept = kept

    def post(self, body: bytes, limit: int) -> Answer | UpstreamError:
        """Send the body once; returns, never raises, NotSent or OutcomeUnknown on failure."""
        if self._exchange.remaining() <= 0:
            return NotSent("deadline passed")
        if self._kept and not self.warm.is_usable:
            failed = _attempt(self._redial)
            if failed is not None:
                return _failure(self._exchange, failed)
        result = _attempt(lambda: self._converse(body, limit))
        return _failure(self._exchange, result) if isinstance(result, str) else result

    def _redial(self) -> None:
        connection = self.warm.connection
        connection.close()
        connection.connect()
        self.warm = Warm(connection)

    def _converse(self, body: bytes, limit: int) -> Answer:
        connection = self.warm.connection
        connection.request(
            "POST", self._path, body=body, headers=self._headers, preload_content=False
        )
        response = connection.getresponse()
        try:
            answer = _read(response, self._exchange, limit)
            # Closed by now, if it was read to its announced end; and the connection is open still
            # unless the provider announced that this is the last answer on it.
            read_whole = response.closed and connection.sock is not None
            self.is_reusable = read_whole and 200 <= answer.status < 300
            return answer
        finally:
            response.close()


def _read(response: urllib3.BaseHTTPResponse, exchange: Exchange, limit: int) -> Answer:
    """Read an answer to its announced end, at most `limit` bytes of it."""
    if 300 <= response.status < 400:
        return Answer(response.status, b"", response.headers.get("Location", "")[:2000])
    body = bytearray()
    for chunk in response.stream(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > limit:
            raise _TooLarge
    if exchange.expired:
        # The end of this body may be the end that our own timer made.
        raise TimeoutError
    return Answer(response.status, bytes(body))


class Transport:
    """Posts forms to one URL: submissions on connections of `kept`, or without it on fresh ones,
    reads on one that is kept open from read to read.

    No redirect is followed, no proxy or .netrc of the environment is used, nothing is retried,
    TLS is always verified (`ca_file` names other roots than the usual ones). Plain http is
    accepted here; whoever stores a provider's URL decides whether it may be. `headers` are sent
    besides the usual ones, or in their place.
    """

    def __init__(
        self,
        url: str,
        *,
        allow_private: bool,
        timeouts: Timeouts,
        user_agent: str,
        ca_file: str | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        kept: Kept | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("a provider's URL begins with https:// or http:// and names a host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a provider's URL holds no user name or password")
        self._url = url
        self.host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._tls = parts.scheme == "https"
        self._allow_private = allow_private
        self._timeouts = timeouts
        self._headers = {**_HEADERS, "User-Agent": user_agent, **headers}
        self._ca_file = ca_file or certifi.where()
        self._kept = kept
        self._target = (self._tls, self.host, self._port, allow_private, self._ca_file)
        self._reading: Warm | None = None

    def close(self) -> None:
        """Close the connection that reads keep open."""
        if self._reading is not None:
            self._reading.connection.close()
            self._reading = None

    @contextmanager
    def open(self) -> Iterator[Line]:
        """Give a connection for one submission, TLS included: a warm one or a new; raises NotSent."""
        line: Line | None = None
        try:
            with Exchange(self._timeouts) as exchange:
                line = self._line(exchange)
                yield line
        finally:
            # After the exchange, whose deadline must not end that of somebody else.
            if line is not None:
                self._put_away(line)

    def _line(self, exchange: Exchange) -> Line:
        warm = self._kept.take(self._target) if self._kept else None
        if warm is not None and warm.connection.sock is not None:
            exchange.hold(warm.connection.sock)
            warm.connection.timeout = self._timeouts.read
            return Line(warm, exchange, self._path, self._headers, kept=True)
        fresh = self._dialled(exchange)
        if isinstance(fresh, UpstreamError):
            raise fresh
        headers = self._headers if self._kept else {**self._headers, "Connection": "close"}
        return Line(fresh, exchange, self._path, headers, kept=False)

    def _dialled(self, exchange: Exchange) -> Warm | UpstreamError:
        connection = self._connection()
        failed = _attempt(connection.connect)
        if failed is not None:
            connection.close()
            return _failure(exchange, failed)
        # From here on nothing may open a second connection behind our back.
        connection.auto_open = 0
        connection.timeout = self._timeouts.read
        return Warm(connection)

    def _put_away(self, line: Line) -> None:
        if self._kept and line.is_reusable:
            self._kept.give(self._target, line.warm)
        else:
            line.warm.connection.close()

    def _connection(self) -> HTTPConnection:
        if self._tls:
            secure = _DiallingTLSPrivate if self._allow_private else _DiallingTLS
            return secure(self.host, self._port, ssl_context=_ssl_context(self._ca_file))
        plain = _DiallingPrivate if self._allow_private else _Dialling
        return plain(self.host, self._port)

    def read(self, body: bytes, limit: int) -> Answer | UpstreamError:
        """Post a request that changes nothing; returns, never raises, what went wrong.

        Only a kept connection that the provider closes at that very moment is dialled anew.
        """
        with Exchange(self._timeouts) as exchange:
            warm, self._reading = self._reading, None
            if warm is not None and warm.is_open:
                outcome = self._ask(warm, exchange, body, limit)
                if not (isinstance(outcome, OutcomeUnknown) and outcome.reason in _CLOSED):
                    return outcome
            elif warm is not None:
                warm.connection.close()
            fresh = self._dialled(exchange)
            if isinstance(fresh, UpstreamError):
                return fresh
            return self._ask(fresh, exchange, body, limit)

    def _ask(
        self, warm: Warm, exchange: Exchange, body: bytes, limit: int
    ) -> Answer | UpstreamError:
        line = Line(warm, exchange, self._path, self._headers, kept=False)
        outcome = line.post(body, limit)
        if line.is_reusable:
            self._reading = warm
        else:
            warm.connection.close()
        return outcome


@functools.lru_cache(maxsize=8)
def _ssl_context(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)
