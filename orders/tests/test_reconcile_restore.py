"""F31: a database that was restored from a backup holds what may have been sent since."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from catalog.models import Service
from orders import gates, restore
from orders.errors import NotPossible
from orders.fulfilment import forward, run_due, sweep
from orders.models import Attempt, BackupMark, Event, Gate, Order
from orders.poll_models import Poll
from orders.states import Dispatch, Outcome
from orders.tests.lost_orders import allow_search, history, look, pass_time, true_id
from orders.tests.test_settle_apply import make_order
from orders.tests.worlds import assert_sound, make_due, order_of
from upstream.simulator import Simulator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def var_dir(settings: Settings, tmp_path: Path) -> Path:
    settings.VAR_DIR = tmp_path
    return tmp_path


def number_on_file(var_dir: Path) -> int:
    return int(json.loads((var_dir / "backup_mark").read_text())["number"])


def test_twenty_orders_sent_after_the_backup_are_held_found_and_not_sent_again(
    simulator: Simulator, customer: User, sold: Service
) -> None:
    history(customer, sold)
    allow_search(sold.provider)
    simulator.world.change(neighbours_per_order=5)
    orders = [order_of(customer, sold, quantity=100 + number) for number in range(20)]
    backup = list(Order.objects.filter(pk__in=[order.pk for order in orders]))
    assert restore.check_start()
    old_number = BackupMark.objects.get().number
    pass_time(30)
    restore.advance(now=timezone.now() + timedelta(minutes=1))
    for order in orders:
        forward(order.pk)
    sent = simulator.world.truth()["received"]["add"]
    _restore(backup, old_number)

    assert not restore.check_start()
    make_due(Order.objects.all())
    run_due()
    assert simulator.world.truth()["received"]["add"] == sent
    call_command("after_restore", stdout=_Quiet())
    assert Order.objects.filter(dispatch=Dispatch.UNKNOWN).count() == 20
    pass_time(200)
    report = look(20)

    assert report.placed == 20
    for order in orders:
        order.refresh_from_db()
        assert order.upstream_id == true_id(simulator, order)
    call_command("resume_sending", "Simulated", stdout=_Quiet())
    sweep()
    run_due()
    assert simulator.world.truth()["received"]["add"] == sent
    assert_sound(simulator)


class _Quiet:
    """Takes a command's words."""

    def write(self, text: str) -> None:
        """Forget them."""


def _restore(backup: list[Order], number: int) -> None:
    """Put the rows back as the backup has them; what came after it is gone."""
    pks = [order.pk for order in backup]
    Attempt.objects.filter(order_id__in=pks).delete()
    Event.objects.filter(order_id__in=pks).exclude(code="placed").delete()
    for order in backup:
        order.save()
    BackupMark.objects.update(number=number)


def test_a_database_at_the_files_number_starts(var_dir: Path) -> None:
    assert restore.check_start()
    assert restore.check_start()
    assert number_on_file(var_dir) == BackupMark.objects.get().number == 2


def test_a_database_behind_the_file_pauses_all_and_cannot_be_resumed_before_the_command(
    var_dir: Path, service: Service
) -> None:
    restore.check_start()
    restore.check_start()
    BackupMark.objects.update(number=1)

    assert not restore.check_start()

    gate = Gate.objects.get()
    assert gate.pause == Gate.Pause.RESTORED
    with pytest.raises(NotPossible):
        gates.resume(service.provider_id)
    assert not restore.check_start()
    restore.after_restore()
    gates.resume(service.provider_id)
    assert Gate.objects.get().pause == ""
    assert restore.check_start()


def test_another_database_with_the_same_folder_is_no_restore(var_dir: Path) -> None:
    restore.check_start()
    for _ in range(3):
        restore.check_start()
    BackupMark.objects.all().delete()
    assert restore.check_start()


@pytest.mark.parametrize("text", ["", "{", '{"installation": "x", "number": 1}', '{"number": 9}'])
def test_a_file_that_says_nothing_stops_nothing(var_dir: Path, text: str) -> None:
    (var_dir / "backup_mark").write_text(text)
    assert restore.check_start()
    assert number_on_file(var_dir) == 1


def test_the_number_grows_at_most_every_fifteen_seconds(var_dir: Path) -> None:
    restore.check_start()
    now = timezone.now()
    assert not restore.advance(now=now + timedelta(seconds=10))
    assert restore.advance(now=now + timedelta(seconds=20))
    assert number_on_file(var_dir) == 2


def test_an_order_marked_as_sending_in_the_backup_is_held_by_the_same_attempt(
    customer: User, service: Service
) -> None:
    order = order_of(customer, service)
    Order.objects.filter(pk=order.pk).update(
        dispatch="sending", attempt_no=1, lease_until=timezone.now()
    )
    Attempt.objects.create(order=order, number=1, outcome="sending", sending_at=timezone.now())

    held = restore.after_restore()

    attempt = Attempt.objects.get()
    order.refresh_from_db()
    assert (held.orders, held.providers) == (1, 1)
    assert order.dispatch == Dispatch.UNKNOWN
    assert (attempt.outcome, attempt.reason) == (Outcome.UNKNOWN, restore.REASON)
    assert attempt.search.is_restored


def test_what_is_at_its_provider_is_followed_on_and_what_is_held_is_not(
    customer: User, service: Service
) -> None:
    order_of(customer, service)
    followed = make_order(customer, service)
    before = list(Poll.objects.values())

    assert restore.after_restore().orders == 1

    assert [poll["order_id"] for poll in before] == [followed.pk]
    assert list(Poll.objects.values()) == before


def test_running_the_command_twice_holds_nothing_more(customer: User, service: Service) -> None:
    order_of(customer, service)
    assert restore.after_restore().orders == 1
    assert restore.after_restore().orders == 0
    assert Attempt.objects.count() == 1


def test_resuming_names_the_providers_there_are(service: Service) -> None:
    with pytest.raises(CommandError, match="Upstream"):
        call_command("resume_sending", "Nobody")
    Gate.objects.create(provider=service.provider, pause=Gate.Pause.MANUAL)
    call_command("resume_sending", str(service.provider_id), stdout=_Quiet())
    assert Gate.objects.get().pause == ""
