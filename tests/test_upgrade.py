"""A database of the previous release, with money in it, is brought up to date and still adds up."""

import subprocess
from pathlib import Path

import pytest

from tests.processes import PYTHON, ROOT, clean_environment, manage

# The last migration of each app in the previous release.
PREVIOUS = {
    "accounts": "0001_initial",
    "wallet": "0001_initial",
    "catalog": "0001_initial",
    "orders": "0001_initial",
    "panel": "0001_initial",
}
_FILL = """
import uuid
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django.db.migrations.executor import MigrationExecutor
for app, migration in PREVIOUS.items():
    call_command("migrate", app, migration, verbosity=0)
apps = MigrationExecutor(connection).loader.project_state(list(PREVIOUS.items())).apps
DUE = timezone.now()
def make(model, **values):
    return apps.get_model(model).objects.create(**values)
user = make("accounts.User", email="someone@example.com", password="!")
account = make("wallet.Account", user=user, balance="5")
make("wallet.Entry", account=account, kind="top_up", amount="10", balance_after="10", reference="a")
make("wallet.Entry", account=account, kind="charge", amount="-2", balance_after="8",
     reference="order-1", order_number=1)
make("wallet.Entry", account=account, kind="charge", amount="-3", balance_after="5",
     reference="order-2", order_number=2)
provider = make("catalog.Provider", name="Upstream", url="https://example.com/api/v2", api_key="k")
service = make("catalog.Service", provider=provider, upstream_id="1", name="Followers",
    category=make("catalog.Category", name="A"), order_type="default", cost_rate=1, price_rate=2,
    max_quantity=10000)
agreed = dict(customer=user, service=service, provider=provider, order_type="default",
    link="https://example.com/a", quantity=1000, price_rate=2, cost=1, exchange_rate=1,
    expected_charge=1)
make("orders.Order", pk=1, charge=2, client_token=uuid.uuid4(), **agreed)
make("orders.Order", pk=2, charge=3, client_token=uuid.uuid4(), dispatch="accepted",
    upstream_id="7", sent_at=DUE, next_poll_at=DUE, **agreed)
"""
_TELL = """
from django.core.management import call_command
from catalog.models import Provider
from orders.models import Order
from orders.poll_models import Poll
from wallet.models import Account
print(Provider.objects.get().api_key, Order.objects.get(pk=1).charge.normalize(),
      Account.objects.get().balance.normalize(), *Poll.objects.values_list("order"), flush=True)
call_command("migrate", "--plan", no_color=True)
"""


def run_python(site: dict[str, str], program: str) -> str:
    done = subprocess.run(
        [PYTHON, "-c", f"import django; django.setup()\nPREVIOUS = {PREVIOUS}\n{program}"],
        env=clean_environment({**site, "DJANGO_SETTINGS_MODULE": "panel.settings"}),
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.timeout(180)
def test_the_previous_releases_data_is_there_after_setup_and_adds_up(tmp_path: Path) -> None:
    site = {"VAR_DIR": str(tmp_path), "SECRET_KEY": "s" * 50, "REDIS_URL": "",
            "DATABASE_URL": f"sqlite:///{tmp_path}/panel.sqlite3"}  # fmt: skip
    run_python(site, _FILL)

    upgraded = manage("setup", environment=site)

    assert upgraded.returncode == 0, upgraded.stderr
    told, _, plan = run_python(site, _TELL).partition("\n")
    assert told == "k 2 5 (2,)"
    assert "No planned" in plan
    audit = manage("check_ledger", environment=site)
    assert audit.returncode == 0, audit.stdout + audit.stderr
