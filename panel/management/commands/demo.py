from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from panel.demo import PACE, SimulatorGone, simulated_provider
from panel.seeding import LOGINS, seed
from panel.serving import PortTaken, embedded_worker, ended_by_signals, listen, serve_web

_TRY = f"""
Try it: order any service for a link such as https://example.com/me and watch it; it takes about
{PACE} seconds. A link with "partial" in it ends Partial and one with "cancel" ends Canceled, and the
money comes back. The admin is at /admin/. Ctrl-C ends everything; the next start finds it again.
"""


class Command(BaseCommand):
    help = "Serve a demo: a simulated provider, its own database, and three people to sign in as."

    def handle(self, **_options: Any) -> None:
        try:
            listening = listen(settings.HOST, settings.PORT)
        except PortTaken as exc:
            raise CommandError(
                f"{exc}. Choose another one: PORT={settings.PORT + 1} make demo"
            ) from None
        with ended_by_signals(), listening:
            try:
                self._run(listening)
            except SimulatorGone as exc:
                raise CommandError(str(exc)) from None
        self.stdout.write("Stopped.")

    def _run(self, listening: Any) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        call_command("compile_translations", verbosity=0)
        with simulated_provider(settings.VAR_DIR) as api_url:
            self.stdout.write("Loading the simulated provider's catalogue.")
            seed(api_url)
            with embedded_worker():
                self._introduce()
                serve_web(listening)
                self.stdout.write("Stopping: orders that are being sent are finished first.")

    def _introduce(self) -> None:
        logins = "\n".join(
            f"  {login.role:<9} {login.email:<22} {login.password}" for login in LOGINS
        )
        self.stdout.write(f"\n{settings.SITE_NAME}: {settings.SITE_URL}/\n\n{logins}\n{_TRY}")
        self.stdout.flush()
