"""Beat goes on when the clock is put right under it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from celery import Celery
from celery.schedules import schedule

from panel.beat import PanelScheduler

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Sent(PanelScheduler):
    """Notes what it would send."""

    names: list[str]

    def apply_entry(self, entry: Any, producer: Any = None) -> None:  # noqa: ARG002
        self.names.append(entry.name)


@pytest.fixture
def beat() -> Sent:
    app = Celery("x", broker="memory://", set_as_current=False)
    app.conf.beat_schedule = {
        name: {"task": name, "schedule": schedule(timedelta(seconds=5))} for name in ("a", "b")
    }
    with time_machine.travel(NOON, tick=False):
        beat = Sent(app=app)
        beat.names = []
    return beat


def sent_at(beat: Sent, moment: datetime) -> list[str]:
    """What a few ticks at that moment send."""
    beat.names.clear()
    with time_machine.travel(moment, tick=False):
        for _ in range(6):
            beat.tick()
    return sorted(beat.names)


def test_it_sends_when_something_is_due(beat: Sent) -> None:
    sent_at(beat, NOON)

    assert sent_at(beat, NOON + timedelta(seconds=6)) == ["a", "b"]
    assert sent_at(beat, NOON + timedelta(seconds=8)) == []
    assert sent_at(beat, NOON + timedelta(seconds=13)) == ["a", "b"]


def test_a_clock_that_is_put_back_does_not_make_it_wait(beat: Sent) -> None:
    back = NOON - timedelta(hours=3)
    sent_at(beat, NOON)

    sent_at(beat, back)

    assert sent_at(beat, back + timedelta(seconds=6)) == ["a", "b"]
    assert sent_at(beat, back + timedelta(seconds=13)) == ["a", "b"]
