"""The Celery app. A message is only a wake-up: it carries an ID, and losing or doubling it is harmless."""

import os
from typing import Any

from celery import Celery, Task, bootsteps
from django.db import close_old_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "panel.settings")


class PanelTask(Task):  # type: ignore[type-arg]
    """A task that begins with a usable database connection, also after the server restarted."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        close_old_connections()
        return super().__call__(*args, **kwargs)


class RefuseUnsafeDatabase(bootsteps.Step):
    """Keeps a worker from starting on a database that may forget a commit (a forgotten mark is a resend)."""

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        # Django is set up by now; the checks import its models.
        from panel.checks import refuse_unsafe_database  # noqa: PLC0415

        super().__init__(parent, **kwargs)
        refuse_unsafe_database()


app = Celery("panel", task_cls=PanelTask)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["worker"].add(RefuseUnsafeDatabase)
