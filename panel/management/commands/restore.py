from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from panel.backup import BackupFailed, restore


class Command(BaseCommand):
    help = (
        "Replace the database by a backup, and hold what may have been sent since. Stop web, worker "
        "and beat first. Everything that is newer than the backup is lost."
    )
    # They would look at a database that may be damaged: this command is there to replace it.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("copy", type=Path)
        parser.add_argument("--yes", action="store_true", help="needed: everything newer is lost")

    def handle(self, *, copy: Path, yes: bool, **_options: Any) -> None:
        if not yes:
            raise CommandError("This replaces the whole database: say so with --yes")
        if not copy.is_file():
            raise CommandError(f"{copy} is not there")
        try:
            restore(copy)
        except BackupFailed as exc:
            raise CommandError(f"Nothing was restored: {exc}") from None
        self.stdout.write(f"Restored {copy}.")
        # A backup of an older release needs the newer one's tables before its orders are touched.
        call_command("migrate", interactive=False, verbosity=0)
        call_command("after_restore", stdout=self.stdout)
        call_command("check_ledger", stdout=self.stdout)
