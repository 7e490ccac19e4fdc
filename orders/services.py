"""What a customer does with an order: place it, and take it back while it has not been sent."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any, TypeAlias

from django.db import IntegrityError, transaction
from django.db.models import BigIntegerField, CharField, QuerySet, UUIDField
from django.utils import timezone

from accounts.models import User
from catalog.models import Service
from orders.bulk import (
    MOST,
    Wanted,
    agree,
    content_of,
    content_of_order,
    packages_of,
    placed_with,
    tokens,
)
from orders.errors import (
    DuplicateLink,
    InvalidLines,
    InvalidOrder,
    NotOnSale,
    PriceChanged,
    TokenReused,
)
from orders.letters import tell_ended
from orders.models import Attempt, Event, Order
from orders.money import charge_at_once, charge_new, charge_orders, lock_order, refund_order
from orders.offers import offer, rules_for
from orders.quotes import Filled, Quote, quote_filled, read_form
from orders.states import MAY_HAVE_REACHED, OPEN, Dispatch, Outcome, Status
from orders.timeline import Code, placed_line, record, record_placed
from orders.timeline import insert as insert_line
from orders.wakeups import kick
from wallet.errors import AccountFrozen, InsufficientFunds
from wallet.models import Account
from wallet.money import ZERO
from wallet.prepared import Insert, Literal, Slot
from wallet.services import lock_account
from wallet.together import InsertUnless, Pending

_KICKED_AT_ONCE = 16


def place_order(
    *,
    customer: User,
    service: Service,
    values: Mapping[str, str],
    client_token: uuid.UUID,
    seen_charge: Decimal | None = None,
    allow_duplicate: bool = False,
    source: Order.Source = Order.Source.WEB,
    is_offer: bool = False,
) -> Order:
    """Create an order and take its charge from the wallet: both, or neither.

    What the service costs now is read anew, unless the caller has just done so: `is_offer` says
    that `service` is a fresh answer of `orders.offers.offer` for this customer.

    A token that was used before returns the first order when the content is the same. Raises
    InvalidOrder, NotOnSale, PriceChanged (when `seen_charge` is not the charge), DuplicateLink,
    TokenReused, InsufficientFunds or AccountFrozen, and then nothing is written.
    """
    filled = read_form(service, values)
    form = _Form(customer, service, values, filled, client_token, allow_duplicate)
    # Reckoned before the account is locked: the shorter a lock is held, the more orders it lets by.
    agreed = _agree(form, seen_charge, is_offer=is_offer)
    try:
        if isinstance(agreed, Quote) and (order := _place_at_once(form, agreed, source)):
            return order
        with transaction.atomic():
            return _place(form, agreed, lock_account(customer.pk), source)
    except IntegrityError:
        # The account's lock lets one form through at a time; this is for whoever goes round it.
        first = form.first()
        if first is None:
            raise
        return first


@dataclass(frozen=True)
class _Form:
    """A form that fits its order type, as it was sent: who wants what, and the token it is known by."""

    customer: User
    service: Service
    values: Mapping[str, str]
    filled: Filled
    token: uuid.UUID
    allow_duplicate: bool

    def first(self) -> Order | None:
        """The order that this form has already placed; raises TokenReused when that was another one."""
        order = Order.objects.of(self.customer.pk).filter(client_token=self.token).first()
        if order is None:
            return None
        if order.service_id != self.service.pk or order.parameters != self.filled.parameters:
            raise TokenReused(f"order {order.pk} was placed with this token")
        return order

    def active(self) -> int | None:
        """The number of the newest order that is open on the same link, unless that doesn't matter."""
        if self.allow_duplicate:
            return None
        mine = Order.objects.of(self.customer.pk).open()
        alike = mine.filter(service=self.service, link=self.filled.link)
        return alike.order_by("-pk").values_list("pk", flat=True).first()


_Refusal: TypeAlias = InvalidOrder | NotOnSale | PriceChanged


