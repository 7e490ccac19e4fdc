import catalog.models
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import wallet.money
from decimal import Decimal
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0004_merge_0003_api_changed_at_0003_balance_sample'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='provider',
            options={'ordering': ['name'], 'permissions': [('sync_provider', "Can preview and apply a provider's list")], 'verbose_name': 'provider', 'verbose_name_plural': 'providers'},
        ),
        migrations.AddField(
            model_name='category',
            name='margin_min',
            field=catalog.models.Percent(blank=True, decimal_places=3, help_text='Of the price: at 20, at least a fifth of every price stays here.', max_digits=9, null=True, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(99)], verbose_name='minimum margin %'),
        ),
        migrations.AddField(
            model_name='category',
            name='markup_fixed',
            field=wallet.money.RateField(blank=True, decimal_places=7, help_text="Added to each price per 1000, in this site's currency.", max_digits=15, null=True, validators=[django.core.validators.MinValueValidator(0)], verbose_name='fixed markup'),
        ),
        migrations.AddField(
            model_name='category',
            name='rounding_step',
            field=wallet.money.RateField(blank=True, decimal_places=7, help_text='Prices are rounded up to a multiple of it, such as 0.05.', max_digits=15, null=True, validators=[django.core.validators.MinValueValidator(Decimal('1E-7'))], verbose_name='rounding step'),
        ),
        migrations.AddField(
            model_name='provider',
            name='hold_below_cost',
            field=models.BooleanField(default=True, verbose_name='hold when a pinned price falls below cost'),
        ),
        migrations.AddField(
            model_name='provider',
            name='hold_cost_up',
            field=catalog.models.Percent(blank=True, decimal_places=3, default=50, help_text='Such a change waits for someone, and the service is not sold meanwhile.', max_digits=9, null=True, validators=[django.core.validators.MinValueValidator(0)], verbose_name='hold when cost rises by more than %'),
        ),
        migrations.AddField(
            model_name='provider',
            name='hold_renamed',
            field=models.BooleanField(default=True, verbose_name='hold when the name is no longer recognisable'),
        ),
        migrations.AddField(
            model_name='provider',
            name='hold_retyped',
            field=models.BooleanField(default=True, verbose_name='hold when the type changes'),
        ),
        migrations.AddField(
            model_name='provider',
            name='hold_vanishing',
            field=catalog.models.Percent(blank=True, decimal_places=3, default=30, help_text='Of the services that could be sold before; someone may still apply it.', max_digits=9, null=True, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(100)], verbose_name='refuse a list that lacks more than %'),
        ),
        migrations.AddField(
            model_name='provider',
            name='loss_tolerance',
            field=catalog.models.Percent(blank=True, decimal_places=3, default=0, help_text='At 0 nothing is sold or sent whose cost reaches its price; at 5 the cost may be up to 5 % above it.', max_digits=9, null=True, validators=[django.core.validators.MinValueValidator(0)], verbose_name='tolerated loss %'),
        ),
        migrations.AddField(
            model_name='provider',
            name='margin_min',
            field=catalog.models.Percent(blank=True, decimal_places=3, help_text='Of the price: at 20, at least a fifth of every price stays here.', max_digits=9, null=True, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(99)], verbose_name='minimum margin %'),
        ),
        migrations.AddField(
            model_name='provider',
            name='markup_fixed',
            field=wallet.money.RateField(blank=True, decimal_places=7, help_text="Added to each price per 1000, in this site's currency.", max_digits=15, null=True, validators=[django.core.validators.MinValueValidator(0)], verbose_name='fixed markup'),
        ),
        migrations.AddField(
            model_name='provider',
            name='rounding_step',
            field=wallet.money.RateField(blank=True, decimal_places=7, help_text='Prices are rounded up to a multiple of it, such as 0.05.', max_digits=15, null=True, validators=[django.core.validators.MinValueValidator(Decimal('1E-7'))], verbose_name='rounding step'),
        ),
        migrations.AddField(
            model_name='provider',
            name='sync_categories',
            field=models.BooleanField(default=True, verbose_name='categories follow the provider'),
        ),
        migrations.AddField(
            model_name='provider',
            name='sync_descriptions',
            field=models.BooleanField(default=True, verbose_name='descriptions follow the provider'),
        ),
        migrations.AddField(
            model_name='provider',
            name='sync_flags',
            field=models.BooleanField(default=True, verbose_name='refill, cancel and drip-feed follow the provider'),
        ),
        migrations.AddField(
            model_name='provider',
            name='sync_limits',
            field=models.BooleanField(default=True, verbose_name='limits follow the provider'),
        ),
        migrations.AddField(
            model_name='provider',
            name='sync_names',
            field=models.BooleanField(default=True, verbose_name='names follow the provider'),
        ),
        migrations.AddField(
            model_name='service',
            name='keeps_category',
            field=models.BooleanField(default=False, help_text="Whatever category the provider's list names.", verbose_name='stays in its category'),
        ),
        migrations.AddField(
            model_name='service',
            name='listed_cost_rate',
            field=wallet.money.RateField(decimal_places=7, editable=False, max_digits=15, null=True, verbose_name='cost rate as listed now'),
        ),
        migrations.AddField(
            model_name='service',
            name='margin_min',
            field=catalog.models.Percent(blank=True, decimal_places=3, help_text='Of the price: at 20, at least a fifth of every price stays here.', max_digits=9, null=True, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(99)], verbose_name='minimum margin %'),
        ),
        migrations.AddField(
            model_name='service',
            name='markup_fixed',
            field=wallet.money.RateField(blank=True, decimal_places=7, help_text="Added to each price per 1000, in this site's currency.", max_digits=15, null=True, validators=[django.core.validators.MinValueValidator(0)], verbose_name='fixed markup'),
        ),
        migrations.AddField(
            model_name='service',
            name='rounding_step',
            field=wallet.money.RateField(blank=True, decimal_places=7, help_text='Prices are rounded up to a multiple of it, such as 0.05.', max_digits=15, null=True, validators=[django.core.validators.MinValueValidator(Decimal('1E-7'))], verbose_name='rounding step'),
        ),
        migrations.AddField(
            model_name='service',
            name='set_aside',
            field=models.CharField(blank=True, editable=False, max_length=32),
        ),
        migrations.AddField(
            model_name='syncrun',
            name='held',
            field=models.IntegerField(default=0, verbose_name='held'),
        ),
        migrations.CreateModel(
            name='BulkChange',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('title', models.CharField(max_length=200, verbose_name='what')),
                ('rows', models.JSONField(default=list, verbose_name='rows')),
                ('problems', models.JSONField(default=list, verbose_name='problems')),
                ('planned_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='planned')),
                ('applied_at', models.DateTimeField(null=True, verbose_name='applied')),
                ('undone_at', models.DateTimeField(null=True, verbose_name='undone')),
                ('actor', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='who')),
            ],
            options={
                'verbose_name': 'bulk change',
                'verbose_name_plural': 'bulk changes',
                'ordering': ['-pk'],
            },
        ),
        migrations.CreateModel(
            name='CustomerGroup',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True, verbose_name='name')),
                ('discount_percent', models.DecimalField(decimal_places=3, default=0, max_digits=6, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(100)], verbose_name='discount %')),
                ('may_undercut', models.BooleanField(default=False, help_text='Even below cost. Such prices are marked.', verbose_name='may fall below the minimum margin')),
            ],
            options={
                'verbose_name': 'customer group',
                'verbose_name_plural': 'customer groups',
                'ordering': ['name'],
                'constraints': [models.CheckConstraint(condition=models.Q(('discount_percent__gte', 0), ('discount_percent__lt', 100)), name='customer_group_discount_is_part')],
            },
        ),
        migrations.CreateModel(
            name='CustomerPrice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('rate', wallet.money.RateField(decimal_places=7, max_digits=15, validators=[django.core.validators.MinValueValidator(Decimal('1E-7'))], verbose_name='price per 1000')),
                ('may_undercut', models.BooleanField(default=False, help_text='Even below cost. Such prices are marked.', verbose_name='may fall below the minimum margin')),
                ('customer', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='customer')),
                ('service', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='customer_prices', to='catalog.service', verbose_name='service')),
            ],
            options={
                'verbose_name': 'customer price',
                'verbose_name_plural': 'customer prices',
                'ordering': ['-pk'],
            },
        ),
        migrations.CreateModel(
            name='ExchangeRate',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='when')),
                ('old', wallet.money.RateField(decimal_places=7, max_digits=15, null=True, verbose_name='from')),
                ('new', wallet.money.RateField(decimal_places=7, max_digits=15, verbose_name='to')),
                ('actor', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='who')),
                ('provider', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='exchange_rates', to='catalog.provider', verbose_name='provider')),
            ],
            options={
                'verbose_name': 'change of an exchange rate',
                'verbose_name_plural': 'changes of exchange rates',
                'ordering': ['-pk'],
            },
        ),
        migrations.CreateModel(
            name='GroupMember',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('customer', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='group_member', to=settings.AUTH_USER_MODEL, verbose_name='customer')),
                ('group', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='members', to='catalog.customergroup', verbose_name='customer group')),
            ],
            options={
                'verbose_name': 'member',
                'verbose_name_plural': 'members',
            },
        ),
        migrations.CreateModel(
            name='HeldChange',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('reasons', models.JSONField(verbose_name='because')),
                ('fields', models.JSONField(verbose_name='changes')),
                ('facts', models.JSONField(default=list, editable=False)),
                ('was_held', models.BooleanField(default=False, editable=False)),
                ('state', models.CharField(choices=[('open', 'waiting'), ('accepted', 'accepted'), ('ignored', 'ignored'), ('outdated', 'outdated')], default='open', max_length=8, verbose_name='state')),
                ('found_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='found')),
                ('decided_at', models.DateTimeField(null=True, verbose_name='decided')),
                ('decided_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='by')),
                ('run', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='held_changes', to='catalog.syncrun', verbose_name='sync')),
                ('service', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='held_changes', to='catalog.service', verbose_name='service')),
            ],
            options={
                'verbose_name': 'held change',
                'verbose_name_plural': 'held changes',
                'ordering': ['-pk'],
            },
        ),
        migrations.CreateModel(
            name='ServiceChange',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='when')),
                ('fields', models.JSONField(verbose_name='changes')),
                ('actor', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='who')),
                ('bulk', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='changes', to='catalog.bulkchange', verbose_name='bulk change')),
                ('run', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='changes', to='catalog.syncrun', verbose_name='sync')),
                ('service', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='changes', to='catalog.service', verbose_name='service')),
            ],
            options={
                'verbose_name': 'change of a service',
                'verbose_name_plural': 'history of services',
                'ordering': ['-pk'],
            },
        ),
        migrations.CreateModel(
            name='SiteRules',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('markup_percent', catalog.models.Percent(blank=True, decimal_places=3, max_digits=9, null=True, validators=[django.core.validators.MinValueValidator(0)], verbose_name='markup %')),
                ('markup_fixed', wallet.money.RateField(blank=True, decimal_places=7, help_text="Added to each price per 1000, in this site's currency.", max_digits=15, null=True, validators=[django.core.validators.MinValueValidator(0)], verbose_name='fixed markup')),
                ('margin_min', catalog.models.Percent(blank=True, decimal_places=3, help_text='Of the price: at 20, at least a fifth of every price stays here.', max_digits=9, null=True, validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(99)], verbose_name='minimum margin %')),
                ('rounding_step', wallet.money.RateField(blank=True, decimal_places=7, help_text='Prices are rounded up to a multiple of it, such as 0.05.', max_digits=15, null=True, validators=[django.core.validators.MinValueValidator(Decimal('1E-7'))], verbose_name='rounding step')),
            ],
            options={
                'verbose_name': 'price rules',
                'verbose_name_plural': 'price rules',
                'constraints': [models.CheckConstraint(condition=models.Q(('pk', 1)), name='site_rules_one_row')],
            },
        ),
        migrations.AddConstraint(
            model_name='bulkchange',
            constraint=models.CheckConstraint(condition=models.Q(('undone_at__isnull', True), ('applied_at__isnull', False), _connector='OR'), name='bulk_change_applied_before_undone'),
        ),
        migrations.AddConstraint(
            model_name='customerprice',
            constraint=models.UniqueConstraint(fields=('customer', 'service'), name='customer_price_once_per_service'),
        ),
        migrations.AddConstraint(
            model_name='customerprice',
            constraint=models.CheckConstraint(condition=models.Q(('rate__gt', 0)), name='customer_price_positive'),
        ),
        migrations.AddIndex(
            model_name='heldchange',
            index=models.Index(condition=models.Q(('state', 'open')), fields=['-id'], name='held_change_open'),
        ),
        migrations.AddConstraint(
            model_name='heldchange',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'open')), fields=('service',), name='held_change_one_open'),
        ),
        migrations.AddIndex(
            model_name='servicechange',
            index=models.Index(fields=['service', '-id'], name='change_of_service'),
        ),
        migrations.AddIndex(
            model_name='servicechange',
            index=models.Index(fields=['at'], name='change_by_age'),
        ),
    ]
