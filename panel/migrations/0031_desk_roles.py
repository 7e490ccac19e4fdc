"""What the roles may do at the desk; an owner may do all that there is by now."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

APPS = ("accounts", "auth", "wallet", "catalog", "orders", "panel")
SUPPORT = (
    "orders.view_bulkrun", "orders.view_bulkrow", "orders.decide_refill",
    "wallet.view_topuprequest", "wallet.decide_topuprequest",
)


def extend_roles(apps, schema_editor):
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
    for name, wanted in (("Support", SUPPORT), ("Owner", known)):
        # A role that somebody has deleted stays deleted.
        for group in Group.objects.filter(name=name):
            group.permissions.add(*(known[permission] for permission in wanted))


class Migration(migrations.Migration):
    dependencies = [
        ("panel", "0030_ops_alert"),
        ("accounts", "0020_panel2"),
        ("wallet", "0021_desk_approvals"),
        ("catalog", "0022_refill_rules"),
        ("orders", "0023_desk_runs_and_refills"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [migrations.RunPython(extend_roles, migrations.RunPython.noop)]
