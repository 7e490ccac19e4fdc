from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from catalog import chained
from catalog.models import Provider, SyncRun
from catalog.services import ensure_first_provider
from catalog.sync import sync_provider

ROWS_SHOWN = 20


class Command(BaseCommand):
    """Sync now, for people; exits 1 when any provider's sync failed or was refused."""

    help = "Brings the catalogue in line with the providers' service lists."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--provider", metavar="NAME", help="only this one, even when disabled")
        parser.add_argument(
            "--accept-short",
            action="store_true",
            help="apply a list that lost more than 30 %% of the services",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        done = [
            self._sync(provider, accepts_short=options["accept_short"])
            for provider in self._providers(options["provider"])
        ]
        chained.record_runs()
        bad = [run for run in done if run.outcome in {run.Outcome.FAILED, run.Outcome.REFUSED}]
        if bad:
            names = ", ".join(str(run.provider) for run in bad)
            raise CommandError(_("Nothing was changed for: %(names)s") % {"names": names})

    def _providers(self, name: str | None) -> list[Provider]:
        ensure_first_provider()
        if name:
            chosen = list(Provider.objects.filter(name=name))
            if not chosen:
                raise CommandError(_("There is no provider named %(name)s.") % {"name": name})
            return chosen
        enabled = list(Provider.objects.filter(is_enabled=True))
        if not enabled:
            raise CommandError(
                _(
                    "No provider is configured: set UPSTREAM_API_URL and UPSTREAM_API_KEY, "
                    "or add one on the admin pages."
                )
            )
        return enabled

    def _sync(self, provider: Provider, *, accepts_short: bool) -> SyncRun:
        run = sync_provider(provider, report=self.stdout.write, accepts_short=accepts_short)
        self.stdout.write(f"{provider}: {run.get_outcome_display()}. {run.note}".rstrip())
        counts = ("added", "changed", "repriced", "vanished", "returned", "refused")
        for count in counts:
            label = run._meta.get_field(count).verbose_name  # type: ignore[union-attr]
            self.stdout.write(f"  {label}: {getattr(run, count)}")
        for upstream_id, title, reason in run.refused_rows[:ROWS_SHOWN]:
            self.stdout.write(f"    {upstream_id} {title[:60]}: {reason}")
        if run.refused > ROWS_SHOWN:
            self.stdout.write(
                "    " + _("and %(count)s more") % {"count": run.refused - ROWS_SHOWN}
            )
        return run
