import django.db.models.deletion
from django.db import migrations, models

# One statement each way for however many orders. Only those that are followed are asked about.
COPY = """
INSERT INTO orders_poll (order_id, provider_id, due_at, asked_at)
SELECT id, provider_id, next_poll_at, polled_at
FROM orders_order
WHERE next_poll_at IS NOT NULL
    AND dispatch IN ('accepted', 'child')
    AND status IN ('pending', 'processing', 'in_progress')
"""
COPY_BACK = """
UPDATE orders_order
SET next_poll_at = orders_poll.due_at, polled_at = orders_poll.asked_at
FROM orders_poll
WHERE orders_poll.order_id = orders_order.id
"""


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0025_pages_of_large_catalogues'),
        ('orders', '0026_rules_of_cost_and_requests'),
    ]

    operations = [
        migrations.CreateModel(
            name='Poll',
            fields=[
                ('order', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='poll', serialize=False, to='orders.order')),
                ('provider', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='catalog.provider')),
                ('due_at', models.DateTimeField()),
                ('asked_at', models.DateTimeField(null=True)),
            ],
            options={
                'indexes': [models.Index(fields=['provider', 'due_at', 'order'], name='poll_due')],
            },
        ),
        migrations.RunSQL(COPY, COPY_BACK),
        migrations.RemoveIndex(
            model_name='order',
            name='order_to_poll',
        ),
        migrations.RemoveField(
            model_name='order',
            name='next_poll_at',
        ),
        migrations.RemoveField(
            model_name='order',
            name='polled_at',
        ),
    ]
