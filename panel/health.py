"""Whether this process is alive, for load balancers and containers."""

import http.client
import socket
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from panel.celery import app

_SECONDS = 5


def healthz(_request: HttpRequest) -> HttpResponse:
    """The web process answers; it asks nothing of the database, so it stays up when that is away."""
    return HttpResponse("ok\n", content_type="text/plain", headers={"Cache-Control": "no-store"})


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
    except OSError as exc:
        return f"the broker can't be reached ({type(exc).__name__})"
    return "" if answers else f"{node} does not answer"
