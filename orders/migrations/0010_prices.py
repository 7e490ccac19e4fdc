from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0004_reconcile'),
    ]

    operations = [
        migrations.AddField(
            model_name='order',
            name='may_lose',
            field=models.BooleanField(default=False, editable=False, verbose_name='may be a loss'),
        ),
    ]
