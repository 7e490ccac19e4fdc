"""Telling customers' own programs that the status of an order has changed.

Every change of a status writes a line of the timeline in the same transaction, so the timeline is
what is read here: a sweep compares the orders it names with what was told last. Lines of a slow
transaction become visible late, under numbers that were passed already; therefore lines are read
again until no transaction can be as old. Nothing is lost, and the money's way knows nothing of it.

A message is sent until the customer's server answers with 2xx, with pauses that grow, for a day.
The same news may arrive twice; what was overtaken by newer news is not sent any more.
"""

import hashlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models import Max, OuterRef, Q, QuerySet, Subquery, Window
from django.db.models.functions import RowNumber
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.keeping import delete_in_parts
from accounts.models import User
from orders.api_status import describe_all
from orders.models import Callback, Delivery, Event, EventMark, Order
from orders.states import Status
from upstream.errors import UpstreamError
from upstream.exchange import Timeouts
from upstream.transport import Answer, Transport

logger = logging.getLogger(__name__)

# Longer than any transaction lives: workers are ended after five minutes.
LATEST_COMMIT = timedelta(minutes=10)
FIRST_PAUSE = timedelta(seconds=15)
LONGEST_PAUSE = timedelta(hours=1)
# A server that fails gets no other message either for a while: by it all others would wait longer.
LONGEST_QUIET = timedelta(minutes=5)
GIVE_UP_AFTER = timedelta(days=1)
KEPT_FOR = timedelta(days=30)
TIMEOUTS = Timeouts(connect=3, read=5, total=8)
# A slow server takes no more of a run than a dead one, or that of all others would wait for it.
PATIENCE = TIMEOUTS.total
USER_AGENT = "reseller-panel-callback/1.0"
TIMESTAMP_HEADER = "X-Panel-Timestamp"
SIGNATURE_HEADER = "X-Panel-Signature"

_ANSWER_LIMIT = 64 * 1024
_PORTS = {None, 443, 8443}
_AT_ONCE = 4
_PER_CALLBACK = 20


class InvalidAddress(ValueError):
    """The callback's address can't be used; the message says why, for its customer."""


@dataclass(frozen=True)
class Sent:
    """What came of one try."""

    delivery: Delivery
    http_status: int | None
    answer: str

    @property
    def is_delivered(self) -> bool:
        return self.http_status is not None and 200 <= self.http_status < 300


@dataclass(frozen=True)
class _Message:
    """A message as it goes out."""

    delivery: Delivery
    url: str
    body: bytes
    secret: str = field(repr=False)


def set_callback(user: User, url: str) -> Callback:
    """Name the address, or another one; its secret stays. Raises InvalidAddress."""
    check_address(url)
    callback, _made = Callback.objects.update_or_create(
        customer=user,
        defaults={"url": url, "is_active": True, "failures": 0, "quiet_until": None},
        create_defaults={"url": url, "secret": new_secret()},
    )
    return callback


def new_secret() -> str:
    """What signatures are made with."""
    return secrets.token_hex(32)


def check_address(url: str) -> None:
    """Raise InvalidAddress for what is no https address on its usual ports.

    Where the name leads is looked at when a message is sent, and each time again.
    """
    if len(url) > 500 or any(char.isspace() or not char.isprintable() for char in url):
        raise InvalidAddress(_("Enter a web address."))
    try:
        parts = urlsplit(url)
        is_usual = bool(parts.hostname) and parts.port in _PORTS and "@" not in parts.netloc
    except ValueError:
        raise InvalidAddress(_("Enter a web address.")) from None
    if settings.ALLOW_PRIVATE_CALLBACKS and parts.scheme in {"http", "https"} and parts.hostname:
        return
    if parts.scheme != "https" or not is_usual:
        raise InvalidAddress(_("The address must begin with https:// and use port 443 or 8443."))


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The signature of a message: HMAC-SHA256 of timestamp, a full stop and the body."""
    signed = timestamp.encode() + b"." + body
    return f"sha256={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def run() -> int:
    """Note what there is to tell, and send what is due; how many messages arrived."""
    note_changes()
    return send_due()


@transaction.atomic
def note_changes(now: datetime | None = None) -> int:
    """Queue a message for every order whose status is not the one told last; how many.

    One at a time: the mark's row is locked.
    """
    now = now or timezone.now()
    mark, is_first = EventMark.objects.select_for_update().get_or_create(pk=1)
    last = Event.objects.aggregate(last=Max("pk"))["last"] or 0
    if is_first:
        # What happened before anybody could be told is no news.
        mark.settled = last
    is_wanted = Callback.objects.filter(is_active=True).exists()
    noted = _queue(_changed(mark.settled), now) if is_wanted else 0
    if is_first or now - mark.seen_at >= LATEST_COMMIT:
        # No transaction is still open that took a number before this was seen.
        mark.settled = max(mark.settled, mark.seen)
        mark.seen, mark.seen_at = last, now
        mark.save()
    return noted


def _changed(since: int) -> QuerySet[Order]:
    told = Delivery.objects.filter(order=OuterRef("pk")).order_by("-pk").values("status")[:1]
    touched = Event.objects.filter(pk__gt=since, order__customer__callback__is_active=True)
    return (
        Order.objects.filter(pk__in=touched.values("order_id"))
        .select_related("customer__callback")
        .annotate(told=Subquery(told))
    )


def _queue(orders: Iterable[Order], now: datetime) -> int:
    new = [order for order in orders if _is_news(order)]
    if not new:
        return 0
    waiting = Delivery.objects.filter(order__in=new, state=Delivery.State.WAITING)
    waiting.update(state=Delivery.State.REPLACED)
    Delivery.objects.bulk_create(
        Delivery(
            callback=order.customer.callback,
            order=order,
            status=order.status,
            created_at=now,
            next_try_at=now,
        )
        for order in new
    )
    return len(new)


def _is_news(order: Order) -> bool:
    told: str | None = getattr(order, "told", None)
    # Whoever placed an order knows that it is pending.
    return order.status != (told or Status.PENDING)


def send_due(now: datetime | None = None) -> int:
    """Send messages that are due, several customers at once; how many arrived.

    Call outside transactions. After a failure the rest of that customer's messages wait
    until its server is tried again, and after PATIENCE until the next run.
    """
    now = now or timezone.now()
    rows = list(
        Delivery.objects.filter(pk__in=_next_in_turn(now))
        .select_related("callback", "order")
        .order_by("callback_id", "next_try_at", "pk")
    )
    told = describe_all({row.order_id: row.order for row in rows}.values())
    groups = [
        [_message(row, told[row.order_id]) for row in group]
        for _callback, group in groupby(rows, key=lambda row: row.callback_id)
    ]
    with ThreadPoolExecutor(_AT_ONCE, "callback") as pool:
        results = list(pool.map(_send_all, groups))
    for sent in results:
        _note_server(sent[-1])
    return sum(_note(each) for sent in results for each in sent)


def _next_in_turn(now: datetime) -> list[int]:
    """What is due: the first messages of every customer, however many wait before one's server."""
    due = Delivery.objects.filter(state=Delivery.State.WAITING, next_try_at__lte=now)
    turn = Window(RowNumber(), partition_by="callback_id", order_by=["next_try_at", "pk"])
    is_quiet = Q(callback__quiet_until__gt=now)
    taken = (
        due.filter(~is_quiet, callback__is_active=True)
        .annotate(turn=turn)
        .filter(turn__lte=_PER_CALLBACK)
    )
    in_turn = taken.order_by("turn", "next_try_at", "pk").values_list("pk", flat=True)
    return list(in_turn[: _AT_ONCE * _PER_CALLBACK * 5])


