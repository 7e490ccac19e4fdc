import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_api_keys'),
    ]

    operations = [
        migrations.CreateModel(
            name='AuditHead',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.BigIntegerField(default=0)),
                ('hash', models.CharField(blank=True, max_length=64)),
            ],
            options={
                'verbose_name': 'end of the audit log',
                'verbose_name_plural': 'ends of the audit log',
            },
        ),
        migrations.AlterModelOptions(
            name='user',
            options={'permissions': [('hand_out_rights', 'Can make people staff and give them roles'), ('look_at_customer', "Can look at a customer's pages")], 'verbose_name': 'user', 'verbose_name_plural': 'users'},
        ),
        migrations.CreateModel(
            name='AuditEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.BigIntegerField(unique=True, verbose_name='number')),
                ('at', models.DateTimeField(verbose_name='when')),
                ('action', models.CharField(max_length=200, verbose_name='what')),
                ('target', models.CharField(blank=True, max_length=200, verbose_name='on what')),
                ('details', models.JSONField(default=dict, verbose_name='details')),
                ('address', models.CharField(blank=True, max_length=45, verbose_name='from where')),
                ('previous_hash', models.CharField(blank=True, max_length=64)),
                ('hash', models.CharField(max_length=64, verbose_name='hash')),
                ('actor', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='who')),
            ],
            options={
                'verbose_name': 'audit entry',
                'verbose_name_plural': 'audit log',
                'ordering': ['-number'],
            },
        ),
    ]
