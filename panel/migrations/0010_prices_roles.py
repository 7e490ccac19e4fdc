"""The roles of staff, as groups: support, pricing and owner, and support's ceilings."""

from decimal import Decimal

from django.contrib.auth.management import create_permissions
from django.db import migrations

APPS = ("accounts", "auth", "wallet", "catalog", "orders", "panel")

SUPPORT = (
    "accounts.view_user", "accounts.look_at_customer",
    "catalog.view_category", "catalog.view_service",
    "orders.view_order", "orders.view_request", "orders.ask_provider", "orders.refund_order",
    "wallet.view_account", "wallet.view_entry", "wallet.view_approval", "wallet.top_up_account",
)
PRICING = (
    "catalog.view_bulkchange",
    "catalog.add_customergroup", "catalog.change_customergroup", "catalog.delete_customergroup",
    "catalog.view_customergroup",
    "catalog.add_groupmember", "catalog.change_groupmember", "catalog.delete_groupmember",
    "catalog.view_groupmember",
    "catalog.add_customerprice", "catalog.change_customerprice", "catalog.delete_customerprice",
    "catalog.view_customerprice",
    "catalog.change_category", "catalog.view_category",
    "catalog.change_heldchange", "catalog.view_heldchange",
    "catalog.change_service", "catalog.view_service",
    "catalog.change_siterules", "catalog.view_siterules",
    "catalog.sync_provider", "catalog.view_provider", "catalog.view_syncrun",
)
CEILINGS = {"refund": Decimal(50), "top_up": Decimal(200)}


def make_roles(apps, schema_editor):
    # Permissions are otherwise made after all migrations.
    for label in APPS:
        config = apps.get_app_config(label)
        config.models_module = True
        create_permissions(config, apps=apps, verbosity=0)
        config.models_module = None
    Group = apps.get_model("auth", "Group")
    Permission = apps.get_model("auth", "Permission")
    known = {
        f"{each.content_type.app_label}.{each.codename}": each
        for each in Permission.objects.select_related("content_type")
        if each.content_type.app_label in APPS
    }
    for name, wanted in (("Support", SUPPORT), ("Pricing", PRICING), ("Owner", known)):
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.add(*(known[permission] for permission in wanted))
    support = Group.objects.get(name="Support")
    apps.get_model("wallet", "Ceiling").objects.get_or_create(group=support, defaults=CEILINGS)


class Migration(migrations.Migration):
    dependencies = [
        ("panel", "0001_initial"),
        ("accounts", "0010_prices"),
        ("wallet", "0010_prices"),
        ("catalog", "0010_prices"),
        ("orders", "0010_prices"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="job",
            options={
                "ordering": ["name"], "permissions": [("run_job", "Can run a job now")],
                "verbose_name": "job", "verbose_name_plural": "jobs",
            },
        ),
        migrations.RunPython(make_roles, migrations.RunPython.noop),
    ]
