"""Fills the demo: a provider, its catalogue, and a customer, a member of staff and an admin."""

from dataclasses import dataclass
from decimal import Decimal

from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group, Permission
from django.db import transaction

from accounts.models import User
from catalog.models import Provider, Service
from catalog.sync import sync_provider
from panel.demo import KEY
from wallet.errors import AlreadyPosted
from wallet.models import TopUpMethod
from wallet.services import top_up


@dataclass(frozen=True)
class Login:
    """Someone to sign in as, and what for."""

    role: str
    email: str
    password: str


CUSTOMER = Login("customer", "customer@example.com", "demo-customer")
STAFF = Login("staff", "staff@example.com", "demo-staff")
ADMIN = Login("admin", "admin@example.com", "demo-admin")
LOGINS = [CUSTOMER, STAFF, ADMIN]

_BALANCE = Decimal(100)
_STAFF_APPS = ["accounts", "wallet", "catalog", "orders", "panel"]


def seed(api_url: str) -> None:
    """Bring the demo's data up; what is there already, and what was changed by hand, stays."""
    _people()
    _top_up_method()
    provider = _provider(api_url)
    if not Service.objects.filter(provider=provider).exists():
        sync_provider(provider)


@transaction.atomic
def _people() -> None:
    customer = _person(CUSTOMER)
    staff = _person(STAFF, is_staff=True)
    _person(ADMIN, is_staff=True, is_superuser=True)
    staff.groups.add(_staff_group())
    try:
        with transaction.atomic():
            top_up(user=customer, amount=_BALANCE, note="Demo balance", reference="demo-balance")
    except AlreadyPosted:
        pass  # a later start of the same demo


def _person(login: Login, **flags: bool) -> User:
    user = User.objects.filter(email=login.email).first()
    if user is None:
        user = User.objects.create_user(login.email, login.password, **flags)
    EmailAddress.objects.get_or_create(
        user=user, email=user.email, defaults={"verified": True, "primary": True}
    )
    return user


def _top_up_method() -> None:
    TopUpMethod.objects.get_or_create(
        name="Bank transfer",
        defaults={
            "instructions": "This is a demo: say what you would have paid, and approve it as staff.",
            "percent": 2,
        },
    )


def _staff_group() -> Group:
    """Staff of the demo see everything, change orders and decide about top-ups; prices, providers and people they don't."""
    group, created = Group.objects.get_or_create(name="Staff")
    if created:
        ours = Permission.objects.filter(content_type__app_label__in=_STAFF_APPS)
        seeing = ours.filter(codename__startswith="view_")
        orders = ours.filter(content_type__app_label="orders", codename="change_order")
        top_ups = ours.filter(codename="decide_topuprequest")
        group.permissions.set([*seeing, *orders, *top_ups])
    return group


def _provider(api_url: str) -> Provider:
    """The simulated provider; it listens on another port after each start."""
    provider, _ = Provider.objects.update_or_create(
        name="Simulated provider", defaults={"url": api_url, "api_key": KEY}
    )
    return provider
