"""Celery's scheduler, for machines whose clock is put right while beat runs."""

import time
from typing import Any

from celery.beat import Scheduler

# Less than the shortest period, and more than a clock is slewed by in a tick.
_BACK_SECONDS = 2.0


class PanelScheduler(Scheduler):
    """Begins anew when the clock was put back: Celery's own sends nothing until it has caught up."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._latest = time.time()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """As Celery's, after a look at the clock."""
        now = time.time()
        if now < self._latest - _BACK_SECONDS:
            for entry in self.schedule.values():
                entry.last_run_at = entry.default_now()
            self._heap = None
        self._latest = now
        return float(super().tick(*args, **kwargs))
