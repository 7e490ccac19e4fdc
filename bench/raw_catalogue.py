"""A price list parsed and written without our code: the limit that a sync is compared with."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

Row = tuple[Any, ...]

_COLUMNS = (
    "upstream_id, name, type, category_name, cost_rate, min_quantity, max_quantity, refill, cancel, "
    "dripfeed"
)
_TYPES = [
    "text",
    "text",
    "text",
    "text",
    "numeric",
    "bigint",
    "bigint",
    "boolean",
    "boolean",
    "boolean",
]
_SERVICE_FROM_LIST = """
    INSERT INTO catalog_service
        (provider_id, category_id, upstream_id, name, own_name, description, own_description, type,
         order_type, cost_rate, price_rate, keeps_category, set_aside, min_quantity, max_quantity,
         refill, cancel, dripfeed, refill_by, is_sold, is_present, is_held, refusal, position,
         created_at, changed_at)
    SELECT {provider}, category.id, upstream_id, listed.name, '', '', '', type, 'default', cost_rate,
           cost_rate * 1.5, false, '', min_quantity, max_quantity, refill, cancel, dripfeed, '',
           true, true, false, '', 0, {now}, {now}
    FROM listed JOIN catalog_category AS category ON category.name = listed.category_name
    WHERE true
    ON CONFLICT (provider_id, upstream_id) DO UPDATE SET
        name = excluded.name, cost_rate = excluded.cost_rate, price_rate = excluded.price_rate
"""
_CATEGORY_FROM_LIST = """
    INSERT INTO catalog_category (name, own_name, position, is_visible, changed_at)
    SELECT DISTINCT category_name, '', 0, true, {now} FROM listed WHERE true ON CONFLICT DO NOTHING
"""
# What a comparison has to know of each service.
_STORED = """
    SELECT upstream_id, id, name, type, order_type, description, category_id, cost_rate, price_rate,
           pinned_rate, min_quantity, max_quantity, refill, cancel, dripfeed, refusal, is_present,
           is_held, set_aside
    FROM catalog_service WHERE provider_id = %s
"""


def parsed(body: bytes) -> list[Row]:
    """JSON and typed values; a list with one unexpected value would end in an exception."""
    return [
        (
            str(row["service"]), row["name"], row["type"], row["category"], Decimal(row["rate"]),
            int(row["min"]), int(row["max"]), row["refill"], row["cancel"], row["dripfeed"],
        )
        for row in json.loads(body)
    ]  # fmt: skip


def write_all(provider_id: int, rows: Sequence[Row]) -> None:
    """Write the whole list into an empty catalogue, in one transaction."""
    now = "now()" if connection.vendor == "postgresql" else f"'{timezone.now():%Y-%m-%d %H:%M:%S}'"
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            typed = ", ".join(map(" ".join, zip(_COLUMNS.split(", "), _TYPES, strict=True)))
            cursor.execute(f"CREATE TEMPORARY TABLE listed ({typed}) ON COMMIT DROP")
            with cursor.copy(f"COPY listed ({_COLUMNS}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            cursor.execute("DROP TABLE IF EXISTS temp.listed")
            cursor.execute(f"CREATE TEMPORARY TABLE listed ({_COLUMNS})")
            marks = ", ".join(["%s"] * 10)
            plain = [(*row[:4], str(row[4]), *row[5:]) for row in rows]
            cursor.executemany(f"INSERT INTO listed VALUES ({marks})", plain)
        cursor.execute(_CATEGORY_FROM_LIST.format(now=now))
        cursor.execute(_SERVICE_FROM_LIST.format(provider=provider_id, now=now))


def rewrite(provider_id: int, rows: Sequence[Row], count: int) -> None:
    """Read what is stored, write `count` services by one statement and their history by another."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_STORED, [provider_id])
        stored = cursor.fetchall()
        keys = {row[0]: row[1] for row in stored}
        chosen = [[keys[row[0]], str(row[4])] for row in rows[:: len(rows) // count]]
        listed, unpacked = json.dumps(chosen), _unpacked()
        cursor.execute(
            # The same values: a row is written whatever is in it.
            "UPDATE catalog_service SET cost_rate = cost_rate, price_rate = price_rate, "
            f"changed_at = CURRENT_TIMESTAMP FROM {unpacked} WHERE catalog_service.id = fresh.pk",
            [listed],
        )
        cursor.execute(
            "INSERT INTO catalog_servicechange (service_id, fields, at) "
            f"SELECT fresh.pk, '{{}}', CURRENT_TIMESTAMP FROM {unpacked} WHERE true",
            [listed],
        )


def _unpacked() -> str:
    """Pairs of key and rate from a JSON parameter."""
    if connection.vendor == "postgresql":
        return (
            "(SELECT (value ->> 0)::bigint AS pk, (value ->> 1)::numeric AS rate "
            "FROM jsonb_array_elements(%s::jsonb)) AS fresh"
        )
    return (
        "(SELECT json_extract(value, '$[0]') AS pk, json_extract(value, '$[1]') AS rate "
        "FROM json_each(%s)) AS fresh"
    )


def settle() -> None:
    """Have what was deleted cost nobody anything."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for table in ("catalog_service", "catalog_category", "catalog_servicechange"):
                cursor.execute(f"VACUUM ANALYZE {table}")
