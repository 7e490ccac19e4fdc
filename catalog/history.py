"""What changed of a service, when and by whom: made by syncs, people and the panel itself."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.keeping import delete_in_parts
from accounts.models import User
from catalog import chained
from catalog.bulk import insert_rows
from catalog.compare import Change
from catalog.models import BulkChange, Service, ServiceChange, SyncRun

# Field name to [before, after], in the form in which it is stored.
Fields = dict[str, list[Any]]

_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Cause:
    """Who or what changed something; with nothing given, the panel itself."""

    run: SyncRun | None = None
    actor: User | None = None
    bulk: BulkChange | None = None


def plain(value: Any) -> Any:
    """A value as the history keeps it: numbers exactly, texts cut."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return str(value)[:_LONGEST]


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Fields:
    """What differs between two sets of values of the same names."""
    found = {name: [plain(before[name]), plain(value)] for name, value in after.items()}
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def fields_of(change: Change) -> Fields:
    """What a listed service would change, its price included."""
    if change.known is None:
        return {}
    before = {**change.known.facts._asdict(), "price_rate": change.known.price_rate}
    return differences(before, {**change.facts._asdict(), "price_rate": change.price_rate})


def write(rows: Iterable[tuple[int, Fields]], cause: Cause, at: datetime | None = None) -> None:
    """Add a row for each service ID with what changed of it, in one statement.

    What no sync did is in the audit log in the same transaction, and the log's end stays locked
    until that is over: lock providers and services before, nothing after. A sync's rows are
    recorded by `chained.record_runs`.
    """
    moment = at or timezone.now()
    changed = ((pk, fields) for pk, fields in rows if fields)
    if cause.run is not None:
        run = cause.run.pk
        insert_rows(
            ServiceChange,
            ["service_id", "fields", "at", "run_id"],
            ((pk, fields, moment, run) for pk, fields in changed),
        )
    elif batch := list(changed):
        _write_recorded(batch, cause, moment)


@transaction.atomic
def _write_recorded(batch: list[tuple[int, Fields]], cause: Cause, at: datetime) -> None:
    number = chained.record(batch, at, cause.actor)
    actor, bulk = (each.pk if each else None for each in (cause.actor, cause.bulk))
    insert_rows(
        ServiceChange,
        ["service_id", "fields", "at", "actor_id", "bulk_id", "audit_number"],
        ((pk, fields, at, actor, bulk, number) for pk, fields in batch),
    )


def note(service: Service, before: Mapping[str, Any], cause: Cause) -> None:
    """Add a row for one service whose fields were `before`."""
    fields = differences(before, {name: getattr(service, name) for name in before})
    write([(service.pk, fields)], cause)


@dataclass(frozen=True, slots=True)
class Point:
    """Cost and price of a service from some moment on, in the provider's and the site's currency."""

    at: datetime
    cost: Decimal
    price: Decimal


def points(service: Service, *, most: int = 500) -> list[Point]:
    """The course of cost and price up to now, oldest first."""
    cost, price = Decimal(service.cost_rate), Decimal(service.price_rate)
    found = [Point(timezone.now(), cost, price)]
    for change in service.changes.order_by("-pk")[:most]:
        moved = {name: change.fields.get(name) for name in ("cost_rate", "price_rate")}
        if not any(moved.values()):
            continue
        found.append(Point(change.at, cost, price))
        cost, price = _before(moved["cost_rate"], cost), _before(moved["price_rate"], price)
    found.append(Point(service.created_at, cost, price))
    return found[::-1]


def _before(pair: list[str] | None, value: Decimal) -> Decimal:
    return Decimal(pair[0]) if pair else value


def prune(now: datetime) -> int:
    """Forget what is older than PRICE_HISTORY_DAYS (0: nothing); how many rows that were."""
    if not settings.PRICE_HISTORY_DAYS:
        return 0
    before = now - timedelta(days=settings.PRICE_HISTORY_DAYS)
    old = ServiceChange.objects.filter(at__lt=before)
    count = old.count()
    if not count:
        return 0
    # Said first: whoever is killed below leaves rows that nobody misses, and the next run takes them.
    chained.record_forgotten(count, before)
    return delete_in_parts(old, most=None)


def labels(fields: Fields) -> Iterator[tuple[str, str, Any, Any]]:
    """Each changed field, its name on the screen, and its value before and after."""
    columns = Service._meta.concrete_fields
    names: dict[str, Any] = {
        name: each.verbose_name for each in columns for name in (each.name, each.attname)
    }
    for name, (before, after) in fields.items():
        yield name, str(names.get(name, name)), before, after
