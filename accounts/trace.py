"""The numbers of the request and of the order that are being worked on, for every log line.

They live in context variables: the middleware and the tasks set the request's, whoever works on an
order sets the order's, and the log formatter reads both.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_request: ContextVar[str] = ContextVar("request", default="-")
_order: ContextVar[str] = ContextVar("order", default="-")

HEADER = "panel_request"
_SAFE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def new_request_id() -> str:
    return secrets.token_hex(8)


def order_id() -> str:
    """The number of the order that is being worked on; "-" outside of any."""
    return _order.get()


def request_id() -> str:
    """The number of the request or job that is being worked on; "-" outside of any."""
    return _request.get()


def safe_id(given: str) -> str:
    """A number that a proxy or message brought along; a new one when it is none."""
    return given if _SAFE.fullmatch(given) and given != "-" else new_request_id()


@contextmanager
def request_context(identifier: str) -> Iterator[None]:
    """Let the lines of this block carry the request's number."""
    token = _request.set(identifier)
    try:
        yield
    finally:
        _request.reset(token)


@contextmanager
def order_context(number: int) -> Iterator[None]:
    """Let the lines of this block carry the order's number."""
    token = _order.set(str(number))
    try:
        yield
    finally:
        _order.reset(token)
