from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _

from catalog.triggers import install_triggers


class CatalogConfig(AppConfig):
    name = "catalog"
    verbose_name = _("Catalogue")

    def ready(self) -> None:
        # As the ledger's (wallet/apps.py): SQLite loses triggers when a migration alters a table.
        post_migrate.connect(install_triggers, sender=self)
