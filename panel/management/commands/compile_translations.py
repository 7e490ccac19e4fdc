from typing import Any

from django.core.management.base import BaseCommand

from panel.translations import compile_all


class Command(BaseCommand):
    help = "Compile the translations; the compiled files are not in the repository."

    def handle(self, *, verbosity: int = 1, **_options: Any) -> None:
        compiled = compile_all()
        if verbosity:
            self.stdout.write(f"{compiled} catalogues compiled")
