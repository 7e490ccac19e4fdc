"""The Celery app. A message is only a wake-up: it carries an ID, and losing or doubling it is harmless."""

import os
from typing import Any

from celery import Celery, Task, bootsteps
from celery.app.amqp import AMQP
from django.db import connections
from kombu import Connection

from accounts import trace
from panel.memory import settle

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "panel.settings")
# Celery throws away what Django's checks find, and they load every page's address and view.
# `manage.py check` and the step below are what looks.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")


def drop_dead_connections() -> None:
    """Close this thread's connections that failed or grew old, so that the next query opens new ones.

    Those without an age limit (SQLite's) and those in a transaction are kept.
    """
    for connection in connections.all(initialized_only=True):
        may_age = connection.settings_dict["CONN_MAX_AGE"] or connection.errors_occurred
        if may_age and not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


class PromptConnection(Connection):
    """Looks for a lost broker every few seconds; Kombu's own wait grows to half a minute."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """As Kombu's, with a wait of 1, 2, 3, 3, … seconds between the tries."""
        waits = {"interval_start": 1, "interval_step": 1, "interval_max": 3}
        return super().ensure_connection(*args, **{**waits, **kwargs})


class PanelAMQP(AMQP):
    """Celery's connections, made by `PromptConnection`."""

    Connection = PromptConnection


class PanelTask(Task):  # type: ignore[type-arg]
    """A task that begins with a usable database connection, also after the server restarted.

    Its log lines carry the number of the request that woke it, or one of its own.
    """

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        drop_dead_connections()
        with trace.request_context(trace.safe_id(self._number())):
            return super().__call__(*args, **kwargs)

    def _number(self) -> str:
        headers = self.request.headers or {}
        return str(headers.get(trace.HEADER) or getattr(self.request, trace.HEADER, None) or "")


class RefuseUnsafeDatabase(bootsteps.Step):
    """Keeps a worker from starting on a database that may forget a commit (a forgotten mark is a resend).

    On one that was restored from a backup, which has forgotten some, it pauses all sending.
    """

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        # Django is set up by now; the checks import its models.
        from orders.restore import check_start  # noqa: PLC0415
        from panel.checks import refuse_unsafe_database  # noqa: PLC0415

        super().__init__(parent, **kwargs)
        refuse_unsafe_database()
        check_start()


class Settle(bootsteps.Step):
    """Ends a worker's start: all tasks and models are loaded."""

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        settle()


app: "Celery[Any]" = Celery("panel", task_cls=PanelTask, amqp=PanelAMQP)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["worker"].update({RefuseUnsafeDatabase, Settle})
