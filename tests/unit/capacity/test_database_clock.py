"""The database's clock, known from readings that take their time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from holdfast.capacity.domain.database_clock import DatabaseClock
from tests.unit.capacity.factories import NOW


def after(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def test_it_never_runs_ahead_of_what_was_read() -> None:
    clock = DatabaseClock()
    # Somewhere between 100 and 102 it was noon; at 102 it was noon at least.
    clock.calibrate(NOW, before=100, after=102)
    assert clock.now(102) == NOW
    assert clock.now(110) == NOW + after(8)


def test_a_quicker_reading_makes_it_more_exact() -> None:
    clock = DatabaseClock()
    clock.calibrate(NOW, before=100, after=102)
    clock.calibrate(NOW + after(11), before=110, after=110.5)
    assert clock.now(120) == NOW + after(20.5)


def test_a_slow_reading_does_not_make_it_worse() -> None:
    clock = DatabaseClock()
    clock.calibrate(NOW, before=100, after=100)
    clock.calibrate(NOW + after(12), before=110, after=115)
    assert clock.now(120) == NOW + after(20)


def test_it_goes_back_with_a_database_whose_clock_was_set_back() -> None:
    clock = DatabaseClock()
    clock.calibrate(NOW, before=100, after=100)
    clock.calibrate(NOW - after(50), before=110, after=111)
    assert clock.now(111) == NOW - after(49)


def test_before_any_reading_there_is_no_time() -> None:
    with pytest.raises(RuntimeError):
        DatabaseClock().now(0)
