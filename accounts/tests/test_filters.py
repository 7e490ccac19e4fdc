"""The filter of a period in the admin's lists."""

from datetime import datetime

import pytest
from django.test import Client
from django.utils.dateparse import parse_datetime

from accounts import audit
from accounts.models import AuditEntry, User

# Half past one on the 7th of May in Istanbul, and noon of the 8th.
MOMENTS = ("2026-05-06T22:30:00Z", "2026-05-08T09:00:00Z")


@pytest.fixture
def clerk(client: Client, staff: User) -> Client:
    """Reads Turkish in Istanbul; the log has an entry of each moment."""
    User.objects.update(language="tr", time_zone="Europe/Istanbul")
    for moment in MOMENTS:
        entry = audit.record("did something", actor=staff)
        at = parse_datetime(moment)
        assert isinstance(at, datetime)
        AuditEntry.objects.filter(pk=entry.pk).update(at=at)
    client.force_login(staff)
    return client


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [1, 2]),
        ("at_from_0=07/05/2026&at_from_1=00:00:00", [1, 2]),
        ("at_from_0=07/05/2026&at_from_1=02:00", [2]),
        ("at_from_0=07/05/2026&at_to_0=07/05/2026", [1]),
        ("at_from_0=08/05/2026", [2]),
        ("at_from_0=2026-05-08", [2]),
        ("at_to_0=07/05/2026&at_to_1=01:30", [1]),
        ("at_to_0=06/05/2026", []),
        ("at_from_0=yesterday", []),
        ("at_from_0=31/02/2026&at_from_1=00:00", []),
        ("at_to_1=12:00", []),
        ("at_from_0=01/01/0001", []),
        ("at_to_0=31/12/9999", []),
    ],
)
def test_a_period_is_read_as_its_reader_writes_it_and_never_left_out(
    clerk: Client, query: str, found: list[int]
) -> None:
    answer = clerk.get(f"/admin/accounts/auditentry/?{query}")

    assert answer.status_code == 200
    shown = answer.context["cl"].queryset.order_by("number")
    assert list(shown.values_list("number", flat=True)) == found
