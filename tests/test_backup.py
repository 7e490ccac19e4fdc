"""Back up, lose everything, restore: the same ledger, and nothing is sent twice."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.core.management import call_command

from panel import env
from tests.migrated import put_migrated_sqlite
from tests.processes import PYTHON, ROOT, clean_environment, manage
from tests.test_upgrade import PREVIOUS

SECRET_KEY = "s" * 50
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
_LATER = """
from catalog.models import Provider
from orders.models import Order
Order.objects.update(waiting_for="x")
Provider.objects.update(name="later")
"""
_DISPATCH = """
from orders.models import Gate, Order
print("dispatch", sorted(Order.objects.values_list("dispatch", flat=True)),
      list(Gate.objects.values_list("pause", flat=True)))
"""
_NEWER = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE newer (id bigint REFERENCES orders_order (id))")
    if connection.vendor == "postgresql":
        cursor.execute("CREATE FUNCTION newer_too() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        cursor.execute("CREATE TABLE of_pg_trgm (id bigint)")
        cursor.execute("ALTER EXTENSION pg_trgm ADD TABLE of_pg_trgm")
"""
_MADE = """
from django.db import connection
tables = {name for name in connection.introspection.table_names() if "newer" in name or "of_pg" in name}
with connection.cursor() as cursor:
    if connection.vendor == "postgresql":
        cursor.execute("SELECT proname FROM pg_proc WHERE proname = 'newer_too'")
        tables |= {name for name, in cursor.fetchall()}
print(sorted(tables))
"""


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def original(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a database with a customer, money and three paid orders."""
    folder = tmp_path_factory.mktemp("original")
    base = {"VAR_DIR": str(folder / "var"), "SECRET_KEY": SECRET_KEY, "REDIS_URL": ""}
    if request.param == "sqlite":
        put_migrated_sqlite(folder / "live.sqlite3")
        url = f"sqlite:///{folder}/live.sqlite3"
        run_python({**base, "DATABASE_URL": url}, _FILL)
        yield url
        return
    with own_database() as url:
        migrated = manage("migrate", "--no-input", environment={**base, "DATABASE_URL": url})
        assert migrated.returncode == 0, migrated.stderr
        run_python({**base, "DATABASE_URL": url}, _FILL)
        yield url


@pytest.fixture
def site(original: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An installation of its own with a copy of that database."""
    base = {"VAR_DIR": str(tmp_path / "var"), "SECRET_KEY": SECRET_KEY, "REDIS_URL": "",
            "BACKUP_DIR": str(tmp_path / "backups"), "LOG_LEVEL": "WARNING"}  # fmt: skip
    if original.startswith("sqlite:"):
        shutil.copy(original.removeprefix("sqlite:///"), tmp_path / "live.sqlite3")
        yield {**base, "DATABASE_URL": f"sqlite:///{tmp_path}/live.sqlite3"}
        return
    with own_database(like=original) as url:
        yield {**base, "DATABASE_URL": url}


@contextmanager
def own_database(*, like: str = "template1") -> Iterator[str]:
    """The address of a new database on the server of DATABASE_URL, dropped afterwards."""
    name, template = f"backup_{uuid.uuid4().hex[:12]}", urlsplit(like).path.removeprefix("/")
    url = env.text("DATABASE_URL")
    with closing(psycopg.connect(url, autocommit=True)) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
        try:
            yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


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


def wipe(site: dict[str, str]) -> None:
    """Nothing is left: no file, or no table."""
    url = site["DATABASE_URL"]
    if url.startswith("sqlite"):
        for path in Path(url.removeprefix("sqlite:///")).parent.glob("live.sqlite3*"):
            path.unlink()
        return
    with closing(psycopg.connect(url, autocommit=True)) as server:
        server.execute("DROP SCHEMA public CASCADE")
        server.execute("CREATE SCHEMA public")


@pytest.mark.timeout(240)
def test_after_a_loss_the_backup_gives_the_same_ledger_back_and_holds_the_orders(
    site: dict[str, str],
) -> None:
    before = run_python(site, _TELL)
    made = manage("backup", environment=site)
    assert made.returncode == 0, made.stderr
    [copy] = backups(site)
    assert copy.stat().st_mode & 0o077 == 0
    run_python(site, _LATER)

    restored = manage("restore", str(copy), "--yes", environment=site)

    assert restored.returncode == 0, restored.stderr
    assert "ledger" in before
    assert run_python(site, _TELL + _DISPATCH) == (
        f"{before}dispatch ['unknown', 'unknown', 'unknown'] ['restored']\n"
    )
    assert manage("check_ledger", environment=site).returncode == 0

    wipe(site)
    assert manage("check_ledger", environment=site).returncode != 0
    restored = manage("restore", str(copy), "--yes", environment=site)
    assert restored.returncode == 0, restored.stderr
    assert run_python(site, _TELL) == before
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


@pytest.mark.timeout(240)
def test_a_copy_of_an_older_release_takes_the_place_of_a_newer_one(site: dict[str, str]) -> None:
    """What only the newer one has is in nobody's way, then or when its migrations are run again."""
    assert manage("backup", environment=site).returncode == 0
    run_python(site, _NEWER)

    restored = manage("restore", "--yes", str(backups(site)[0]), environment=site)

    assert restored.returncode == 0, restored.stderr
    # What belongs to an extension is its owner's.
    is_sqlite = site["DATABASE_URL"].startswith("sqlite")
    assert run_python(site, _MADE).strip() == ("[]" if is_sqlite else "['of_pg_trgm']")


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "original", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
def test_what_others_keep_in_the_database_is_in_no_way_of_a_restore(site: dict[str, str]) -> None:
    """It is in the copy too, as a copy is one of the whole database."""
    with closing(psycopg.connect(site["DATABASE_URL"], autocommit=True)) as server:
        server.execute("CREATE SCHEMA others; CREATE TABLE others.kept AS SELECT 'before' AS word")
        server.execute("CREATE PUBLICATION chosen FOR TABLE orders_order")
        server.execute("CREATE VIEW of_orders AS SELECT count(*) FROM orders_order")
        server.execute("CREATE VIEW of_none AS SELECT 1 AS one; CREATE TYPE color AS ENUM ('red')")
        before = run_python(site, _TELL)
        assert manage("backup", environment=site).returncode == 0
        server.execute("UPDATE others.kept SET word = 'after'")

        restored = manage("restore", "--yes", str(backups(site)[0]), environment=site)

        assert restored.returncode == 0, restored.stderr
        assert run_python(site, _TELL) == before
        assert server.execute("SELECT word FROM others.kept").fetchall() == [("after",)]
        assert server.execute("SELECT * FROM of_orders, of_none").fetchall() == [(3, 1)]


@pytest.mark.timeout(240)
def test_a_copy_that_an_older_release_made_is_proved_and_restored(
    site: dict[str, str], tmp_path: Path
) -> None:
    url, copy = site["DATABASE_URL"], tmp_path / "older"
    wipe(site)
    for app, migration in PREVIOUS.items():
        assert manage("migrate", app, migration, environment=site).returncode == 0
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as old:
            old.execute("VACUUM INTO ?", [str(copy)])
    else:
        dump = ["pg_dump", "--format=custom", "--no-owner", "--file", str(copy), "--dbname", url]
        subprocess.run(dump, check=True)
    assert manage("migrate", environment=site).returncode == 0

    restored = manage("restore", "--yes", str(copy), environment=site)

    assert restored.returncode == 0, restored.stderr
    assert run_python(site, _TELL).strip() == "ledger [] [] []"


def test_a_copy_is_nobody_elses_from_its_first_byte_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []

    def copy(target: Path) -> None:
        with target.open("ab") as file:
            file.write(b"half of it")
        modes.append(stat.S_IMODE(target.stat().st_mode))

    monkeypatch.setattr("panel.backup._copy", copy)
    monkeypatch.setattr("panel.backup.prove", lambda _: None)

    call_command("backup", folder=tmp_path)

    assert modes == [0o600]
    assert [stat.S_IMODE(made.stat().st_mode) for made in tmp_path.iterdir()] == [0o600]


def test_a_backup_that_is_ended_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("panel.backup._copy", lambda target: target.write_bytes(b"all of it"))
    monkeypatch.setattr("panel.backup.prove", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    # What ends a process that does not listen, and would end this one.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit, match="ended by SIGTERM"):
            call_command("backup", folder=tmp_path)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)

    assert list(tmp_path.iterdir()) == []


def test_a_restore_wants_to_be_meant(tmp_path: Path) -> None:
    (tmp_path / "copy").touch()
    site = {"VAR_DIR": str(tmp_path), "SECRET_KEY": SECRET_KEY}

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
