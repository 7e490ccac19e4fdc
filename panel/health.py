"""Whether this process is alive, for load balancers and containers."""

import socket
import urllib.error
import urllib.request
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
    request = urllib.request.Request(
        f"http://127.0.0.1:{settings.PORT}/healthz",
        headers={"Host": urlsplit(settings.SITE_URL).netloc},
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            answer.read()
    except urllib.error.HTTPError as exc:
        return f"the web server answers HTTP {exc.code}"
    except OSError as exc:
        return f"no web server answers on port {settings.PORT} ({type(exc).__name__})"
    return ""


def node_problem(kind: str) -> str:
    """Why Celery's node on this machine (`celery` or `celerybeat`) is not healthy; empty when it is."""
    node = f"{kind}@{socket.gethostname()}"
    try:
        answers = app.control.ping(destination=[node], timeout=_SECONDS)
    except OSError as exc:
        return f"the broker can't be reached ({type(exc).__name__})"
    return "" if answers else f"{node} does not answer"
