"""One POST, of which we can always say whether a byte of it has left this machine.

Exception types cannot tell: a read time-out was seen for a TLS handshake that hung and for an
order that was placed, a reset for a request never read and for one carried out. So the phase
decides. A socket is opened only in `_Dialling._new_conn`, bytes leave only through
`_Dialling.send`, and both keep the book of the `Exchange` they work for.

The frames in here hold the request body and with it the key. Functions that touch the body
therefore return an error in place of raising it; raised outside, it carries no such frame.
"""

import functools
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import certifi
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from upstream.addresses import resolve
from upstream.errors import NotSent, OutcomeUnknown, UpstreamError

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
class Timeouts:
    """Seconds: `connect` for each address and the TLS handshake, `read` for each wait for bytes,
    `total` for everything after the look-up of the name, however slowly bytes drip in."""

    connect: float = 10.0
    read: float = 30.0
    total: float = 35.0


@dataclass(frozen=True)
class Answer:
    """An answer of any HTTP status; `location` is where a redirect points, its body is not read."""

    status: int
    body: bytes
    location: str = ""


class Exchange:
    """The clock and the book of one request: its deadline, and whether a byte has left.

    At the deadline a timer shuts the socket down, which ends a wait in any phase, also when
    bytes drip so that no single wait times out. It works on a duplicate of the socket, because
    TLS takes the first one over and http.client closes its own before the body is read.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self.sent = False
        self.expired = False
        self._ends = time.monotonic() + timeouts.total
        self._lock = threading.Lock()
        self._lever: socket.socket | None = None
        self._timer = threading.Timer(timeouts.total, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
        self._timer.cancel()
        with self._lock:
            self._drop()

    def remaining(self) -> float:
        """Return the seconds left, at least 0."""
        return 0.0 if self.expired else max(0.0, self._ends - time.monotonic())

    def hold(self, sock: socket.socket) -> None:
        """Keep a way to shut this connection at the deadline."""
        with self._lock:
            self._drop()
            self._lever = socket.socket(fileno=os.dup(sock.fileno()))
            if self.expired:
                self._pull()

    def _expire(self) -> None:
        with self._lock:
            self.expired = True
            self._pull()

    def _pull(self) -> None:
        if self._lever is None:
            return
        try:
            self._lever.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other side was faster

    def _drop(self) -> None:
        if self._lever is not None:
            self._lever.close()
            self._lever = None


_current: ContextVar[Exchange] = ContextVar("upstream_exchange")


class _Dialling(HTTPConnection):
    """A connection that dials only addresses it has checked, and notes when bytes leave."""

    allow_private = False

    def _new_conn(self) -> socket.socket:
        exchange = _current.get()
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
        exchange = _current.get()
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


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Dialling


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _DiallingTLS


class _PrivatePool(HTTPConnectionPool):
    ConnectionCls = _DiallingPrivate


class _PrivateTLSPool(HTTPSConnectionPool):
    ConnectionCls = _DiallingTLSPrivate


class _Adapter(HTTPAdapter):
    """Lets a requests session dial as above; it never retries and knows no proxy."""

    def __init__(self, *, allow_private: bool) -> None:
        self._pools = (
            {"http": _PrivatePool, "https": _PrivateTLSPool}
            if allow_private
            else {"http": _Pool, "https": _TLSPool}
        )
        super().__init__(pool_connections=1, pool_maxsize=2, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools


def _attempt(step: Callable[[], T]) -> T | str:
    """Run a step and return its result, or why it failed.

    Returned, the failure keeps no frame: those of requests and urllib3 hold the request body.
    """
    try:
        return step()
    except NotSent as error:
        return error.reason
    except Exception as error:  # noqa: BLE001 - the one boundary to requests, urllib3 and ssl
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
    (requests.Timeout, "time-out"),
    (ssl.SSLError, "TLS failed"),
    (urllib3.exceptions.IncompleteRead, "answer cut short"),
    (urllib3.exceptions.DecodeError, "answer not decodable"),
    (ConnectionError, "connection broken"),
)


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
    """An open connection for one submission; nothing has been sent on it."""

    def __init__(
        self, connection: HTTPConnection, exchange: Exchange, path: str, headers: Mapping[str, str]
    ) -> None:
        self._connection = connection
        self._exchange = exchange
        self._path = path
        self._headers = {**headers, "Connection": "close"}

    def post(self, body: bytes, limit: int) -> Answer | UpstreamError:
        """Send the body once; returns, never raises, NotSent or OutcomeUnknown on failure."""
        if self._exchange.remaining() <= 0:
            return NotSent("deadline passed")
        result = _attempt(lambda: self._converse(body, limit))
        return _failure(self._exchange, result) if isinstance(result, str) else result

    def _converse(self, body: bytes, limit: int) -> Answer:
        self._connection.request(
            "POST", self._path, body=body, headers=self._headers, preload_content=False
        )
        response = self._connection.getresponse()
        try:
            return _read(response, self._exchange, limit)
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
    """Posts forms to one URL: submissions on fresh connections, reads on pooled ones.

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
        self._session = _session(allow_private=allow_private, ca_file=self._ca_file)

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()

    @contextmanager
    def open(self) -> Iterator[Line]:
        """Connect for one submission, TLS included, and close at the end; raises NotSent."""
        with Exchange(self._timeouts) as exchange, closing(self._connection()) as connection:
            failed = _attempt(connection.connect)
            if failed is not None:
                raise _failure(exchange, failed)
            # From here on nothing may open a second connection behind our back.
            connection.auto_open = 0
            connection.timeout = self._timeouts.read
            yield Line(connection, exchange, self._path, self._headers)

    def _connection(self) -> HTTPConnection:
        if self._tls:
            secure = _DiallingTLSPrivate if self._allow_private else _DiallingTLS
            return secure(self.host, self._port, ssl_context=_ssl_context(self._ca_file))
        plain = _DiallingPrivate if self._allow_private else _Dialling
        return plain(self.host, self._port)

    def read(self, body: bytes, limit: int) -> Answer | UpstreamError:
        """Post a request that changes nothing; returns, never raises, what went wrong."""
        with Exchange(self._timeouts) as exchange:
            result = _attempt(lambda: self._fetch(body, limit, exchange))
            return _failure(exchange, result) if isinstance(result, str) else result

    def _fetch(self, body: bytes, limit: int, exchange: Exchange) -> Answer:
        response = self._session.post(
            self._url,
            data=body,
            headers=self._headers,
            stream=True,
            allow_redirects=False,
            timeout=(self._timeouts.connect, self._timeouts.read),
        )
        with response:
            return _read(response.raw, exchange, limit)


def _session(*, allow_private: bool, ca_file: str) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.verify = ca_file
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(allow_private=allow_private))
    return session


@functools.lru_cache(maxsize=8)
def _ssl_context(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)
