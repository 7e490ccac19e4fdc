"""Mails and sessions go after their days, in small deletions, and stay for ever with 0."""

from datetime import timedelta
from importlib import import_module

import pytest
from django.conf import settings as configured
from django.contrib.sessions.models import Session
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts import keeping, mail
from accounts.models import Device, Mail, User

NOW = timezone.now()
DAY = timedelta(days=1)


def test_sent_mails_go_after_their_days(customer: User, settings: Settings) -> None:
    settings.KEEP_MAILS_DAYS = 30
    for days in (29, 31):
        mail.write(customer, mail.Kind.SIGN_IN, agent=str(days), address="y")
        Mail.objects.filter(sent_at=None).update(sent_at=NOW - days * DAY)
    mail.write(customer, mail.Kind.SIGN_IN, agent="waits", address="y")

    assert keeping.forget_mails(NOW) == 1
    assert {each.values["agent"] for each in Mail.objects.all()} == {"29", "waits"}

    settings.KEEP_MAILS_DAYS = 0
    assert keeping.forget_mails(NOW + 9999 * DAY) == 0


@pytest.mark.parametrize(
    ("days", "left"), [(90, {"living", "young"}), (0, {"living", "young", "old"})]
)
def test_sessions_that_are_over_go_and_their_sign_ins_later(
    customer: User, settings: Settings, days: int, left: set[str]
) -> None:
    settings.KEEP_SESSIONS_DAYS = days
    store = import_module(configured.SESSION_ENGINE).SessionStore
    for name, age, ends in (("living", 200, 1), ("young", 80, -1), ("old", 100, -1)):
        Session.objects.create(
            session_key=name, session_data=store().encode({}), expire_date=NOW + ends * DAY
        )
        Device.objects.create(user=customer, session_key=name, signed_in_at=NOW - age * DAY)

    keeping.forget_sessions(NOW)

    assert set(Session.objects.values_list("session_key", flat=True)) == {"living"}
    assert set(Device.objects.values_list("session_key", flat=True)) == left


def test_rows_go_a_thousand_at_a_time_up_to_a_bound(customer: User) -> None:
    Mail.objects.bulk_create(
        Mail(user=customer, kind="sign_in", sent_at=NOW - DAY) for _ in range(2600)
    )

    with CaptureQueriesContext(connection) as asked:
        assert keeping.delete_in_parts(Mail.objects.all(), most=2500) == 2500

    deletions = [each for each in asked.captured_queries if each["sql"].startswith("DELETE")]
    assert len(deletions) == 3
    assert Mail.objects.count() == 100


def test_without_a_bound_all_of_it_goes_and_no_part_looks_at_what_went_before(
    customer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "CHUNK", 2)
    monkeypatch.setattr(keeping, "MOST_PER_RUN", 2)
    Mail.objects.bulk_create(
        Mail(user=customer, kind="sign_in", sent_at=NOW - DAY) for _ in range(5)
    )
    numbers = list(Mail.objects.order_by("pk").values_list("pk", flat=True))

    with CaptureQueriesContext(connection) as asked:
        assert keeping.delete_in_parts(Mail.objects.all(), most=None) == 5

    first, *later = [each["sql"] for each in asked.captured_queries if "SELECT" in each["sql"]]
    assert "WHERE" not in first
    ends = [numbers[1], numbers[3], numbers[4]]
    assert [f'"id" > {end}' in sql for end, sql in zip(ends, later, strict=True)] == [True] * 3


def test_letters_that_no_server_took_are_given_up_in_parts(
    customer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "CHUNK", 2)
    Mail.objects.bulk_create(
        Mail(user=customer, kind="sign_in", created_at=NOW - 4 * DAY) for _ in range(5)
    )

    with CaptureQueriesContext(connection) as asked:
        assert mail.send_due().given_up == 5

    assert sum(each["sql"].startswith("DELETE") for each in asked.captured_queries) == 3
