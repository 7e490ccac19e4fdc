"""System checks: what would cost money or leak a secret is named before it does, with its fix."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004
from django.db import connections

from panel import env
from panel.local import is_local


def database_durability(*, databases: Any = None, **_: Any) -> list[CheckMessage]:
    """A commit must survive a power cut: the mark before an order is sent is worth nothing otherwise."""
    found: list[CheckMessage] = []
    for alias in databases or []:
        connection = connections[alias]
        found += _sqlite(connection) if connection.vendor == "sqlite" else _postgresql(connection)
    return found


def _sqlite(connection: Any) -> list[CheckMessage]:
    if _value(connection, "PRAGMA synchronous") in {"2", "3"}:
        return []
    return [
        Error(
            "SQLite may lose committed transactions in a power cut.",
            hint="Set PRAGMA synchronous=FULL in the database's init_command.",
            id="panel.E001",
        )
    ]


def _postgresql(connection: Any) -> list[CheckMessage]:
    return [
        Error(
            f"PostgreSQL may lose committed transactions: {setting} is off.",
            hint=f"Set {setting} to on in postgresql.conf, for the database and for its role.",
            id=identifier,
        )
        for setting, identifier in (("synchronous_commit", "panel.E002"), ("fsync", "panel.E003"))
        if _value(connection, f"SHOW {setting}") == "off"
    ]


def _value(connection: Any, statement: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return str(cursor.fetchone()[0]).lower()


def refuse_unsafe_database() -> None:
    """Raise SystemExit with the sentence of each failed durability check."""
    failed = database_durability(databases=["default"])
    if failed:
        raise SystemExit("\n".join(f"{error.msg} {error.hint}" for error in failed))


def configuration(**_: Any) -> list[CheckMessage]:
    """What may stand on one's own machine and must not stand on a public address."""
    if is_local(settings.SITE_URL):
        return []
    found: list[CheckMessage] = []
    if settings.DEBUG:
        found.append(
            Error(
                "DEBUG shows settings and data to every visitor.",
                hint="Unset DEBUG, or let SITE_URL name this machine.",
                id="panel.E010",
            )
        )
    if settings.ALLOW_PRIVATE_UPSTREAM:
        found.append(
            Warning(
                "Providers may live on private addresses, which lets staff reach your network.",
                hint="Unset ALLOW_PRIVATE_UPSTREAM.",
                id="panel.W011",
            )
        )
    if settings.SITE_URL.startswith("https://") and not settings.BEHIND_PROXY:
        found.append(
            Warning(
                "Nobody tells the panel that visitors come by https.",
                hint="Let the proxy that ends TLS set X-Forwarded-Proto, and set BEHIND_PROXY=true.",
                id="panel.W013",
            )
        )
    if not env.text("SECRET_KEY"):
        found.append(
            Warning(
                "SECRET_KEY lives in VAR_DIR: other machines and a lost folder would have another.",
                hint="Set SECRET_KEY (or SECRET_KEY_FILE) and keep a copy beside the backups.",
                id="panel.W012",
            )
        )
    return found


def register_checks() -> None:
    """Called once when the app is ready."""
    register(database_durability, Tags.database)
    register(configuration, Tags.security)
