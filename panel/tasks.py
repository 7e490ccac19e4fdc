"""Celery's way into the periodic jobs: a message carries a name and nothing else."""

import logging

from celery import shared_task
from django.conf import settings

from panel.periodic import run_periodic_job

logger = logging.getLogger(__name__)


@shared_task(name="panel.run_periodic")
def run_periodic(name: str) -> None:
    """Run the named job if it is due; an unknown name is an older or newer beat's, and ignored."""
    if name not in settings.PERIODIC_JOBS:
        logger.warning("No periodic job is called %s", name)
        return
    run_periodic_job(name)
