"""Wake-ups for workers. The orders table is the queue; a message only says "look now".

A message that is lost, late or doubled does no harm: the sweep finds every due order, and claiming
an order twice changes no row. So nothing here is retried, and nothing here may fail a caller.
"""

import logging
import time

from celery import current_app

from accounts import trace
from orders.messages import publish

logger = logging.getLogger(__name__)

OFF_SECONDS = 30


class _Broker:
    """Remembers that the broker was away, so that the next page does not wait for it again."""

    def __init__(self) -> None:
        self._off_until = 0.0

    def send(self, task: str, identifier: int) -> bool:
        """Send one message; False when the broker is, or lately was, away."""
        if time.monotonic() < self._off_until:
            return False
        try:
            publish(current_app, task, identifier, {trace.HEADER: trace.request_id()})
        except Exception as exc:  # noqa: BLE001 - the boundary to Celery, Kombu and the broker's library
            self._off_until = time.monotonic() + OFF_SECONDS
            logger.warning("broker away, the sweep will do it: %s", type(exc).__name__)
            return False
        return True

    def forgive(self) -> None:
        """Try again at once."""
        self._off_until = 0.0


broker = _Broker()


def kick(order_id: int) -> bool:
    """Ask a worker to forward this order now; False when no message was sent."""
    return broker.send("orders.tasks.forward_order", order_id)


def kick_probe(provider_id: int) -> bool:
    """Ask a worker to find out whether this provider can be sent orders again."""
    return broker.send("orders.tasks.probe_provider", provider_id)


def kick_run(run_id: int) -> bool:
    """Ask a worker to go on with a bulk action now."""
    return broker.send("orders.tasks.work_on_run", run_id)
