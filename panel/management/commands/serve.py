import multiprocessing
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from catalog.services import ensure_first_provider
from panel.checks import refuse_unsafe_database
from panel.roles import ensure_roles
from panel.serving import PortTaken, embedded_worker, ended_by_signals, listen, serve_web

_NO_PROVIDER = (
    "No provider yet: set UPSTREAM_API_URL and UPSTREAM_API_KEY in the environment or in .env, "
    "or add one in the admin. Until then nothing can be sold."
)
_SEPARATE = (
    "REDIS_URL is set, so this is the web server alone. Start beside it:\n"
    "  celery -A panel worker -P threads -Q submit,poll\n"
    "  celery -A panel beat -S panel.beat:PanelScheduler"
)


class Command(BaseCommand):
    help = "Serve the panel; without REDIS_URL this one process is web, worker and beat."

    def handle(self, **_options: Any) -> None:
        try:
            listening = listen(settings.HOST, settings.PORT)
        except PortTaken as exc:
            raise CommandError(
                f"{exc}. Choose another one: PORT={settings.PORT + 1} make run"
            ) from None
        with ended_by_signals(), listening:
            self._prepare()
            with self._worker():
                self.stdout.write(f"{settings.SITE_NAME}: http://{settings.HOST}:{settings.PORT}/")
                self.stdout.flush()
                serve_web(listening)
                self.stdout.write("Stopping: orders that are being sent are finished first.")
        self.stdout.write("Stopped.")

    def _prepare(self) -> None:
        _in_a_child()
        refuse_unsafe_database()
        if ensure_first_provider() is None:
            self.stdout.write(self.style.WARNING(_NO_PROVIDER))

    def _worker(self) -> AbstractContextManager[None]:
        if settings.REDIS_URL:
            self.stdout.write(_SEPARATE)
            return nullcontext()
        return embedded_worker()


def _in_a_child() -> None:
    """Bring database and translations up to date in a process that ends with it.

    The state of sixty migrations would stay in this one's memory until it stops.
    """
    connections.close_all()
    # Forked, because starting Python and Django anew takes a second.
    child = multiprocessing.get_context("fork").Process(target=_bring_up_to_date, daemon=True)
    child.start()
    child.join()
    if child.exitcode:
        raise CommandError("The database could not be brought up to date; the reason is above.")


def _bring_up_to_date() -> None:
    call_command("migrate", interactive=False, verbosity=0)
    ensure_roles()
    call_command("compile_translations", verbosity=0)
