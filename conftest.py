"""Fixtures for the whole project."""

import os
import uuid
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.db.backends.base.operations import BaseDatabaseOperations
from pytest_django import Settings

from accounts.models import User
from catalog.models import Category, Provider, Service
from panel.translations import compile_all
from wallet.services import top_up

# The browser driver runs an event loop in the test's thread; Django would refuse its own queries there.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
# For the servers that tests start; tests of the second factor itself switch it on.
os.environ.setdefault("REQUIRE_STAFF_2FA", "0")


# What a marker needs, and whether this run lacks it.
_LACKING = {
    "postgres": (
        "needs DATABASE_URL",
        "postgresql" not in settings.DATABASES["default"]["ENGINE"],
    ),
    "sqlite": ("needs SQLite", "sqlite" not in settings.DATABASES["default"]["ENGINE"]),
    "redis": ("needs REDIS_URL", not settings.REDIS_URL),
    "browser": ("needs Chromium", not os.path.exists("/usr/bin/chromium")),  # noqa: PTH110
}
# In CI Chromium is there, and each database has its turn.
_MAY_LACK = ("needs DATABASE_URL", "needs SQLite", "needs REDIS_URL")


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


def _flush_without_triggers(self: BaseDatabaseOperations, sql_list: Iterable[str]) -> None:
    """Let the test runner, and nobody else, empty the append-only ledger between tests."""
    if self.connection.vendor == "postgresql":
        off = "ALTER TABLE wallet_entry DISABLE TRIGGER USER"
        on = "ALTER TABLE wallet_entry ENABLE TRIGGER USER"
        _flush(self, [off, *sql_list, on])
        return
    with self.connection.cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        triggers = cursor.fetchall()
    drops = [f'DROP TRIGGER "{name}"' for name, _ in triggers]
    _flush(self, [*drops, *sql_list, *(sql for _, sql in triggers)])


_flush = BaseDatabaseOperations.execute_sql_flush
BaseDatabaseOperations.execute_sql_flush = _flush_without_triggers  # type: ignore[method-assign]


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
