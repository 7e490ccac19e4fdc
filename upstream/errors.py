"""What can go wrong between us and a provider, named by what the caller may do next."""

import enum


class Kind(enum.StrEnum):
    """Why a provider refused a request; the table is in `upstream.verdicts`."""

    FUNDS = "funds"  # our balance there is short: hold, and send again after a top-up
    DUPLICATE_LINK = "duplicate_link"  # an order on this link still runs: queue behind it
    RATE_LIMIT = "rate_limit"  # too many requests: slow down, then send again
    UNAVAILABLE = "unavailable"  # maintenance: nothing was placed, send again later
    SERVICE = "service"  # no such service: take it off sale until the next sync
    QUANTITY = "quantity"  # outside the service's limits: our limits are out of date
    LINK = "link"  # the customer's link is wrong, private or gone
    ACCOUNT = "account"  # key or account refused: every order will fail, stop sending
    REQUEST = "request"  # a field or an id is wrong, or the thing asked for is not possible
    UNRECOGNISED = "unrecognised"  # says nothing certain: an `add` may have been placed


class Abort(Exception):
    """Raised by a `before_send` hook: send nothing, close the connection, let me through.

    Any other exception of a hook has the same effect; this one says it is meant.
    """


class UpstreamError(Exception):
    """No usable answer; one of the three subclasses says what may be done next.

    `answer` is the provider's body, at most 2,000 characters, the key replaced by "[key]";
    empty when none was read. `http_status` is None when no status line was read. Neither the
    message nor the attributes are built from the request, which holds the key.
    """

    def __init__(self, *args: str, answer: str = "", http_status: int | None = None) -> None:
        super().__init__(*args)
        self.answer = answer
        self.http_status = http_status


class NotSent(UpstreamError):
    """No byte of the request left this machine: it is safe to send it again, also an `add`."""

    def __init__(self, reason: str, *, answer: str = "", http_status: int | None = None) -> None:
        super().__init__(reason, answer=answer, http_status=http_status)
        self.reason = reason


class Rejected(UpstreamError):
    """The provider answered and refused; `kind` says what that means for the order.

    For every kind but one nothing was placed. UNRECOGNISED is the exception: the text is vague
    ("try again", "database error") or new to us, may have been written after the order was
    stored, and after an `add` must be treated like OutcomeUnknown.
    """

    def __init__(
        self, kind: Kind, text: str, *, answer: str = "", http_status: int | None = None
    ) -> None:
        super().__init__(kind, text, answer=answer, http_status=http_status)
        self.kind = kind
        self.text = text

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class OutcomeUnknown(UpstreamError):
    """The request may have been carried out: find out first, never repeat a submission.

    A read (services, status, refill_status, balance) changes nothing and may be repeated.
    `location` is the host a redirect points at, else empty.
    """

    def __init__(
        self,
        reason: str,
        *,
        answer: str = "",
        http_status: int | None = None,
        location: str = "",
    ) -> None:
        super().__init__(reason, answer=answer, http_status=http_status)
        self.reason = reason
        self.location = location
