import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('wallet', '0020_panel2'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='approval',
            name='parameters',
            field=models.JSONField(default=dict, editable=False, verbose_name='parameters'),
        ),
        migrations.AddField(
            model_name='approval',
            name='seen_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='seen to'),
        ),
        migrations.AddField(
            model_name='approval',
            name='top_up_request',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='approvals', to='wallet.topuprequest', verbose_name='top-up request'),
        ),
        migrations.AlterField(
            model_name='approval',
            name='kind',
            field=models.CharField(choices=[('refund', 'refund'), ('top_up', 'top-up'), ('adjustment', 'adjustment'), ('settlement', 'settlement by hand')], max_length=12, verbose_name='type'),
        ),
        migrations.AddIndex(
            model_name='approval',
            index=models.Index(condition=models.Q(('seen_at__isnull', True), ('state', 'refused')), fields=['-id'], name='approval_refused'),
        ),
        migrations.AddConstraint(
            model_name='approval',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'open')), fields=('top_up_request',), name='approval_one_open_per_request'),
        ),
    ]
