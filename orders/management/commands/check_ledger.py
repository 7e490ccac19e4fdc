"""`manage.py check_ledger`: prove every balance and every order's money."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orders.audit import check, freeze


class Command(BaseCommand):
    help = "Check every account and order against the ledger; fails when anything differs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--freeze",
            action="store_true",
            help="stop sale on every account that fails, until someone has explained it",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        findings = check()
        errors = [finding for finding in findings if finding.is_error]
        for finding in findings:
            self.stdout.write(str(finding))
        if options["freeze"]:
            frozen = sum(freeze(finding) for finding in errors)
            self.stdout.write(f"accounts frozen: {frozen}")
        if errors:
            raise CommandError(f"{len(errors)} findings")
        self.stdout.write("every account and every order agrees with the ledger")
