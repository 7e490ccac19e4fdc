"""Whether this process is alive and the panel works, for load balancers, containers and monitors."""

import http.client
import socket
from urllib.parse import urlsplit

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from kombu.exceptions import OperationalError

from panel import state
from panel.celery import app
from panel.metrics import may_see

_SECONDS = 5
_BROKER_SECONDS = 2
_UNSENT_SECONDS = 600


def healthz(_request: HttpRequest) -> HttpResponse:
    """The web process answers; it asks nothing of the database, so it stays up when that is away."""
    return HttpResponse("ok\n", content_type="text/plain", headers={"Cache-Control": "no-store"})


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Whether requests can be answered (503 if not), and with `?all` whether everything works.

    Only a missing database or migration makes this process useless; without broker or worker it
    still takes orders, which are sent later. Details are for those who may see the metrics.
    """
    fatal = {"database": database_problem()}
    if not fatal["database"]:
        fatal["migrations"] = migration_problem()
    beside = {} if any(fatal.values()) else other_problems()
    is_ready = not any(fatal.values())
    is_good = is_ready and not any(beside.values())
    body: dict[str, object] = {"ready": is_ready}
    if may_see(request):
        body |= {"good": is_good, "problems": fatal | beside}
    asked = is_good if "all" in request.GET else is_ready
    return JsonResponse(body, status=200 if asked else 503, headers={"Cache-Control": "no-store"})


def database_problem() -> str:
    """Why the database can't be used; empty when it can."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as exc:
        return f"the database can't be reached ({type(exc).__name__})"
    return ""


def migration_problem() -> str:
    """How many migrations are missing, in a sentence; empty when none is."""
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(missing)} migrations are missing: run manage.py migrate" if missing else ""


def broker_problem() -> str:
    """Why messages can't be sent; empty when they can."""
    if not settings.REDIS_URL:
        return ""
    try:
        with app.connection_for_write() as link:
            link.ensure_connection(max_retries=1, timeout=_BROKER_SECONDS)
    except (OperationalError, OSError) as exc:
        return f"the broker can't be reached ({type(exc).__name__})"
    return ""


def other_problems() -> dict[str, str]:
    """What delays orders without stopping the web server, by name; empty sentences are good."""
    now = timezone.now()
    found = {"broker": broker_problem()}
    for job in state.job_ages(now):
        found[f"job {job.name}"] = _job_problem(job)
    unsent = state.unsent(now)
    waits = unsent.oldest.total_seconds()
    found["unsent"] = (
        f"{unsent.count} orders are unsent, the oldest for {waits:.0f} s"
        if waits > _UNSENT_SECONDS
        else ""
    )
    return found


def _job_problem(job: state.JobAge) -> str:
    if not job.is_late:
        return ""
    return "never ran" if job.age is None else f"last ran {job.age.total_seconds():.0f} s ago"


def web_problem() -> str:
    """Why the web server on this machine is not healthy; empty when it is."""
    asked = http.client.HTTPConnection("127.0.0.1", settings.PORT, timeout=_SECONDS)
    try:
        asked.request("GET", "/healthz", headers={"Host": urlsplit(settings.SITE_URL).netloc})
        status = asked.getresponse().status
    except (OSError, http.client.HTTPException) as exc:
        return f"no web server answers on port {settings.PORT} ({type(exc).__name__})"
    finally:
        asked.close()
    return "" if status == 200 else f"the web server answers HTTP {status}"


def node_problem(kind: str) -> str:
    """Why Celery's node on this machine (`celery` or `celerybeat`) is not healthy; empty when it is."""
    node = f"{kind}@{socket.gethostname()}"
    try:
        answers = app.control.ping(destination=[node], timeout=_SECONDS)
    except (OperationalError, OSError) as exc:
        return f"the broker can't be reached ({type(exc).__name__})"
    return "" if answers else f"{node} does not answer"
