import django.db.models.deletion
from django.conf import settings
from django.db import DatabaseError, migrations, models, transaction


def index_links(apps, schema_editor):
    """Let PostgreSQL find a part of a link; without its extension a search reads more, and finds the same."""
    if schema_editor.connection.vendor != "postgresql":
        return
    try:
        # Trusted since PostgreSQL 13: the database's owner may create it.
        with transaction.atomic(using=schema_editor.connection.alias):
            schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except DatabaseError:
        return
    # The expression is what Django's icontains compares.
    schema_editor.execute(
        "CREATE INDEX IF NOT EXISTS order_by_part_of_link ON orders_order "
        "USING gin (UPPER(link) gin_trgm_ops)"
    )


def forget_links(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX IF EXISTS order_by_part_of_link")


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0020_panel2'),
        ('orders', '0024_one_table_of_times'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='order',
            name='order_of_customer_by_status',
        ),
        migrations.AlterField(
            model_name='order',
            name='customer',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='orders', to=settings.AUTH_USER_MODEL, verbose_name='customer'),
        ),
        migrations.AlterField(
            model_name='order',
            name='parent',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='children', to='orders.order', verbose_name='part of'),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('parent__isnull', True)), fields=['customer', 'status', '-id'], name='order_of_customer_by_status'),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(fields=['customer', 'service', '-id'], name='order_of_customer_by_service'),
        ),
        migrations.RunPython(index_links, forget_links),
    ]