def _agree(form: _Form, seen_charge: Decimal | None, *, is_offer: bool) -> Quote | _Refusal:
    """What the order would be now, or why there is none; a form that was sent before needs none."""
    current = form.service if is_offer else offer(form.customer.pk, form.service.pk)
    if current is None:
        raise Service.DoesNotExist(f"service {form.service.pk} is gone")
    try:
        is_same_type = current.order_type == form.service.order_type
        filled = form.filled if is_same_type else read_form(current, form.values)
        found = quote_filled(current, filled, form.customer, rules_for(current))
    except (InvalidOrder, NotOnSale) as exc:
        return exc
    if seen_charge is not None and seen_charge != found.charge:
        return PriceChanged(seen=seen_charge, now=found.charge)
    return found


def _place_at_once(form: _Form, agreed: Quote, source: Order.Source) -> Order | None:
    """The form's order in one statement, as almost every one can be; None when nothing was written.

    Why it was not is for the account's lock to find out.
    """
    pending = _pending(form, agreed, source)
    if not charge_at_once(pending, customer=form.customer):
        return None
    return _announced(pending.row)


def _place(form: _Form, agreed: Quote | _Refusal, account: Account, source: Order.Source) -> Order:
    """The form's order: written and paid now, or the one that it has placed before.

    The caller holds the account's lock, which lets one form of a customer through at a time.
    """
    refusal: Exception | None = None if isinstance(agreed, Quote) else agreed
    if isinstance(agreed, Quote):
        pending = _pending(form, agreed, source)
        try:
            if charge_new(pending, account=account):
                return _announced(pending.row)
        except (InsufficientFunds, AccountFrozen) as exc:
            refusal = exc
    # A form that was sent before needs neither a price nor money.
    if first := form.first():
        return first
    if isinstance(agreed, Quote) and (active := form.active()):
        raise DuplicateLink(active)
    if refusal:
        raise refusal
    # The order on the same link ended after it had kept this one from being written.
    return _place(replace(form, allow_duplicate=True), agreed, account, source)


def _announced(order: Order) -> Order:
    """The order, of which a worker is told after the commit: it must never look for a row it can't see.

    Robust: the order stands, so a broker that is away must not make the customer order again.
    """
    transaction.on_commit(partial(kick, order.pk), robust=True)
    return order


def _pending(form: _Form, agreed: Quote, source: Order.Source) -> Pending[Order, Event]:
    """The order and the first line of its timeline, unless a similar order is there."""
    order = _order(form.customer, agreed, form.token, source)
    line = placed_line(order, actor=form.customer)
    given = {"customer": form.customer.pk, "token": form.token}
    if form.allow_duplicate:
        return _new.of(order, line, **given)
    return _new_on_link.of(order, line, **given, service=order.service_id, link=order.link)


def _mine(**wanted: Any) -> QuerySet[Order]:
    return Order.objects.filter(customer_id=Slot("customer", BigIntegerField()), **wanted)


def _with_token() -> QuerySet[Order]:
    return _mine(client_token=Slot("token", UUIDField()))


def _on_link() -> QuerySet[Order]:
    service, link = Slot("service", BigIntegerField()), Slot("link", CharField())
    return _mine(service=service, link=link, status__in=[Literal(status) for status in OPEN])


_insert = Insert(Order)
_new = InsertUnless(_insert, insert_line, naming="order", unless=[_with_token])
_new_on_link = InsertUnless(_insert, insert_line, naming="order", unless=[_with_token, _on_link])


def _order(customer: User, agreed: Quote, client_token: uuid.UUID, source: Order.Source) -> Order:
    provider = agreed.service.provider
    return Order(
        customer=customer,
        service=agreed.service,
        provider=provider,
        source=source,
        client_token=client_token,
        order_type=agreed.order_type,
        link=agreed.link,
        parameters=agreed.parameters,
        quantity=agreed.units,
        price_rate=agreed.rate.rate,
        may_lose=agreed.rate.is_below_floor,
        charge=agreed.charge,
        cost=agreed.cost,
        exchange_rate=provider.exchange_rate,
        expected_charge=agreed.expected_charge,
    )


