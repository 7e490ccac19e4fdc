import django.db.models.deletion
import django.utils.timezone
import wallet.money
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0010_prices'),
        ('orders', '0006_faults_database_clock'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='DailySales',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField(verbose_name='day')),
                ('part', models.CharField(choices=[('site', 'site'), ('service', 'service'), ('category', 'category'), ('provider', 'provider'), ('customer', 'customer')], max_length=8, verbose_name='part')),
                ('key', models.BigIntegerField(default=0)),
                ('orders', models.IntegerField(verbose_name='orders')),
                ('revenue', wallet.money.MoneyField(decimal_places=6, max_digits=15, verbose_name='revenue')),
                ('refunds', wallet.money.MoneyField(decimal_places=6, max_digits=15, verbose_name='refunds')),
                ('cost', wallet.money.MoneyField(decimal_places=6, max_digits=15, verbose_name='cost')),
            ],
            options={
                'verbose_name': "day's sales",
                'verbose_name_plural': 'daily sales',
            },
        ),
        migrations.CreateModel(
            name='SalesMark',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('entry_id', models.BigIntegerField(default=0)),
            ],
            options={
                'verbose_name': 'mark of the daily sales',
                'verbose_name_plural': 'marks of the daily sales',
            },
        ),
        migrations.CreateModel(
            name='ServiceTiming',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sample', models.IntegerField(verbose_name='orders')),
                ('median', models.DurationField(verbose_name='median')),
                ('p95', models.DurationField(verbose_name='95 %')),
                ('updated_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='reckoned')),
            ],
            options={
                'verbose_name': "service's time",
                'verbose_name_plural': "services' times",
            },
        ),
        migrations.AddField(
            model_name='order',
            name='may_lose',
            field=models.BooleanField(default=False, editable=False, verbose_name='may be a loss'),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(fields=['created_at'], name='order_by_day'),
        ),
        migrations.AddIndex(
            model_name='order',
            index=models.Index(condition=models.Q(('status', 'completed'), ('upstream_charge__gt', models.F('expected_charge'))), fields=['-id'], name='order_charged_more'),
        ),
        migrations.AddConstraint(
            model_name='dailysales',
            constraint=models.UniqueConstraint(fields=('part', 'day', 'key'), name='daily_sales_once'),
        ),
        migrations.AddField(
            model_name='servicetiming',
            name='service',
            field=models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='timing', to='catalog.service', verbose_name='service'),
        ),
    ]
