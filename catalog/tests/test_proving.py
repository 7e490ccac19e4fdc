"""The nightly check of the audit log: what is new every night, all of it once a week."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts import audit
from accounts.models import AuditEntry, AuditHead, AuditProof, User
from catalog import chained, history, proving
from catalog.models import Service, ServiceChange
from panel.alerts import find_troubles
from panel.models import Job
from panel.periodic import run_periodic_job

NOW = timezone.now()
DAY = timedelta(days=1)


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of three entries is a long one here."""
    monkeypatch.setattr(proving, "LONG", 2)


def write(count: int, **details: Any) -> None:
    for number in range(count):
        audit.record(f"did {number}", actor=None, details={"n": [number, number + 1], **details})


def alter(number: int) -> None:
    AuditEntry.objects.filter(number=number).update(action="nothing")


def forge() -> None:
    """Whoever can write to the database reckons the whole log anew."""
    last = ""
    for entry in AuditEntry.objects.order_by("number"):
        entry.previous_hash = last
        entry.hash = last = audit.digest(entry)
        entry.save()
    AuditHead.objects.update(hash=last, number=AuditEntry.objects.count())


def test_the_job_says_how_far_it_looked_and_fails_with_what_was_altered(
    db: None, caplog: pytest.LogCaptureFixture
) -> None:
    write(3)
    assert run_periodic_job("check_audit", now=True)
    job = Job.objects.get(name="check_audit")
    assert (job.succeeded, job.result) == (True, "no problems in entries 1 to 3")
    assert AuditProof.objects.get().number == 3

    alter(2)
    write(1)
    assert run_periodic_job("check_audit", now=True)

    job.refresh_from_db()
    assert job.succeeded is False
    assert job.result == "AuditLogDiffers: 1 problems, first: entry 2 was changed"
    assert "Audit log: entry 2 was changed" in caplog.text
    assert AuditProof.objects.get().number == 3
    assert [each.key for each in find_troubles(NOW) if "audit" in each.key] == [
        "failed:check_audit"
    ]


def test_of_a_long_log_what_is_new_is_looked_at_and_all_of_it_once_a_week(
    db: None, long: None
) -> None:
    write(3)
    assert (proving.prove(NOW).since, AuditProof.objects.get().whole_at) == (0, NOW)
    write(2)
    with CaptureQueriesContext(connection) as asked:
        assert proving.prove(NOW + DAY) == proving.Proof([], 3, 5)
    assert_reads_after(asked, 3)
    assert AuditProof.objects.get().whole_at == NOW

    alter(1)
    assert proving.prove(NOW + 6 * DAY).problems == []
    for days in (7, 8):
        assert proving.prove(NOW + days * DAY).problems == ["entry 1 was changed"]
    assert AuditProof.objects.get().whole_at == NOW


def assert_reads_after(asked: CaptureQueriesContext, number: int) -> None:
    """Every statement that reads whole entries begins behind that one."""
    read = [each["sql"] for each in asked.captured_queries if '"details"' in each["sql"]]
    assert read
    for sql in read:
        assert f'"number" > {number}' in sql or chained.FORGOTTEN in sql, sql


@pytest.mark.parametrize("number", [4, 5])
def test_what_is_new_and_was_altered_is_found_every_night_until_it_is_mended(
    db: None, long: None, number: int
) -> None:
    write(3)
    proving.prove(NOW)
    write(2)
    alter(number)

    for _night in range(2):
        assert proving.prove(NOW + DAY).problems == [f"entry {number} was changed"]
    assert AuditProof.objects.get().number == 3

    AuditEntry.objects.filter(number=number).update(action=f"did {number - 4}")
    assert proving.prove(NOW + DAY) == proving.Proof([], 3, 5)


@pytest.mark.parametrize("is_long", [True, False])
def test_a_log_that_was_reckoned_anew_or_cut_off_is_found_by_what_was_proven(
    db: None, monkeypatch: pytest.MonkeyPatch, is_long: bool
) -> None:
    monkeypatch.setattr(proving, "LONG", 1 if is_long else 100)
    write(4)
    proving.prove(NOW)
    alter(2)
    forge()
    assert list(audit.problems()) == []
    said = "entry 4 is not the one that was there when the log was last found whole"
    assert said in proving.prove(NOW).problems

    AuditEntry.objects.filter(number__gt=2).delete()
    forge()
    assert list(audit.problems()) == []
    assert said in proving.prove(NOW).problems


def test_a_log_of_many_problems_is_not_read_to_its_end(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "MOST", 3)
    write(9)
    AuditEntry.objects.update(action="nothing")

    assert len(proving.prove(NOW).problems) == 3


def test_price_history_behind_new_entries_is_looked_at(
    service: Service, staff: User, long: None
) -> None:
    for _ in range(3):
        history.write([(service.pk, {"name": ["a", "b"]})], history.Cause(actor=staff))
    assert proving.prove(NOW).problems == []
    history.write([(service.pk, {"name": ["b", "c"]})], history.Cause(actor=staff))
    ServiceChange.objects.filter(audit_number=4).delete()

    [problem] = proving.prove(NOW + DAY).problems
    assert problem == "of the 1 changes of services in entry 4, 0 are in the price history"


def meanwhile(monkeypatch: pytest.MonkeyPatch, name: str, act: Any) -> None:
    """Have somebody do that right after the check has read what `name` reads."""
    module = chained if name == "_kept_since" else audit
    read = getattr(module, name)
    once: Iterator[Any] = iter([act])

    def reading(*args: Any) -> Any:
        found = read(*args)
        for each in once:
            each()
        return found

    monkeypatch.setattr(module, name, reading)


def test_what_is_written_meanwhile_is_no_problem(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    write(2)
    meanwhile(monkeypatch, "end", lambda: write(2))

    assert list(audit.problems()) == []


def test_a_person_who_is_taken_out_meanwhile_is_no_problem(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(2, email=["ann@example.com", "x"])
    meanwhile(
        monkeypatch, "_redacted",
        lambda: audit.redact(["ann@example.com"], pseudonym="Deleted 1", actor=None),
    )  # fmt: skip

    assert list(audit.problems()) == []
    assert "ann" not in str(list(AuditEntry.objects.values_list("details", flat=True)))
    alter(1)
    assert list(audit.problems()) == ["entry 1 was changed"]


def test_history_that_is_forgotten_meanwhile_is_no_problem(
    service: Service, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.PRICE_HISTORY_DAYS = 10
    history.write(
        [(service.pk, {"price_rate": ["1", "2"]})], history.Cause(), at=NOW - 11 * DAY
    )  # fmt: skip
    meanwhile(monkeypatch, "_kept_since", lambda: history.prune(NOW))

    assert list(chained.problems()) == []
    assert not ServiceChange.objects.exists()


def test_entries_behind_the_end_are_found(db: None) -> None:
    write(2)
    last = AuditEntry.objects.get(number=2)
    last.pk, last.number, last.previous_hash = None, 3, last.hash
    last.hash = audit.digest(last)
    last.save(force_insert=True)

    assert list(audit.problems()) == ["the log ends at entry 3, and 2 were written"]
