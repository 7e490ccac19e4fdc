import django.db.models.deletion
import django.utils.timezone
import uuid
import wallet.money
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
        ('wallet', '0002_admin_permissions'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Approval',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('refund', 'refund'), ('top_up', 'top-up'), ('adjustment', 'adjustment')], max_length=12, verbose_name='type')),
                ('order_number', models.BigIntegerField(null=True, verbose_name='order')),
                ('amount', wallet.money.MoneyField(decimal_places=6, max_digits=15, verbose_name='amount')),
                ('reason', models.CharField(blank=True, max_length=300, verbose_name='reason')),
                ('token', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('state', models.CharField(choices=[('open', 'waiting'), ('approved', 'approved'), ('refused', 'refused')], default='open', max_length=8, verbose_name='state')),
                ('requested_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='asked')),
                ('decided_at', models.DateTimeField(null=True, verbose_name='decided')),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='approvals', to='wallet.account', verbose_name='wallet')),
                ('decided_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='decided by')),
                ('requested_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='asked by')),
            ],
            options={
                'verbose_name': 'approval',
                'verbose_name_plural': 'approvals',
                'ordering': ['-pk'],
                'indexes': [models.Index(condition=models.Q(('state', 'open')), fields=['-id'], name='approval_open')],
                'constraints': [models.CheckConstraint(condition=models.Q(('amount__gt', 0)), name='approval_amount_positive'), models.CheckConstraint(condition=models.Q(('decided_by__isnull', True), models.Q(('decided_by', models.F('requested_by')), _negated=True), _connector='OR'), name='approval_by_a_second_person')],
            },
        ),
        migrations.CreateModel(
            name='Ceiling',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('refund', wallet.money.MoneyField(blank=True, decimal_places=6, help_text='Of one order in all. Above it a second person approves.', max_digits=15, null=True, verbose_name='refund ceiling')),
                ('top_up', wallet.money.MoneyField(blank=True, decimal_places=6, help_text='Of one person within 24 hours. Above it a second person approves.', max_digits=15, null=True, verbose_name='top-up ceiling')),
                ('group', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='ceiling', to='auth.group', verbose_name='group')),
            ],
            options={
                'verbose_name': 'ceiling',
                'verbose_name_plural': 'ceilings',
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('refund__isnull', True), ('refund__gte', 0), _connector='OR'), models.Q(('top_up__isnull', True), ('top_up__gte', 0), _connector='OR')), name='ceiling_not_negative')],
            },
        ),
    ]
