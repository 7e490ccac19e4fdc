from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from panel.checks import register_checks


class PanelConfig(AppConfig):
    name = "panel"
    verbose_name = _("Operation")

    def ready(self) -> None:
        register_checks()
