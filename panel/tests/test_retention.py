"""The hourly job that forgets, and the settings that say after how many days."""

from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from catalog.models import Provider, Service, ServiceChange, SyncRun
from panel import env
from panel.models import Alert, Job
from panel.periodic import run_periodic_job
from panel.retention import FORGOTTEN, forget_runs

NOW = timezone.now()
DAY = timedelta(days=1)


def runs(provider: Provider, *ages: int) -> list[SyncRun]:
    return [
        SyncRun.objects.create(
            provider=provider, outcome=SyncRun.Outcome.UNCHANGED, started_at=NOW - age * DAY
        )
        for age in ages
    ]


def test_runs_and_alerts_go_but_what_still_says_something_stays(
    service: Service, settings: LazySettings
) -> None:
    settings.KEEP_RUNS_DAYS = 180
    changed, old, young, *last = runs(service.provider, 500, 400, 100, 3, 2, 1)
    ServiceChange.objects.create(service=service, run=changed, fields={})
    idle = Provider.objects.create(name="Idle", url="https://i.example", api_key="x")
    of_idle = runs(idle, 900, 800, 700, 600)
    for age in (200, 100):
        Alert.objects.create(
            key=f"{age}", text="x", began_at=NOW - 900 * DAY, seen_at=NOW, over_at=NOW - age * DAY
        )
    Alert.objects.create(key="open", text="x", began_at=NOW - 900 * DAY, seen_at=NOW)

    assert forget_runs(NOW) == 3

    left = set(SyncRun.objects.values_list("pk", flat=True))
    assert left == {each.pk for each in (changed, young, *last, *of_idle[1:])}
    assert old.pk not in left
    assert set(Alert.objects.values_list("key", flat=True)) == {"100", "open"}
    settings.KEEP_RUNS_DAYS = 0
    assert forget_runs(NOW + 9999 * DAY) == 0


def test_the_job_says_what_it_forgot(db: None) -> None:
    Alert.objects.create(
        key="x", text="x", began_at=NOW - 900 * DAY, seen_at=NOW, over_at=NOW - 900 * DAY
    )
    assert run_periodic_job("apply_retention")
    assert Job.objects.get(name="apply_retention").result == "1 runs forgotten"

    assert run_periodic_job("apply_retention", now=True)
    assert Job.objects.get(name="apply_retention").result == "nothing forgotten"
    assert len(FORGOTTEN) == 9


@pytest.mark.parametrize(
    ("given", "found"), [("", 400), ("0", 0), ("31", 31), ("30", None), ("-1", None), ("x", None)]
)
def test_days_are_none_or_enough(
    monkeypatch: pytest.MonkeyPatch, given: str, found: int | None
) -> None:
    monkeypatch.setenv("KEEP_READINGS_DAYS", given)

    if found is None:
        with pytest.raises(ImproperlyConfigured, match="KEEP_READINGS_DAYS"):
            env.days("KEEP_READINGS_DAYS", 400, least=31)
    else:
        assert env.days("KEEP_READINGS_DAYS", 400, least=31) == found