@transaction.atomic
def place_many(
    *,
    customer: User,
    wanted: Sequence[Wanted],
    client_token: uuid.UUID,
    seen_charge: Decimal | None = None,
    source: Order.Source = Order.Source.WEB,
) -> list[Order]:
    """Create an order per wanted one and take all charges: all of them, or none.

    The number of statements does not grow with the list. A token that was used before returns the
    first orders when the content is the same. Raises InvalidLines, PriceChanged (when `seen_charge`
    is not the sum of the charges), TokenReused, InsufficientFunds or AccountFrozen, and then
    nothing is written.
    """
    if not 1 <= len(wanted) <= MOST:
        raise InvalidLines({0: f"1 to {MOST} orders"})
    account = lock_account(customer.pk)
    if placed := placed_with(customer.pk, client_token):
        return _same_list(placed, wanted)
    agreed = agree(customer.pk, wanted)
    if refused := {at: found for at, found in enumerate(agreed) if isinstance(found, str)}:
        raise InvalidLines(refused)
    quotes = [found for found in agreed if isinstance(found, Quote)]
    total = sum((found.charge for found in quotes), ZERO)
    if seen_charge is not None and seen_charge != total:
        raise PriceChanged(seen=seen_charge, now=total)
    orders = [
        _order(customer, found, token, source)
        for found, token in zip(quotes, tokens(client_token), strict=False)
    ]
    _insert(orders)
    charge_orders(account=account, orders=orders)
    record_placed(orders, actor=customer)
    transaction.on_commit(partial(_kick_first, orders), robust=True)
    return orders


def _same_list(placed: list[Order], wanted: Sequence[Wanted]) -> list[Order]:
    packages = packages_of(placed)
    asked = [content_of(each, packages) for each in wanted]
    if [content_of_order(order) for order in placed] != asked:
        raise TokenReused(f"orders from {placed[0].pk} on were placed with this token")
    return placed


def _kick_first(orders: Sequence[Order]) -> None:
    """Wake a few workers: each goes on with its provider's queue, and the sweep finds the rest."""
    for order in orders[:_KICKED_AT_ONCE]:
        kick(order.pk)


@transaction.atomic
def withdraw(order_id: int, *, actor: User | None) -> bool:
    """Cancel an order that has not been sent and refund it in full; False when it is too late.

    Against a worker one of the two wins: its mark changes no row once the order is withdrawn,
    and an order that is marked is not withdrawn.
    """
    locked = lock_order(order_id)
    order = locked.order
    if order.dispatch not in {Dispatch.QUEUED, Dispatch.CLAIMED}:
        return False
    attempts = Attempt.objects.filter(order=order)
    if attempts.filter(outcome__in=MAY_HAVE_REACHED).exists():
        return False  # queued by mistake: it may be at the provider
    left = order.charge - order.refunded
    if left:
        refund_order(locked, amount=left, reference=f"order-{order.pk}", actor=actor)
    order.dispatch = Dispatch.WITHDRAWN
    order.status = Status.CANCELED
    order.finished_at = timezone.now()
    order.lease_until = None
    order.waiting_for = order.attention = ""
    order.save(
        update_fields=[
            "dispatch", "status", "finished_at", "lease_until", "waiting_for", "attention",
        ]
    )  # fmt: skip
    attempts.filter(outcome=Outcome.CLAIMED).update(
        outcome=Outcome.NOT_SENT, reason="withdrawn", finished_at=timezone.now()
    )
    record(order, Code.WITHDRAWN, actor=actor)
    if actor is None or actor.pk != order.customer_id:
        tell_ended([order.pk])
    return True
