import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from panel.backup import BackupFailed, back_up, prune


class Command(BaseCommand):
    help = (
        "Copy the database while the panel works, and prove the copy: restore it elsewhere and check "
        "its ledger. Fails, and keeps nothing, when the copy is not good."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--folder", type=Path, default=settings.BACKUP_DIR, help="instead of BACKUP_DIR"
        )
        parser.add_argument(
            "--keep", type=int, default=0, help="remove all but the newest so many (0: none)"
        )

    def handle(self, *, folder: Path, keep: int, **_options: Any) -> None:
        if keep < 0:
            raise CommandError("--keep must not be negative")
        try:
            with _tidied_up_on_sigterm():
                made = back_up(folder, timezone.now())
        except (BackupFailed, OSError) as exc:
            raise CommandError(f"No backup: {exc}") from None
        self.stdout.write(f"{made} ({made.stat().st_size} bytes), proved by check_ledger")
        for path in prune(folder, keep):
            self.stdout.write(f"removed {path}")


@contextmanager
def _tidied_up_on_sigterm() -> Iterator[None]:
    """Let SIGTERM remove what is half made: else the copy and the scratch database would stay."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit("No backup: it was ended by SIGTERM")

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
