"""What a customer does with an order: place it, and take it back while it has not been sent."""

import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial

from django.db import IntegrityError, transaction
from django.db.models import BigIntegerField, CharField, Q, QuerySet, UUIDField
from django.utils import timezone

from accounts.models import User
from catalog.models import Service
from catalog.rules import read_rules
from orders.bulk import MOST, Wanted, agree, content_of, content_of_order, placed_with, tokens
from orders.errors import (
    DuplicateLink,
    InvalidLines,
    InvalidOrder,
    NotOnSale,
    PriceChanged,
    TokenReused,
)
from orders.letters import tell_ended
from orders.models import Attempt, Order
from orders.money import charge_order, charge_orders, lock_order, refund_order
from orders.offers import offer
from orders.quotes import Filled, Quote, quote, read_form
from orders.states import MAY_HAVE_REACHED, OPEN, Dispatch, Outcome, Status
from orders.timeline import Code, record, record_placed
from orders.wakeups import kick
from wallet.money import ZERO
from wallet.prepared import Insert, Rows, Slot
from wallet.services import lock_account

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
    # Reckoned before the account is locked: the shorter a lock is held, the more orders it lets by.
    agreed = _agree(customer, service, values, is_offer=is_offer)
    try:
        with transaction.atomic():
            account = lock_account(customer.pk)
            similar = _similar(customer, service, filled.link, client_token, allow_duplicate)
            if client_token in similar:
                return _same(Order.objects.get(pk=similar[client_token]), service, filled)
            if not isinstance(agreed, Quote):
                raise agreed
            if seen_charge is not None and seen_charge != agreed.charge:
                raise PriceChanged(seen=seen_charge, now=agreed.charge)
            if similar:
                raise DuplicateLink(max(similar.values()))
            order = _create(customer, agreed, client_token, source)
            charge_order(account=account, order=order)
            record(order, Code.PLACED, actor=customer, charge=str(order.charge))
            # After the commit: a worker must never look for a row it cannot see yet. Robust: the
            # order stands, so a broker that is away must not make the customer order again.
            transaction.on_commit(partial(kick, order.pk), robust=True)
            return order
    except IntegrityError:
        # The account's lock lets one form through at a time; this is for whoever goes round it.
        first = Order.objects.filter(customer=customer, client_token=client_token).first()
        if first is None:
            raise
        return _same(first, service, filled)


def _agree(
    customer: User, service: Service, values: Mapping[str, str], *, is_offer: bool
) -> Quote | InvalidOrder | NotOnSale:
    """What the order would be now, or why there is none; a form that was sent before needs none."""
    current = service if is_offer else offer(customer.pk, service.pk)
    if current is None:
        raise Service.DoesNotExist(f"service {service.pk} is gone")
    try:
        return quote(current, values, customer, read_rules())
    except (InvalidOrder, NotOnSale) as exc:
        return exc


def _similar(
    customer: User, service: Service, link: str, client_token: uuid.UUID, allow_duplicate: bool
) -> dict[uuid.UUID, int]:
    """The customer's orders that are meant, the newest first: number by token."""
    given = {"customer": customer.pk, "token": client_token}
    if allow_duplicate:
        return dict(_with_token(**given))
    return dict(_with_token_or_link(**given, service=service.pk, link=link))


_TOKEN = Slot("token", UUIDField())
_ON_LINK = Q(
    service=Slot("service", BigIntegerField()), link=Slot("link", CharField()), status__in=OPEN
)


def _numbers(wanted: Q) -> QuerySet[Order, tuple[uuid.UUID, int]]:
    mine = Order.objects.filter(wanted, customer_id=Slot("customer", BigIntegerField()))
    return mine.order_by("-pk").values_list("client_token", "pk")


_with_token = Rows(lambda: _numbers(Q(client_token=_TOKEN)))
_with_token_or_link = Rows(lambda: _numbers(Q(client_token=_TOKEN) | _ON_LINK))


def _same(first: Order, service: Service, filled: Filled) -> Order:
    if first.service_id != service.pk or first.parameters != filled.parameters:
        raise TokenReused(f"order {first.pk} was placed with this token")
    return first


def _create(customer: User, agreed: Quote, client_token: uuid.UUID, source: Order.Source) -> Order:
    order = _order(customer, agreed, client_token, source)
    _insert([order])
    return order


_insert = Insert(Order)


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
    if [content_of_order(order) for order in placed] != [content_of(each) for each in wanted]:
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
