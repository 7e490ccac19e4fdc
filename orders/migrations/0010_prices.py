from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0010_prices'),
        ('orders', '0004_reconcile'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='order',
            name='may_lose',
            field=models.BooleanField(default=False, editable=False, verbose_name='may be a loss'),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('status', 'completed'), ('upstream_charge__gt', models.F('expected_charge'))), fields=['-id'], name='order_charged_more'),
        ),
    ]
