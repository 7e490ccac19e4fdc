"""Celery's way in: each task is a shell around one function and takes nothing but an ID."""

from celery import shared_task

from orders import fulfilment, gates, runs
from orders.wakeups import kick, kick_probe

__all__ = ["forward_order", "kick", "kick_probe", "probe_provider", "work_on_run"]


@shared_task(ignore_result=True)
def forward_order(order_id: int) -> None:
    """Send an order if it is due, and go on with its provider's queue."""
    fulfilment.work(order_id)


@shared_task(ignore_result=True)
def probe_provider(provider_id: int) -> None:
    """Ask a provider for our balance, and wake the queue if it takes orders again."""
    if gates.probe(provider_id):
        fulfilment.sweep()


@shared_task(ignore_result=True)
def work_on_run(run_id: int) -> None:
    """Go on with a bulk action for a while; the sweep finds what is left."""
    runs.work_on(run_id)
