"""What happens to orders over time: ends, cancels, drip-feed runs and watched posts.

Each function changes one order of a Book at one moment; the World calls them when due.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal

from upstream.simulator.book import Book
from upstream.simulator.forms import (
    Refusal,
    Subscription,
    fold,
    read_order,
    read_subscription,
)
from upstream.simulator.life import Order, progress
from upstream.simulator.services import Service, money


def place(
    book: Book, service: Service, fields: Mapping[str, str], at: float, source: str = "api"
) -> Order:
    """Place an order of any type; raises Refusal, and then nothing has changed."""
    if fold(service.type) == "subscriptions":
        return _subscribe(book, service, read_subscription(service, fields), fields, at, source)
    demand = read_order(service, fields)
    order = book.open(
        service,
        at,
        link=demand.link,
        fields=dict(fields),
        kind="drip-feed" if demand.runs else "order",
        source=source,
        quantity=demand.quantity,
        price=demand.price,
        cost=demand.price,
        runs=demand.runs,
    )
    if demand.runs:
        run(book, order, at)
    return order


def end(book: Book, order: Order, at: float) -> None:
    """Bring an order to its planned outcome and give back what was not delivered."""
    if not order.final:
        finish(book, order, order.outcome, progress(order, at).remains)


def finish(book: Book, order: Order, status: str, remains: int) -> None:
    """Fix an order's last status; Partial gives back its share, Canceled and Fail all of it."""
    order.final, order.final_remains = status, remains
    if status in ("Canceled", "Fail"):
        book.give_back(order, order.price)
    elif status == "Partial" and order.quantity:
        book.give_back(order, order.price * remains / order.quantity)
    _close_drip(book, order)


def cancel(book: Book, order: Order, at: float) -> None:
    """Carry out a cancel request that was accepted earlier, unless the order ended first."""
    if order.final:
        return
    if order.kind == "drip-feed":
        _cancel_drip(book, order)
    elif order.kind == "subscription":
        _close_subscription(book, order, "Canceled")
    else:
        remains = progress(order, at).remains
        finish(book, order, "Canceled" if remains == order.quantity else "Partial", remains)


def run(book: Book, parent: Order, at: float) -> None:
    """Start the next run of a drip-feed order and plan the one after it."""
    if parent.final or len(parent.children) >= parent.runs:
        return
    price = money(parent.price / parent.runs)
    # The parent has paid for all its runs.
    child = _open_child(book, parent, at, quantity=parent.quantity, price=price, cost=Decimal(0))
    parent.children.append(child.id)
    if len(parent.children) < parent.runs:
        interval = int(parent.fields["interval"]) * book.settings.minute_seconds
        book.schedule(at + interval, "run", parent.id)


def post(book: Book, parent: Order, at: float) -> None:
    """A watched account has a new post: order for it, or pause while the balance is short."""
    if parent.final:
        return
    wanted = _wanted(book, parent)
    child = _order_for_post(book, parent, wanted, at)
    parent.paused = child is None
    if child:
        parent.children.append(child.id)
    if wanted.posts is not None and len(parent.children) >= wanted.posts:
        _close_subscription(book, parent, "Completed")
        return
    book.schedule(at + book.settings.post_every, "post", parent.id)


def expire(book: Book, parent: Order, _at: float) -> None:
    """A subscription's last day is over."""
    if not parent.final:
        _close_subscription(book, parent, "Expired")


def _subscribe(
    book: Book,
    service: Service,
    wanted: Subscription,
    fields: Mapping[str, str],
    at: float,
    source: str,
) -> Order:
    cost = Decimal(0)
    if book.settings.subscription_upfront:
        if wanted.posts is None:
            raise Refusal("Incorrect posts")
        # The most it can come to: every post with the largest quantity.
        cost = money(service.rate * wanted.max * (wanted.posts + wanted.old_posts) / 1000)
    parent = book.open(
        service,
        at,
        link=wanted.username,
        fields=dict(fields),
        kind="subscription",
        source=source,
        quantity=wanted.max,
        price=cost,
        cost=cost,
    )
    for _ in range(wanted.old_posts):
        child = _order_for_post(book, parent, wanted, at)
        if child:
            parent.old_children.append(child.id)
    _plan_subscription(book, parent, wanted, at)
    return parent


def _plan_subscription(book: Book, parent: Order, wanted: Subscription, at: float) -> None:
    if wanted.posts == 0:
        _close_subscription(book, parent, "Completed")
        return
    delay = wanted.delay_minutes * book.settings.minute_seconds
    book.schedule(at + book.settings.post_every + delay, "post", parent.id)
    if wanted.expires:
        last_day_over = wanted.expires + timedelta(days=1)
        book.schedule(last_day_over.timestamp(), "expire", parent.id)


def _wanted(book: Book, parent: Order) -> Subscription:
    return read_subscription(book.known[parent.service], parent.fields)


def _order_for_post(book: Book, parent: Order, wanted: Subscription, at: float) -> Order | None:
    quantity = book.rng.randint(wanted.min, wanted.max)
    price = money(book.known[parent.service].rate * quantity / 1000)
    cost = Decimal(0) if parent.cost else price
    try:
        return _open_child(book, parent, at, quantity=quantity, price=price, cost=cost)
    except Refusal:
        return None


def _open_child(
    book: Book, parent: Order, at: float, *, quantity: int, price: Decimal, cost: Decimal
) -> Order:
    return book.open(
        book.known[parent.service],
        at,
        link=parent.link,
        source="child",
        parent=parent.id,
        quantity=quantity,
        price=price,
        cost=cost,
    )


def _close_drip(book: Book, child: Order) -> None:
    parent = book.orders.get(child.parent)
    if parent is None or parent.kind != "drip-feed" or parent.final:
        return
    started = len(parent.children) == parent.runs
    if started and all(book.orders[each].final for each in parent.children):
        parent.final = "Completed"


def _cancel_drip(book: Book, parent: Order) -> None:
    parent.final = "Canceled"
    left = parent.runs - len(parent.children)
    book.give_back(parent, parent.price * left / parent.runs)


def _close_subscription(book: Book, parent: Order, status: str) -> None:
    parent.final = status
    used = (book.orders[each].price for each in parent.children + parent.old_children)
    if parent.cost:
        book.give_back(parent, parent.cost - sum(used, Decimal(0)))


HAPPENINGS: Mapping[str, Callable[[Book, Order, float], None]] = {
    "end": end,
    "cancel": cancel,
    "run": run,
    "post": post,
    "expire": expire,
}
