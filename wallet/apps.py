from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _

from wallet.triggers import install_triggers


class WalletConfig(AppConfig):
    name = "wallet"
    verbose_name = _("Wallets")

    def ready(self) -> None:
        # The one signal of the project, here and in catalog: Django re-creates a table on SQLite when a
        # migration alters it and silently drops its triggers, so they are put back after every `migrate`.
        post_migrate.connect(install_triggers, sender=self)
