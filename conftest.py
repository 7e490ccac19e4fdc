"""Fixtures for the whole project."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from pytest_django import DjangoDbBlocker, Settings

from accounts.models import User
from catalog.models import Category, Provider, Service, connections
from panel.translations import compile_all
from tests.emptying import empty_instead_of_flushing
from tests.migrated import put_migrated_sqlite, remove_sqlite
from wallet.services import top_up

# The browser driver runs an event loop in the test's thread; Django would refuse its own queries there.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
# For the servers that tests start; tests of the second factor itself switch it on.
os.environ.setdefault("REQUIRE_STAFF_2FA", "0")
os.environ.setdefault("STAFF_CONFIRM_MINUTES", "0")


def _has_compose() -> bool:
    """Debian's docker-compose, or docker with its plugin; neither needs an engine to check a file."""
    if shutil.which("docker-compose"):
        return True
    asked = ["docker", "compose", "version"]
    return (
        bool(shutil.which("docker"))
        and subprocess.run(asked, capture_output=True, check=False).returncode == 0
    )


# What a marker needs, and whether this run lacks it.
_LACKING = {
    "postgres": (
        "needs DATABASE_URL",
        "postgresql" not in settings.DATABASES["default"]["ENGINE"],
    ),
    "sqlite": ("needs SQLite", "sqlite" not in settings.DATABASES["default"]["ENGINE"]),
    "redis": ("needs REDIS_URL", not settings.REDIS_URL),
    "compose": ("needs docker-compose", not _has_compose()),
    "nginx": ("needs nginx and openssl", not all(map(shutil.which, ("nginx", "openssl")))),
    "systemd": ("needs systemd-analyze", not shutil.which("systemd-analyze")),
    "browser": ("needs Chromium", not os.path.exists("/usr/bin/chromium")),  # noqa: PTH110
}
# In CI Chromium is there, and each database has its turn; what checks the files for hosting is not
# packed by every system.
_MAY_LACK = (
    "needs DATABASE_URL", "needs SQLite", "needs REDIS_URL", "needs docker-compose", "needs nginx",
    "needs systemd-analyze",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-unexpected-skips",
        action="store_true",
        help="fail when a test was skipped that this run has everything for",
    )


def pytest_configure() -> None:
    compile_all()
    # Else every test client would list each static file of each package first.
    settings.WHITENOISE_AUTOREFRESH = True
    settings.REQUIRE_STAFF_2FA = False
    settings.STAFF_CONFIRM_MINUTES = 0
    # A third of a second for each user that a test makes is spent on nothing else.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine has no server or browser for."""
    for item in items:
        for name, (reason, is_lacking) in _LACKING.items():
            if is_lacking and item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name the tests that were skipped without need."""
    if not config.getoption("--no-unexpected-skips"):
        return
    for name in _unexpected_skips(terminalreporter):
        terminalreporter.write_line(f"SKIPPED WITHOUT NEED {name}", red=True)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not session.config.getoption("--no-unexpected-skips"):
        return
    if session.exitstatus == pytest.ExitCode.OK and _unexpected_skips(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _unexpected_skips(reporter: Any) -> list[str]:
    skipped = reporter.stats.get("skipped", [])
    return [
        f"{report.nodeid}: {report.longrepr}"
        for report in skipped
        if not any(reason in str(report.longrepr) for reason in _MAY_LACK)
    ]


_IS_SQLITE = "sqlite" in settings.DATABASES["default"]["ENGINE"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None) -> Iterator[None]:
    """On SQLite, a copy of a migrated database lies where the test database is looked for."""
    if not _IS_SQLITE:
        yield
        return
    path = Path(settings.DATABASES["default"]["TEST"]["NAME"])
    put_migrated_sqlite(path)
    yield
    connection.close()
    remove_sqlite(path)


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Whether to look for one; `migrate` is run on it all the same."""
    return _IS_SQLITE


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """The test database, and our way of emptying it."""
    with django_db_blocker.unblock():
        empty_instead_of_flushing()


@pytest.fixture(autouse=True)
def _fresh_cache(settings: Settings) -> Iterator[None]:
    """An empty cache, also beside the tests of another process on the same Redis."""
    if settings.REDIS_URL:
        own = {**settings.CACHES["default"], "KEY_PREFIX": f"test-{uuid.uuid4()}"}
        settings.CACHES = {"default": own}
        yield
        return
    cache.clear()
    yield
    cache.clear()


@pytest.fixture(autouse=True)
def _connections_closed() -> Iterator[None]:
    """No connection to a test's provider is left to the next test."""
    yield
    connections.close()


@pytest.fixture
def customer(db: None) -> User:
    """A customer with a balance of 10."""
    user = User.objects.create_user("customer@example.com", "a-Long-passw0rd")
    top_up(user=user, amount=Decimal(10), reference="fixture")
    return user


@pytest.fixture
def staff(db: None) -> User:
    return User.objects.create_superuser("staff@example.com", "a-Long-passw0rd")


@pytest.fixture
def provider(db: None) -> Provider:
    """A provider that nothing listens for; tests that talk to one use the simulator's."""
    return Provider.objects.create(
        name="Upstream", url="http://127.0.0.1:9/api/v2", api_key="key-of-the-fixture"
    )


@pytest.fixture
def service(provider: Provider) -> Service:
    """Default type, cost 1 and price 2 per 1000, 10 to 10,000."""
    return Service.objects.create(
        provider=provider,
        category=Category.objects.create(name="Followers"),
        upstream_id="1",
        name="Followers, fast",
        type="Default",
        order_type="default",
        cost_rate=1,
        price_rate=2,
        min_quantity=10,
        max_quantity=10_000,
        refill=True,
        cancel=True,
    )


@pytest.fixture
def is_postgresql() -> bool:
    return connection.vendor == "postgresql"
