"""A test that commits leaves nothing to the next one, whatever it did."""

import threading

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import DatabaseError, connection, transaction

from accounts.models import User
from tests.emptying import empty_database, restock, stock
from wallet.models import Account, Entry

pytestmark = pytest.mark.django_db(transaction=True)


def test_nothing_is_left_but_what_migrate_wrote_and_the_ledger_is_guarded_again(
    customer: User, staff: User
) -> None:
    permissions = set(Permission.objects.values_list("pk", "codename"))
    Group.objects.create(name="Desk").permissions.set(Permission.objects.all()[:3])

    empty_database()

    assert not any(model.objects.exists() for model in (User, Account, Entry, Group))
    assert set(Permission.objects.values_list("pk", "codename")) == permissions
    account = Account.objects.create(user=User.objects.create_user("next@example.com"), balance=1)
    Entry.objects.create(account=account, kind="top_up", amount=1, balance_after=1, reference="a")
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
        Entry.objects.all().delete()


def test_permissions_that_a_test_took_away_come_back() -> None:
    wanted = stock()
    Permission.objects.filter(content_type__app_label="wallet").delete()
    Permission.objects.update(name="changed")

    restock(wanted)

    assert len(wanted) > 100
    assert stock() == wanted


@pytest.mark.postgres
def test_who_was_left_in_the_middle_of_a_transaction_is_ended(customer: User) -> None:
    begun, ended = threading.Event(), threading.Event()
    raised: list[str] = []

    def hold() -> None:
        try:
            with transaction.atomic():
                User.objects.update(email="held@example.com")
                begun.set()
                ended.wait(30)
        except DatabaseError as error:
            raised.append(type(error).__name__)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    begun.wait(30)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = 50")

    empty_database()
    ended.set()
    holder.join()

    assert raised == ["OperationalError"]
    assert not User.objects.exists()
