"""HTTP/1.1 on a socket: requests read, answers written, and answers spoiled on purpose."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from upstream.simulator.faults import Fault

MAX_HEAD = 64 * 1024
MAX_BODY = 16 * 1024 * 1024
_TLS_HELLO = b"\x16\x03"
_BLOCK = 64 * 1024
_HUGE = 1024**3
_HTML = "text/html; charset=UTF-8"
_JSON = "application/json"
_LINGER_ZERO = struct.pack("ii", 1, 0)
_REASONS = {
    200: "OK",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Time-out",
}


class BrokenRequest(Exception):
    """What came in is not a request this server reads."""


@dataclass(frozen=True)
class Request:
    """One HTTP request; header names in small letters."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants the connection kept."""
        return self.headers.get("connection", "").lower() != "close"


class Line:
    """One accepted connection."""

    def __init__(self, sock: socket.socket, stopping: threading.Event) -> None:
        self._sock = sock
        self._stopping = stopping
        self._buffer = b""
        self.received = 0
        self.sent = 0

    def secure(self, tls: ssl.SSLContext | None) -> None:
        """Shake hands, if there is a certificate; raises OSError when the client refuses."""
        if tls:
            self._sock = tls.wrap_socket(self._sock, server_side=True)

    def read_request(self) -> Request | None:
        """The next request, or None when the client has closed; raises BrokenRequest, OSError."""
        head = self._read_head()
        if head is None:
            return None
        first, *rest = head.decode("latin-1").split("\r\n")
        try:
            method, target, _version = first.split(" ")
        except ValueError:
            raise BrokenRequest from None
        pairs = (line.partition(":") for line in rest if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if headers.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        path, _, query = target.partition("?")
        return Request(method, path, query, headers, self._read_body(headers))

    def send(self, content: bytes) -> None:
        """Write all of it; raises OSError when the client is gone."""
        self._sock.sendall(content)
        self.sent += len(content)

    def wait(self, seconds: float) -> None:
        """Let time pass, but not past the server's own end."""
        self._stopping.wait(seconds)

    def cut(self) -> None:
        """Stop both directions; whoever waits on it wakes up."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection with FIN."""
        self.cut()
        self._sock.close()

    def reset(self) -> None:
        """End the connection with RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._sock.close()

    def _read_head(self) -> bytes | None:
        while b"\r\n\r\n" not in self._buffer:
            if self._buffer.startswith(_TLS_HELLO):
                # https to an http port: real servers say so at once, in plain text.
                self.send(response(400, b"", Connection="close"))
                raise BrokenRequest
            if len(self._buffer) > MAX_HEAD:
                raise BrokenRequest
            if not self._receive():
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head

    def _read_body(self, headers: Mapping[str, str]) -> bytes:
        text = headers.get("content-length", "0")
        length = int(text) if text.isdecimal() else -1
        if not 0 <= length <= MAX_BODY or "transfer-encoding" in headers:
            raise BrokenRequest
        while len(self._buffer) < length:
            if not self._receive():
                raise BrokenRequest
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    def _receive(self) -> bool:
        got = self._sock.recv(_BLOCK)
        self.received += len(got)
        self._buffer += got
        return bool(got)


def head(status: int, content_type: str, **headers: str | int) -> bytes:
    """Status line and headers, blank line included; `_` in a name stands for `-`."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {"Content-Type": content_type} | names
    text = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\n{text}\r\n".encode()


def response(status: int, body: bytes, *, content_type: str = _JSON, **headers: str | int) -> bytes:
    """A whole, healthy answer."""
    return head(status, content_type, Content_Length=len(body), **headers) + body


def html(status: int, title: str) -> bytes:
    """A page where JSON is expected."""
    body = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body>"
    return response(status, f"{body}</html>".encode(), content_type=_HTML)


Delivery = Callable[[Line, bytes, Fault], bool]
"""Writes a spoiled answer; says whether the connection may be used again."""


def spoil(line: Line, body: bytes, fault: Fault) -> bool:
    """Deliver the answer as the fault wants it; a rewritten one is delivered whole."""
    delivery = DELIVERIES.get(fault.kind)
    if delivery:
        return delivery(line, body, fault)
    line.send(response(fault.status or 200, body))
    return True


def _lost(line: Line, _body: bytes, fault: Fault) -> bool:
    if fault.text == "rst":
        line.reset()
    return False


def _hang_before(line: Line, body: bytes, fault: Fault) -> bool:
    line.wait(fault.seconds)
    return _lost(line, body, fault)


def _hang_after(line: Line, body: bytes, fault: Fault) -> bool:
    line.wait(fault.seconds)
    line.send(response(200, body))
    return True


def _http_error(line: Line, _body: bytes, fault: Fault) -> bool:
    status = fault.status or int(fault.kind.removeprefix("http_"))
    if fault.text == "json":
        line.send(response(status, b'{"error": "Internal server error"}'))
    else:
        line.send(html(status, f"{status} {_REASONS.get(status, 'Error')}"))
    return True


def _rate_limit(line: Line, _body: bytes, fault: Fault) -> bool:
    if fault.text == "html":
        line.send(html(429, "429 Too Many Requests"))
    else:
        line.send(response(429, b'{"error": "Too many requests"}', Retry_After=1))
    return True


def _html_page(line: Line, _body: bytes, fault: Fault) -> bool:
    line.send(html(fault.status or 200, fault.text or "Sign in"))
    return True


def _cut_json(line: Line, body: bytes, fault: Fault) -> bool:
    # The closing brace and three digits: {"order": 23501} becomes {"order": 23.
    line.send(response(fault.status or 200, body[:-4]))
    return True


def _cut_status_line(line: Line, _body: bytes, _fault: Fault) -> bool:
    line.send(b"HTTP/1.1 200 O")
    return False


def _short_body(line: Line, body: bytes, _fault: Fault) -> bool:
    line.send(head(200, _JSON, Content_Length=len(body) + 50) + body)
    return False


def _bad_chunk(line: Line, body: bytes, _fault: Fault) -> bool:
    first = f"{len(body):x}\r\n".encode() + body + b"\r\n"
    line.send(head(200, _JSON, Transfer_Encoding="chunked") + first + b"zz\r\n")
    return False


def _bad_gzip(line: Line, body: bytes, _fault: Fault) -> bool:
    line.send(response(200, b"\x1f\x8b" + body, Content_Encoding="gzip"))
    return False


def _garbage(line: Line, _body: bytes, _fault: Fault) -> bool:
    line.send(b"\x00\xff\x16\x03\x01 this is not HTTP\r\n\r\n")
    return False


def _drip(line: Line, content: bytes, fault: Fault) -> bool:
    for at in range(len(content)):
        line.send(content[at : at + 1])
        line.wait(fault.seconds or 0.5)
    return True


def _drip_body(line: Line, body: bytes, fault: Fault) -> bool:
    line.send(head(200, _JSON, Content_Length=len(body)))
    return _drip(line, body, fault)


def _drip_header(line: Line, body: bytes, fault: Fault) -> bool:
    return _drip(line, response(200, body), fault)


def _huge_body(line: Line, _body: bytes, fault: Fault) -> bool:
    left = fault.size or _HUGE
    line.send(head(200, _JSON, Content_Length=left))
    while left > 0:
        block = b" " * min(left, _BLOCK)
        line.send(block)
        left -= len(block)
    return True


def _redirect(line: Line, _body: bytes, fault: Fault) -> bool:
    target = fault.location or "/elsewhere"
    line.send(response(fault.status or 302, b"", content_type=_HTML, Location=target))
    return True


def _empty_body(line: Line, _body: bytes, fault: Fault) -> bool:
    line.send(response(fault.status or 200, b""))
    return True


def _double_body(line: Line, body: bytes, _fault: Fault) -> bool:
    line.send(response(200, body + body))
    return True


DELIVERIES: Mapping[str, Delivery] = {
    "lost_before": _lost,
    "lost_after": _lost,
    "late": _lost,
    "hang_before": _hang_before,
    "hang_after": _hang_after,
    "http_500": _http_error,
    "http_502": _http_error,
    "http_504": _http_error,
    "rate_limit": _rate_limit,
    "html_page": _html_page,
    "cut_json": _cut_json,
    "cut_status_line": _cut_status_line,
    "short_body": _short_body,
    "bad_chunk": _bad_chunk,
    "bad_gzip": _bad_gzip,
    "garbage": _garbage,
    "drip_body": _drip_body,
    "drip_header": _drip_header,
    "huge_body": _huge_body,
    "redirect": _redirect,
    "empty_body": _empty_body,
    "double_body": _double_body,
}
