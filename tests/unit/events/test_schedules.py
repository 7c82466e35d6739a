"""Dates: every state by every state, and what the event makes of its dates."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest

from holdfast.common.errors import DomainError, Reason
from holdfast.events.domain.schedules import (
    LIVE_STATES,
    OCCUPYING_STATES,
    ScheduleState,
    check_move,
    last_end,
    last_start,
    live,
    shown,
)
from tests.unit.events.examples import NOW, schedule

ALLOWED = {
    "SCHEDULED": {"CONFIRMED", "IN_PROGRESS", "POSTPONED", "CANCELLED"},
    "CONFIRMED": {"IN_PROGRESS", "POSTPONED", "CANCELLED"},
    "RESCHEDULED": {"IN_PROGRESS", "POSTPONED", "CANCELLED"},
    "POSTPONED": {"RESCHEDULED", "CANCELLED"},
    "IN_PROGRESS": {"COMPLETED", "CANCELLED"},
    "COMPLETED": set(),
    "CANCELLED": set(),
}


@pytest.mark.parametrize(("state", "to"), list(product(ALLOWED, ALLOWED)))
def test_each_move_from_each_state(state: str, to: str) -> None:
    def move() -> None:
        check_move(ScheduleState(state), ScheduleState(to), reason="rain", new_time=True)

    if to in ALLOWED[state]:
        move()
        return
    with pytest.raises(DomainError) as caught:
        move()
    assert caught.value.reason is Reason.INVALID_TRANSITION


@pytest.mark.parametrize("to", ["POSTPONED", "CANCELLED"])
def test_cancelling_and_postponing_a_date_needs_a_reason(to: str) -> None:
    with pytest.raises(DomainError, match="needs a reason"):
        check_move(ScheduleState.SCHEDULED, ScheduleState(to), reason=" ", new_time=False)


def test_a_postponed_date_comes_back_with_a_new_time_only() -> None:
    with pytest.raises(DomainError, match="new start_time"):
        check_move(ScheduleState.POSTPONED, ScheduleState.RESCHEDULED, reason=None, new_time=False)


def test_which_states_count() -> None:
    assert {state.value for state in LIVE_STATES} == set(ALLOWED) - {"COMPLETED", "CANCELLED"}
    assert {state.value for state in OCCUPYING_STATES} == {"SCHEDULED", "CONFIRMED", "RESCHEDULED", "IN_PROGRESS"}


def test_the_shown_date_is_the_first_live_one_else_the_last_held() -> None:
    first = schedule(id="a", start_time=NOW + timedelta(days=1), state=ScheduleState.CANCELLED)
    second = schedule(id="b", start_time=NOW + timedelta(days=3))
    third = schedule(id="c", start_time=NOW + timedelta(days=2))
    assert shown([first, second, third]) is third
    assert [one.id for one in live([first, second, third])] == ["c", "b"]
    held = schedule(id="d", state=ScheduleState.COMPLETED)
    assert shown([first, held]) is held
    assert shown([first]) is None
    assert shown([]) is None


def test_the_last_start_and_end_leave_out_what_does_not_take_place() -> None:
    one = schedule(id="a", start_time=NOW + timedelta(days=1))
    gone = schedule(id="b", start_time=NOW + timedelta(days=9), state=ScheduleState.POSTPONED)
    assert last_start([one, gone]) == one.start_time
    assert last_end([one, gone]) == one.end_time
    assert last_start([gone]) is None
    assert last_end([]) is None
