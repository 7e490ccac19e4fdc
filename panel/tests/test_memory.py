"""What a process holds from its start on: only what it uses, and two heaps."""

import gc
import json
import subprocess
from pathlib import Path

import pytest

from panel.memory import settle
from tests.migrated import put_migrated_sqlite
from tests.processes import PYTHON, ROOT, clean_environment

_SETUP = "import django; django.setup(); "
_WORKER = "import panel.celery; panel.celery.app.loader.import_default_modules()"
_SERVE = (
    "from panel.management.commands.serve import Command; "
    "Command()._prepare(); from panel.serving import _worker; _worker()"
)
# Used for an upload, an export, a first start, a draft of an e-mail or a test.
_RARE = {"openpyxl", "polib", "qrcode", "gunicorn", "pytest", "tests", "upstream.simulator"}
# The libraries of servers that a panel on SQLite alone has not.
_SERVERS = {"psycopg", "redis"}
_PAGES = {"panel.urls", "orders.admin", "catalog.admin", "accounts.admin", "unfold.admin"}


def test_what_is_loaded_is_left_to_itself() -> None:
    gc.unfreeze()
    try:
        settle()

        assert gc.get_freeze_count() > 10_000
        assert not gc.garbage
    finally:
        gc.unfreeze()


def loaded_by(code: str, folder: Path) -> set[str]:
    """The names of the modules that a process has loaded after it ran the code."""
    put_migrated_sqlite(folder / "panel.sqlite3")
    ended = subprocess.run(
        [PYTHON, "-c", f"{code}; import json, sys; print(json.dumps(list(sys.modules)))"],
        cwd=ROOT,
        env=clean_environment(
            {
                "DJANGO_SETTINGS_MODULE": "panel.settings",
                "DATABASE_URL": f"sqlite:///{folder / 'panel.sqlite3'}",
                "VAR_DIR": str(folder),
            }
        ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stdout.splitlines()[-1]))


@pytest.mark.timeout(120)
def test_a_worker_and_beat_load_the_tasks_and_no_page(tmp_path: Path) -> None:
    loaded = loaded_by(_SETUP + _WORKER, tmp_path)

    assert {"orders.tasks", "panel.periodic", "orders.models"} <= loaded
    assert loaded & (_PAGES | _RARE) == set()


@pytest.mark.timeout(120)
def test_the_web_server_loads_every_page_before_the_first_is_asked_for(tmp_path: Path) -> None:
    loaded = loaded_by("import panel.wsgi", tmp_path)

    assert loaded >= _PAGES
    assert loaded & (_RARE | _SERVERS) == set()


@pytest.mark.timeout(120)
def test_the_one_process_migrates_in_another_one(tmp_path: Path) -> None:
    loaded = loaded_by(_SETUP + _SERVE, tmp_path)

    assert loaded >= _PAGES | {"orders.tasks", "celery.worker"}
    assert loaded & (_RARE | _SERVERS) == set()
    assert [name for name in loaded if ".migrations.0" in name] == []


@pytest.mark.timeout(120)
def test_djangos_check_of_the_admin_sees_every_page(tmp_path: Path) -> None:
    check = "from django.core.checks import run_checks; assert run_checks(tags=['admin']) == []"

    assert loaded_by(_SETUP + check, tmp_path) >= _PAGES - {"panel.urls"}


def test_the_fields_of_postgresql_can_still_be_imported_afterwards(tmp_path: Path) -> None:
    after = "import panel.wsgi; import django.contrib.postgres.fields"

    assert "django.contrib.postgres.fields" in loaded_by(after, tmp_path)


def test_threads_share_two_heaps(tmp_path: Path) -> None:
    assert heaps_of_eight_threads("pass", tmp_path / "own") > 2
    assert heaps_of_eight_threads("settle()", tmp_path / "ours") <= 2


def heaps_of_eight_threads(before: str, report: Path) -> int:
    """How many heaps the C library has made for eight threads that hold memory at once."""
    code = f"""
import ctypes, threading
from panel.memory import settle
{before}
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fclose.argtypes = [ctypes.c_void_p]
together = threading.Barrier(8)
def hold():
    together.wait()
    libc.malloc(4096)
    together.wait()
threads = [threading.Thread(target=hold) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
file = libc.fopen({str(report).encode()!r}, b"w")
libc.malloc_info(0, file)
libc.fclose(file)
"""
    subprocess.run([PYTHON, "-c", code], cwd=ROOT, check=True, timeout=60)
    return report.read_text("ascii").count("<heap nr=")
