from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0021_history_in_audit_log'),
    ]

    operations = [
        migrations.AddField(
            model_name='provider',
            name='refills_by_staff',
            field=models.BooleanField(default=False, help_text='For a provider that has no automatic refill, or whose refills you approve.', verbose_name='refills wait for staff'),
        ),
        migrations.AddField(
            model_name='service',
            name='refill_by',
            field=models.CharField(blank=True, choices=[('itself', 'go to the provider by themselves'), ('staff', 'wait for staff')], default='', max_length=8, verbose_name='refills'),
        ),
        migrations.AddField(
            model_name='service',
            name='refill_days',
            field=models.PositiveIntegerField(blank=True, help_text="After the order's end; 0: for ever. Empty: the site's rule.", null=True, verbose_name='refill within (days)'),
        ),
        migrations.AddField(
            model_name='service',
            name='refill_every_hours',
            field=models.PositiveIntegerField(blank=True, help_text="Empty: the site's rule.", null=True, verbose_name='hours between refills'),
        ),
    ]
