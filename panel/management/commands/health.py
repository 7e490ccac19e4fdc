from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from panel.health import node_problem, web_problem

PROBLEM: dict[str, Callable[[], str]] = {
    "web": web_problem,
    "worker": partial(node_problem, "celery"),
    "beat": partial(node_problem, "celerybeat"),
}


class Command(BaseCommand):
    help = "Exit 0 when the process of that kind on this machine is alive, 1 and a sentence if not."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("process", choices=sorted(PROBLEM))

    def handle(self, *, process: str, **_options: Any) -> None:
        if problem := PROBLEM[process]():
            raise CommandError(problem)
        self.stdout.write("ok")
