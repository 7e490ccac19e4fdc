"""The catalogue's sync against parsing and writing the same list without our code.

"Parsing alone" is `json.loads` and one tuple of typed values per service, with none of the checks
that a list of hostile values needs. "The raw loop" parses like this and then writes the same rows:
on PostgreSQL by COPY and one upsert, on SQLite by `executemany`. Ours fetches the list over HTTP
besides, from a server in the same process.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from bench import raw_catalogue as raw
from bench.catalogue_world import body_of, provider, rows
from bench.harness import Figure, in_turns, report, say, sized, timed
from bench.resident import peak_growth
from catalog.models import Category, Provider, Service, ServiceChange, SyncRun
from catalog.sync import sync_provider
from catalog.tests.panel import Panel

ROUNDS = 5
_DIFFERENT = 100
_AROUND = {"BEGIN", "COMMIT"}


def main() -> None:
    """First sync, nothing changed, a hundred changed, twice as many."""
    count = sized(10_000, 2_000)
    rounds = sized(ROUNDS, 2)
    with provider() as (panels, panel):
        _memory(panels, panel, 2 * count)
        _first(panels, panel, count, rounds)
        _unchanged(panels, panel, count, rounds)
        _changed(panels, panel, count, rounds)
        _doubled(panels, panel, count, rounds)


def _empty(of: Provider) -> None:
    ServiceChange.objects.all().delete()
    SyncRun.objects.all().delete()
    Service.objects.all()._raw_delete(using="default")
    Category.objects.all().delete()
    of.catalogue_sha256 = of.rows_sha256 = of.contents_sha256 = ""
    of.save()
    raw.settle()


def _sync(of: Provider, outcome: str) -> None:
    # As a row that was just read, and looks up what its prices are made with.
    of.__dict__.pop("site_rule", None)
    run = sync_provider(of)
    assert run.outcome == outcome, f"{run.outcome}: {run.note}"


def _seconds_of_first_sync(of: Provider) -> float:
    _empty(of)
    return timed(lambda: _sync(of, SyncRun.Outcome.APPLIED))


def _count(name: str, run: Callable[[], object], most: int, n: int) -> None:
    with CaptureQueriesContext(connection) as queries:
        run()
    asked = [query for query in queries.captured_queries if query["sql"] not in _AROUND]
    report(Figure(f"{name}: queries", len(asked), most, 1, "queries", n))


def _memory(of: Provider, panel: Panel, count: int) -> None:
    say(f"memory of a first sync of {count}")
    panel.answers(body_of(rows(10)))
    _sync(of, SyncRun.Outcome.APPLIED)
    _empty(of)
    panel.answers(body_of(rows(count)))
    grown = peak_growth(lambda: _sync(of, SyncRun.Outcome.APPLIED))
    report(Figure("first sync: peak memory over idle", grown, 60, 1, "MB", count))


def _first(of: Provider, panel: Panel, count: int, rounds: int) -> None:
    say(f"first sync of {count}")
    body = body_of(rows(count))
    panel.answers(body)

    def without_us() -> float:
        _empty(of)
        return timed(lambda: raw.write_all(of.pk, raw.parsed(body)))

    ours, limit = in_turns(lambda: _seconds_of_first_sync(of), without_us, rounds=rounds)
    report(Figure("first sync", ours, limit, 3, "s", count))
    _empty(of)
    _count("first sync", lambda: _sync(of, SyncRun.Outcome.APPLIED), 20, count)


def _unchanged(of: Provider, panel: Panel, count: int, rounds: int) -> None:
    say(f"{count} services, nothing changed")
    listed = rows(count)
    body, mirrored = body_of(listed), body_of(listed[::-1])
    turns: list[bytes] = []

    def same(answers: Sequence[bytes]) -> float:
        # The list before this one was the other one: its bytes are never those that are known.
        turns.append(answers[len(turns) % len(answers)])
        panel.answers(turns[-1])
        return timed(lambda: _sync(of, SyncRun.Outcome.UNCHANGED))

    panel.answers(body)
    _sync(of, SyncRun.Outcome.UNCHANGED)
    parse = lambda: timed(lambda: raw.parsed(body))  # noqa: E731 - one of two ways
    identical, limit = in_turns(lambda: same([body]), parse, rounds=rounds)
    report(Figure("nothing changed, identical bytes", identical, limit, 2, "s", count))
    turns.clear()
    other, limit = in_turns(lambda: same([mirrored, body]), parse, rounds=rounds)
    report(Figure("nothing changed, in another order", other, limit, 2, "s", count))
    panel.answers(mirrored if turns[-1] == body else body)
    _count("nothing changed", lambda: _sync(of, SyncRun.Outcome.UNCHANGED), 3, count)


def _changed(of: Provider, panel: Panel, count: int, rounds: int) -> None:
    say(f"{_DIFFERENT} of {count} changed")
    bodies = [body_of(listed) for listed in _two_lists(count)]
    turn = 0

    def ours() -> float:
        nonlocal turn
        turn += 1
        panel.answers(bodies[turn % 2])
        return timed(lambda: _sync(of, SyncRun.Outcome.APPLIED))

    def without_us() -> float:
        return timed(lambda: raw.rewrite(of.pk, raw.parsed(bodies[0]), _DIFFERENT))

    panel.answers(bodies[0])
    _sync(of, SyncRun.Outcome.UNCHANGED)
    took, limit = in_turns(ours, without_us, rounds=rounds)
    # Ours judges and prices all of the list; docs/benchmarks.md says what of.
    report(Figure(f"{_DIFFERENT} changed", took, limit, 4, "s", count))
    before = ServiceChange.objects.count()
    _count(f"{_DIFFERENT} changed", ours, 8, count)
    assert ServiceChange.objects.count() == before + _DIFFERENT


def _two_lists(count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The list as it was synced, and the same with a hundred rates a little higher."""
    before, after = rows(count), rows(count)
    for row in after[:: count // _DIFFERENT]:
        row["rate"] = str(Decimal(row["rate"]) + Decimal("0.001"))
    return before, after


def _doubled(of: Provider, panel: Panel, count: int, rounds: int) -> None:
    say(f"first sync of {2 * count}")
    bodies = {size: body_of(rows(size)) for size in (count, 2 * count)}

    def first(size: int) -> float:
        panel.answers(bodies[size])
        return _seconds_of_first_sync(of)

    twice, once = in_turns(lambda: first(2 * count), lambda: first(count), rounds=rounds)
    report(Figure("first sync, twice as many services", twice, once, 2.2, "s", 2 * count))
