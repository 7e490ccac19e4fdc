from django.apps import AppConfig
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from panel.checks import register_checks
from panel.reporting import start_reporting


class PanelConfig(AppConfig):
    name = "panel"
    verbose_name = _("Operation")

    def ready(self) -> None:
        register_checks()
        start_reporting(settings.SENTRY_DSN)
