"""Back up, lose everything, restore: the same ledger, and nothing is sent twice."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from panel import env
from tests.processes import PYTHON, ROOT, clean_environment, manage

_FILL = """
import uuid
from decimal import Decimal
from accounts.models import User
from catalog.models import Category, Provider, Service
from orders.services import place_order
from wallet.services import top_up
user = User.objects.create_user("someone@example.com", "a-Long-passw0rd")
top_up(user=user, amount=Decimal(10), reference="first")
provider = Provider.objects.create(name="Upstream", url="http://127.0.0.1:9/api/v2", api_key="k")
service = Service.objects.create(provider=provider, category=Category.objects.create(name="A"),
    upstream_id="1", name="Followers", type="Default", order_type="default", cost_rate=1,
    price_rate=2, min_quantity=10, max_quantity=10000)
for number in range(3):
    place_order(customer=user, service=service, client_token=uuid.uuid4(), allow_duplicate=True,
        values={"link": f"https://example.com/{number}", "quantity": "1000"})
"""
_TELL = """
from wallet.models import Account, Entry
from orders.models import Order
print("ledger", [(e.pk, e.kind, str(e.amount), str(e.balance_after)) for e in Entry.objects.order_by("pk")],
      [str(a.balance) for a in Account.objects.all()], [str(o.charge) for o in Order.objects.all()])
"""
_DISPATCH = """
from orders.models import Gate, Order
print("dispatch", sorted(Order.objects.values_list("dispatch", flat=True)),
      list(Gate.objects.values_list("pause", flat=True)))
"""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An installation of its own with a customer, money and three paid orders."""
    base = {"VAR_DIR": str(tmp_path / "var"), "SECRET_KEY": "s" * 50, "REDIS_URL": "",
            "BACKUP_DIR": str(tmp_path / "backups"), "LOG_LEVEL": "WARNING"}  # fmt: skip
    if request.param == "sqlite":
        yield filled({**base, "DATABASE_URL": f"sqlite:///{tmp_path}/live.sqlite3"})
        return
    name = f"backup_{uuid.uuid4().hex[:12]}"
    url = env.text("DATABASE_URL")
    with closing(psycopg.connect(url, autocommit=True)) as server:
        server.execute(f'CREATE DATABASE "{name}"'.encode())
        try:
            address = urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
            yield filled({**base, "DATABASE_URL": address})
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def filled(site: dict[str, str]) -> dict[str, str]:
    assert manage("migrate", "--no-input", environment=site).returncode == 0
    run_python(site, _FILL)
    return site


def run_python(site: dict[str, str], program: str) -> str:
    """What the program prints, run with the installation's models."""
    done = subprocess.run(
        [PYTHON, "-c", f"import django; django.setup()\n{program}"], cwd=ROOT, text=True,
        env=clean_environment({**site, "DJANGO_SETTINGS_MODULE": "panel.settings"}),
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def backups(site: dict[str, str]) -> list[Path]:
    return sorted(path for path in Path(site["BACKUP_DIR"]).glob("*"))


@pytest.mark.timeout(240)
def test_after_a_loss_the_backup_gives_the_same_ledger_back_and_holds_the_orders(
    site: dict[str, str],
) -> None:
    before = run_python(site, _TELL)
    made = manage("backup", environment=site)
    assert made.returncode == 0, made.stderr
    [copy] = backups(site)
    assert copy.stat().st_mode & 0o077 == 0
    run_python(site, _TELL.replace("print", "Order.objects.all().update(waiting_for='x');print"))
    run_python(site, "from catalog.models import Provider; Provider.objects.update(name='later')")

    restored = manage("restore", str(copy), "--yes", environment=site)

    assert restored.returncode == 0, restored.stderr
    assert run_python(site, _TELL) == before
    assert "ledger" in before
    assert run_python(site, _DISPATCH) == (
        "dispatch ['unknown', 'unknown', 'unknown'] ['restored']\n"
    )
    assert manage("check_ledger", environment=site).returncode == 0


@pytest.mark.timeout(180)
def test_a_copy_whose_ledger_is_wrong_is_no_backup(site: dict[str, str]) -> None:
    run_python(site, "from wallet.models import Account; Account.objects.update(balance=9)")

    made = manage("backup", environment=site)

    assert made.returncode != 0
    assert "No backup" in made.stderr
    assert backups(site) == []


@pytest.mark.timeout(180)
def test_a_damaged_copy_replaces_nothing(site: dict[str, str], tmp_path: Path) -> None:
    before = run_python(site, _TELL)
    damaged = tmp_path / "damaged"
    damaged.write_bytes(os.urandom(20_000))

    restored = manage("restore", str(damaged), "--yes", environment=site)

    assert restored.returncode != 0
    assert "Nothing was restored" in restored.stderr
    assert run_python(site, _TELL) == before


def test_a_restore_wants_to_be_meant(tmp_path: Path) -> None:
    (tmp_path / "copy").touch()
    site = {"VAR_DIR": str(tmp_path), "SECRET_KEY": "s" * 50}

    assert "--yes" in manage("restore", str(tmp_path / "copy"), environment=site).stderr
    assert "is not there" in manage("restore", "none", "--yes", environment=site).stderr


def test_old_copies_go_and_other_files_stay(tmp_path: Path) -> None:
    from panel.backup import prune, suffix  # noqa: PLC0415

    names = [f"panel-2026010{day}T000000Z{suffix()}" for day in range(1, 6)]
    for name in [*names, "panel-notes.txt"]:
        (tmp_path / name).touch()

    assert prune(tmp_path, 0) == []
    assert [path.name for path in prune(tmp_path, 2)] == names[:3]
    assert (tmp_path / "panel-notes.txt").exists()
