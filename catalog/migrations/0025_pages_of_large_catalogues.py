from django.db import DatabaseError, migrations, models, transaction


def index_names(apps, schema_editor):
    """Let PostgreSQL find a part of a name; without its extension a search reads more, and finds the same."""
    if schema_editor.connection.vendor != "postgresql":
        return
    try:
        # Trusted since PostgreSQL 13: the database's owner may create it.
        with transaction.atomic(using=schema_editor.connection.alias):
            schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except DatabaseError:
        return
    # The expression is what `catalog.shelves.is_named` compares.
    schema_editor.execute(
        "CREATE INDEX IF NOT EXISTS service_by_part_of_name ON catalog_service "
        "USING gin (UPPER(COALESCE(NULLIF(own_name, ''), name)) gin_trgm_ops)"
    )


def forget_names(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX IF EXISTS service_by_part_of_name")


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0024_status_budget'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='service',
            index=models.Index(condition=models.Q(('is_held', False), ('is_present', True), ('is_sold', True), ('refusal', '')), fields=['price_rate', 'id'], name='service_sold_by_price'),
        ),
        migrations.RunPython(index_names, forget_names),
    ]
