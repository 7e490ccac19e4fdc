import django.db.models.deletion
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0022_refill_rules'),
        ('orders', '0022_retention_mark'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='BulkRow',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(choices=[('waiting', 'waiting'), ('asking', 'asking the provider'), ('done', 'done'), ('failed', 'not done'), ('stopped', 'stopped before its turn')], default='waiting', max_length=8, verbose_name='state')),
                ('owner', models.CharField(blank=True, editable=False, max_length=32)),
                ('result', models.CharField(blank=True, max_length=300, verbose_name='result')),
                ('done_at', models.DateTimeField(null=True, verbose_name='when')),
            ],
            options={
                'verbose_name': 'result of a bulk action',
                'verbose_name_plural': 'results of bulk actions',
                'ordering': ['pk'],
            },
        ),
        migrations.CreateModel(
            name='BulkRun',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('token', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('action', models.CharField(choices=[('check', 'Check now'), ('refill', 'Request refills'), ('cancel', 'Cancel orders'), ('refund', 'Refund'), ('counts', 'Set counts'), ('settle', 'Settle by hand')], max_length=10, verbose_name='action')),
                ('parameters', models.JSONField(default=dict, verbose_name='parameters')),
                ('reason', models.CharField(blank=True, max_length=300, verbose_name='reason')),
                ('address', models.CharField(blank=True, editable=False, max_length=45)),
                ('total', models.IntegerField(default=0, verbose_name='orders')),
                ('done', models.IntegerField(default=0, verbose_name='done')),
                ('failed', models.IntegerField(default=0, verbose_name='not done')),
                ('owner', models.CharField(blank=True, editable=False, max_length=32)),
                ('lease_until', models.DateTimeField(editable=False, null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='started')),
                ('finished_at', models.DateTimeField(editable=False, null=True, verbose_name='ended')),
            ],
            options={
                'verbose_name': 'bulk action',
                'verbose_name_plural': 'bulk actions',
                'ordering': ['-pk'],
            },
        ),
        migrations.AlterModelOptions(
            name='request',
            options={'ordering': ['-pk'], 'permissions': [('decide_refill', 'Can approve or refuse a refill request')], 'verbose_name': 'refill or cancel request', 'verbose_name_plural': 'refill and cancel requests'},
        ),
        migrations.RemoveConstraint(
            model_name='request',
            name='request_one_open_per_order',
        ),
        migrations.AddField(
            model_name='request',
            name='reason',
            field=models.CharField(blank=True, max_length=300, verbose_name='reason'),
        ),
        migrations.AlterField(
            model_name='request',
            name='state',
            field=models.CharField(choices=[('asked', 'waiting for staff'), ('queued', 'requested'), ('sending', 'sending'), ('accepted', 'at the provider'), ('completed', 'completed'), ('rejected', 'refused'), ('unknown', 'unconfirmed')], default='queued', max_length=10, verbose_name='state'),
        ),
        migrations.AddIndex(
            model_name='request',
            index=models.Index(condition=models.Q(('state', 'asked')), fields=['-id'], name='request_asked'),
        ),
        migrations.AddConstraint(
            model_name='request',
            constraint=models.UniqueConstraint(condition=models.Q(('state__in', ['asked', 'queued', 'sending', 'accepted', 'unknown'])), fields=('order', 'kind'), name='request_one_open_per_order'),
        ),
        migrations.AddField(
            model_name='bulkrow',
            name='order',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='bulk_rows', to='orders.order', verbose_name='order'),
        ),
        migrations.AddField(
            model_name='bulkrun',
            name='started_by',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='bulk_runs', to=settings.AUTH_USER_MODEL, verbose_name='started by'),
        ),
        migrations.AddField(
            model_name='bulkrun',
            name='stopped_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='stopped by'),
        ),
        migrations.AddField(
            model_name='bulkrow',
            name='run',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rows', to='orders.bulkrun', verbose_name='run'),
        ),
        migrations.AddIndex(
            model_name='bulkrun',
            index=models.Index(condition=models.Q(('finished_at__isnull', True)), fields=['id'], name='bulk_run_open'),
        ),
        migrations.AddIndex(
            model_name='bulkrow',
            index=models.Index(condition=models.Q(('done_at__isnull', True)), fields=['run', 'id'], name='bulk_row_waiting'),
        ),
        migrations.AddConstraint(
            model_name='bulkrow',
            constraint=models.UniqueConstraint(fields=('run', 'order'), name='bulk_row_once_per_order'),
        ),
        migrations.AddConstraint(
            model_name='bulkrow',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('done_at__isnull', True), ('state__in', ['waiting', 'asking'])), models.Q(('done_at__isnull', False), ('state__in', ['done', 'failed', 'stopped'])), _connector='OR'), name='bulk_row_done_has_time'),
        ),
    ]
