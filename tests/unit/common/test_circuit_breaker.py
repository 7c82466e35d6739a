"""The breaker opens after failures in a row and closes after one trial that succeeds."""

from __future__ import annotations

import pytest

from holdfast.common.circuit_breaker import BreakerPolicy, CircuitBreaker, State


class HandClock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def breaker(clock: HandClock) -> CircuitBreaker:
    return CircuitBreaker(BreakerPolicy(failures=3, open_seconds=1, open_seconds_max=4), now=clock)


def state(breaker: CircuitBreaker) -> State:
    return breaker.state


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        assert breaker.admit()
        breaker.failed()


def test_it_opens_after_failures_in_a_row(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert state(breaker) is State.CLOSED
    fail(breaker, 1)
    assert state(breaker) is State.OPEN
    assert not breaker.admit()
    assert breaker.retry_after_seconds() == pytest.approx(1)


def test_half_open_lets_exactly_one_trial_through(breaker: CircuitBreaker, clock: HandClock) -> None:
    fail(breaker, 3)
    clock.seconds += 1
    assert breaker.admit()
    assert not breaker.admit()
    breaker.succeeded()
    assert state(breaker) is State.CLOSED
    assert breaker.admit()


def test_a_failed_trial_doubles_the_wait_up_to_a_limit(breaker: CircuitBreaker, clock: HandClock) -> None:
    fail(breaker, 3)
    for wait in (1, 2, 4, 4):
        clock.seconds += wait - 0.01
        assert not breaker.admit()
        clock.seconds += 0.01
        assert breaker.admit()
        breaker.failed()


def test_success_brings_the_first_wait_back(breaker: CircuitBreaker, clock: HandClock) -> None:
    fail(breaker, 3)
    clock.seconds += 1
    fail(breaker, 1)
    clock.seconds += 2
    assert breaker.admit()
    breaker.succeeded()
    fail(breaker, 3)
    assert breaker.retry_after_seconds() == pytest.approx(1)


def test_an_abandoned_trial_leaves_room_for_another(breaker: CircuitBreaker, clock: HandClock) -> None:
    fail(breaker, 3)
    clock.seconds += 1
    assert breaker.admit()
    breaker.abandoned()
    assert breaker.admit()
    breaker.succeeded()
    assert state(breaker) is State.CLOSED


def test_late_failures_of_calls_made_before_it_opened_change_nothing(breaker: CircuitBreaker, clock: HandClock) -> None:
    fail(breaker, 3)
    breaker.failed()
    breaker.failed()
    clock.seconds += 1
    assert breaker.admit()
