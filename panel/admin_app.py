"""The admin, whose pages are loaded when a page is wanted and not in every process."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from django.contrib.admin import autodiscover
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core.checks import CheckMessage, Tags, register

_FIELDS_OF_POSTGRES = "django.contrib.postgres.fields"


class AdminOnDemand(SimpleAdminConfig):
    """Leaves it to `panel.urls` to load the pages: a worker and beat never draw one.

    That is ten megabytes of each of the two, and a fifth of their start.
    """

    def ready(self) -> None:
        _load_overrides()
        register(check_dependencies, Tags.admin)
        register(check_pages, Tags.admin)


def check_pages(**options: Any) -> list[CheckMessage]:
    """Django's own check of what is registered, after everything is."""
    autodiscover()
    return check_admin_app(**options)


def _load_overrides() -> None:
    """Load what looks whether there are fields of PostgreSQL's own, and find that there are none.

    No model has one, and loading them loads psycopg: nine megabytes of a process on SQLite. An
    ImportError is an answer that it is prepared for.
    """
    with _hidden(_FIELDS_OF_POSTGRES):
        import_module("unfold.overrides")


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Let imports of a module that isn't loaded yet fail."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
