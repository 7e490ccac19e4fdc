"""The admin, whose pages are loaded when a page is wanted and not in every process."""

from typing import Any

from django.contrib.admin import autodiscover
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core.checks import CheckMessage, Tags, register


class AdminOnDemand(SimpleAdminConfig):
    """Leaves it to `panel.urls` to load the pages: a worker and beat never draw one.

    That is ten megabytes of each of the two, and a fifth of their start.
    """

    def ready(self) -> None:
        register(check_dependencies, Tags.admin)
        register(check_pages, Tags.admin)


def check_pages(**options: Any) -> list[CheckMessage]:
    """Django's own check of what is registered, after everything is."""
    autodiscover()
    return check_admin_app(**options)
