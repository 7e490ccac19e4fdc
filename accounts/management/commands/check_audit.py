"""manage.py check_audit: proves that no entry of the audit log was changed or removed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.audit import problems
from accounts.models import AuditEntry


class Command(BaseCommand):
    help = "Check the audit log's chain of hashes; fails when an entry was changed or removed."

    def handle(self, **_options: Any) -> None:
        found = list(problems())
        for problem in found:
            self.stderr.write(problem)
        if found:
            raise CommandError(f"The audit log does not hold: {len(found)} problems.")
        count = AuditEntry.objects.count()
        last = AuditEntry.objects.order_by("-number").values_list("hash", flat=True).first()
        self.stdout.write(f"The audit log holds: {count} entries, last hash {last or '-'}.")
