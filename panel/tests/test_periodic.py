"""Each periodic job does its work when its message arrives, and only when it is due."""

import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.conf import LazySettings, settings

from accounts.models import User
from catalog.models import Provider
from panel.models import Job
from panel.periodic import WORK, due_since, run_periodic_job
from panel.schedule import PeriodicJob
from panel.tasks import run_periodic
from upstream.simulator import Simulator
from wallet.models import Account


def test_every_job_of_the_schedule_has_its_work() -> None:
    assert set(WORK) == set(settings.PERIODIC_JOBS)


@pytest.mark.django_db
@pytest.mark.parametrize("name", sorted(WORK))
def test_each_job_succeeds_when_there_is_nothing_to_do(name: str) -> None:
    run_periodic(name)

    job = Job.objects.get(name=name)
    assert (job.succeeded, job.lease_until) == (True, None), job.result


@pytest.mark.django_db
def test_a_message_that_comes_twice_runs_its_job_once() -> None:
    run_periodic("sync_catalog")
    first = Job.objects.get(name="sync_catalog").started_at
    run_periodic("sync_catalog")

    assert Job.objects.get(name="sync_catalog").started_at == first
    assert run_periodic_job("sync_catalog", now=True)
    assert Job.objects.get(name="sync_catalog").started_at != first


@pytest.mark.django_db
def test_an_unknown_name_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    run_periodic("from_a_later_release")

    assert not Job.objects.exists()
    assert "from_a_later_release" in caplog.text


@pytest.mark.django_db
def test_the_first_sync_makes_the_environments_provider(settings: LazySettings) -> None:
    settings.ALLOW_PRIVATE_UPSTREAM = True
    with Simulator(key="the-key") as simulator:
        settings.UPSTREAM_API_URL = simulator.url
        settings.UPSTREAM_API_KEY = "the-key"

        assert run_periodic_job("sync_catalog")

    assert Provider.objects.get().services.exists()
    assert "applied" in Job.objects.get(name="sync_catalog").result


@pytest.mark.django_db
def test_a_ledger_that_differs_fails_the_audit_and_freezes_the_wallet(
    customer: User, caplog: pytest.LogCaptureFixture
) -> None:
    Account.objects.filter(user=customer).update(balance=Decimal(11))

    assert run_periodic_job("check_ledger")

    job = Job.objects.get(name="check_ledger")
    assert job.succeeded is False
    assert job.result.startswith("LedgerDiffers: 1 findings")
    assert Account.objects.get(user=customer).frozen_reason
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 2


@pytest.mark.parametrize(
    ("hour_now", "expected"),
    [
        (2, datetime(2026, 1, 9, 3, tzinfo=UTC)),
        (3, datetime(2026, 1, 10, 3, tzinfo=UTC)),
        (23, datetime(2026, 1, 10, 3, tzinfo=UTC)),
    ],
)
def test_a_nightly_job_waits_for_its_hour(hour_now: int, expected: datetime) -> None:
    now = datetime(2026, 1, 10, hour_now, tzinfo=UTC)

    assert due_since(PeriodicJob("nightly", timedelta(days=1), hour=3), now) == expected
    assert due_since(PeriodicJob("often", timedelta(seconds=5)), now) is None
