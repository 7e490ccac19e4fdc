"""Deadlines that one thread watches over."""

import threading
import time

from upstream.deadlines import Clock


def test_each_is_called_once_at_its_time_whatever_the_order_of_asking() -> None:
    clock, called, done = Clock(), [], threading.Event()
    for name, seconds in [("late", 0.3), ("early", 0.1), ("middle", 0.2)]:
        clock.call_in(seconds, lambda name=name: called.append(name))  # type: ignore[misc]
    clock.call_in(0.4, done.set)

    assert done.wait(30)
    assert called == ["early", "middle", "late"]


def test_a_cancelled_one_is_not_called() -> None:
    clock, called, done = Clock(), threading.Event(), threading.Event()
    clock.call_in(0.05, called.set).cancel()
    clock.call_in(0.1, done.set)

    assert done.wait(30)
    assert not called.is_set()


def test_thousands_need_one_thread() -> None:
    clock, done = Clock(), threading.Event()
    before = threading.active_count()
    deadlines = [clock.call_in(60, done.set) for _ in range(5000)]

    assert threading.active_count() <= before + 1
    for each in deadlines:
        each.cancel()
    begun = time.monotonic()
    clock.call_in(0, done.set)
    assert done.wait(30)
    assert time.monotonic() - begun < 30
