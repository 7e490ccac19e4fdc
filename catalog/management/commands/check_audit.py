"""manage.py check_audit: proves that nothing of the audit log or the price history was changed or removed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import audit
from accounts.models import AuditEntry
from catalog import chained


class Command(BaseCommand):
    help = (
        "Check the audit log's chain of hashes and the price history that it vouches for; fails "
        "when an entry or a change of a service was altered or removed."
    )

    def handle(self, **_options: Any) -> None:
        found = [*audit.problems(), *chained.problems()]
        for problem in found:
            self.stderr.write(problem)
        if found:
            raise CommandError(f"The audit log does not hold: {len(found)} problems.")
        count = AuditEntry.objects.count()
        last = AuditEntry.objects.order_by("-number").values_list("hash", flat=True).first()
        self.stdout.write(f"The audit log holds: {count} entries, last hash {last or '-'}.")
