"""A worker's thread gets over a database server that restarted."""

from collections.abc import Iterator

import pytest
from django.db import OperationalError, connection

from panel.celery import drop_dead_connections
from panel.models import Job
from panel.tasks import run_periodic


@pytest.fixture
def cut_connection(transactional_db: None) -> Iterator[None]:
    """End this thread's session at the server, as a restart does."""
    Job.objects.count()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    other.close()
    yield
    connection.close()


@pytest.mark.postgres
def test_without_help_the_next_query_fails(cut_connection: None) -> None:
    with pytest.raises(OperationalError):
        Job.objects.count()


@pytest.mark.postgres
def test_a_task_begins_with_a_connection_that_works(cut_connection: None) -> None:
    run_periodic("send_requests")

    assert Job.objects.get().succeeded


@pytest.mark.django_db(transaction=True)
def test_a_healthy_connection_is_kept() -> None:
    Job.objects.count()
    before = connection.connection

    drop_dead_connections()
    Job.objects.count()

    assert connection.connection is before


@pytest.mark.django_db
def test_a_transaction_is_never_cut() -> None:
    connection.errors_occurred = True
    drop_dead_connections()
    connection.errors_occurred = False

    assert Job.objects.count() == 0