def _message(delivery: Delivery, told: dict[str, object]) -> _Message:
    """The order as it is now: what was noted may be behind that, and nobody needs old news."""
    body = json.dumps({"order": delivery.order_id, **told}).encode()
    return _Message(delivery, delivery.callback.url, body, delivery.callback.secret)


def _send_all(messages: Sequence[_Message]) -> list[Sent]:
    """Send one customer's messages until one fails or time is up; threads use no database."""
    results: list[Sent] = []
    until = time.monotonic() + PATIENCE
    for message in messages:
        results.append(_send(message))
        if not results[-1].is_delivered or time.monotonic() >= until:
            break
    return results


def _send(message: _Message) -> Sent:
    timestamp = str(int(timezone.now().timestamp()))
    headers = {
        "Content-Type": "application/json",
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: sign(message.secret, timestamp, message.body),
    }
    try:
        with Transport(
            message.url,
            allow_private=settings.ALLOW_PRIVATE_CALLBACKS,
            timeouts=TIMEOUTS,
            user_agent=USER_AGENT,
            headers=headers,
        ).open() as line:
            outcome = line.post(message.body, _ANSWER_LIMIT)
    except (UpstreamError, ValueError) as error:
        return Sent(message.delivery, None, _reason(error))
    if not isinstance(outcome, Answer):
        return Sent(message.delivery, None, _reason(outcome))
    text = outcome.body.decode("utf-8", errors="replace").replace("\x00", "")
    return Sent(message.delivery, outcome.status, text[:300])


def _reason(error: Exception) -> str:
    return str(error)[:300]


def _note_server(last: Sent) -> None:
    """Leave a server alone for a while that grows with its failures; one that answers is well again."""
    callback = last.delivery.callback
    failures = 0 if last.is_delivered else callback.failures + 1
    if not failures and not callback.failures:
        return
    quiet_until = timezone.now() + min(LONGEST_QUIET, pause(failures)) if failures else None
    # Unless its customer has named another one meanwhile.
    Callback.objects.filter(pk=callback.pk, url=callback.url).update(
        failures=failures, quiet_until=quiet_until
    )


def _note(sent: Sent) -> bool:
    """Write down what came of a try, unless newer news has replaced the message meanwhile."""
    now = timezone.now()
    delivery = sent.delivery
    tries = delivery.tries + 1
    state, next_try = Delivery.State.WAITING, now + pause(tries)
    if sent.is_delivered:
        state = Delivery.State.DELIVERED
    elif next_try - delivery.created_at > GIVE_UP_AFTER:
        state = Delivery.State.FAILED
    Delivery.objects.filter(pk=delivery.pk, state=Delivery.State.WAITING).update(
        state=state,
        tries=tries,
        next_try_at=next_try,
        http_status=sent.http_status,
        answer=sent.answer,
        tried_at=now,
    )
    if state == Delivery.State.FAILED:
        logger.warning("callback given up order=%s tries=%s", delivery.order_id, tries)
    return sent.is_delivered


def pause(tries: int) -> timedelta:
    """How long a message waits after it failed this many times."""
    doubled: int = 2 ** min(max(tries, 1) - 1, 10)
    return min(LONGEST_PAUSE, FIRST_PAUSE * doubled)


def forget_old() -> int:
    """Delete messages that are long done; how many rows.

    The last one about an order that is still open is kept: it says what was told.
    """
    old = Delivery.objects.filter(created_at__lt=timezone.now() - KEPT_FOR)
    finished = old.exclude(state=Delivery.State.WAITING).filter(order__finished_at__isnull=False)
    return delete_in_parts(finished, most=None)
