"""What the clock does to an event, whatever the scheduler's lag."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from holdfast.events.domain.lifecycle import EventState
from holdfast.events.domain.schedules import Schedule, ScheduleState
from holdfast.events.domain.timers import (
    StepKind,
    dates_due,
    dates_step,
    inventory_transition,
    sales_due,
    sales_retry_seconds,
)
from tests.unit.events.examples import NOW, event, schedule

FIRST = schedule(id="a", start_time=NOW)
SECOND = schedule(id="b", start_time=NOW + timedelta(days=1))
BEGINNING = ["PUBLISHED", "RESCHEDULED", "ON_SALE", "SALES_PAUSED", "SOLD_OUT"]


def in_state(one: Schedule, state: str) -> Schedule:
    return replace(one, state=ScheduleState(state))


@pytest.mark.parametrize("state", EventState)
def test_an_event_begins_when_its_last_date_starts_to_the_second(state: EventState) -> None:
    show = event(state=state)
    if state.value in BEGINNING:
        assert dates_due(show, [SECOND]) == SECOND.start_time
        assert dates_step(show, [SECOND], now=SECOND.start_time - timedelta(seconds=1)) is None
        step = dates_step(show, [SECOND], now=SECOND.start_time)
        assert step is not None
        assert step.kind is StepKind.BEGIN
        assert step.moves == {"b": ScheduleState.IN_PROGRESS}
    elif state is not EventState.IN_PROGRESS:
        assert dates_due(show, [SECOND]) is None
        assert dates_step(show, [SECOND], now=SECOND.end_time) is None


def test_an_earlier_date_moves_only_itself() -> None:
    show = event(state=EventState.ON_SALE)
    step = dates_step(show, [FIRST, SECOND], now=NOW)
    assert step is not None
    assert (step.kind, step.moves) == (StepKind.MOVE_DATES, {"a": ScheduleState.IN_PROGRESS})
    running = [in_state(FIRST, "IN_PROGRESS"), SECOND]
    assert dates_due(show, running) == FIRST.end_time
    step = dates_step(show, running, now=FIRST.end_time)
    assert step is not None
    assert (step.kind, step.moves) == (StepKind.MOVE_DATES, {"a": ScheduleState.COMPLETED})
    assert dates_due(show, [in_state(FIRST, "COMPLETED"), SECOND]) == SECOND.start_time


def test_an_event_completes_with_its_last_end() -> None:
    show = event(state=EventState.IN_PROGRESS)
    running = [in_state(SECOND, "IN_PROGRESS")]
    assert dates_due(show, running) == SECOND.end_time
    assert dates_step(show, running, now=SECOND.end_time - timedelta(seconds=1)) is None
    step = dates_step(show, running, now=SECOND.end_time)
    assert step is not None
    assert (step.kind, step.moves) == (StepKind.COMPLETE, {"b": ScheduleState.COMPLETED})


def test_a_scheduler_that_slept_makes_the_same_steps_in_the_same_order() -> None:
    show, late = event(state=EventState.PUBLISHED), SECOND.end_time + timedelta(days=3)
    step = dates_step(show, [SECOND], now=late)
    assert step is not None
    assert step.kind is StepKind.BEGIN
    begun = [in_state(SECOND, "IN_PROGRESS")]
    step = dates_step(replace(show, state=EventState.IN_PROGRESS), begun, now=late)
    assert step is not None
    assert step.kind is StepKind.COMPLETE


def test_a_cancelled_or_postponed_date_is_not_waited_for_wrongly() -> None:
    show, held = event(state=EventState.ON_SALE), in_state(FIRST, "COMPLETED")
    cancelled, postponed = in_state(SECOND, "CANCELLED"), in_state(SECOND, "POSTPONED")
    assert dates_due(show, [held, cancelled]) == FIRST.start_time  # what was left was the last date: begin at once
    step = dates_step(show, [held, cancelled], now=NOW)
    assert step is not None
    assert step.kind is StepKind.BEGIN
    assert dates_due(show, [held, postponed]) is None
    assert dates_step(show, [held, postponed], now=SECOND.end_time) is None
    assert dates_due(show, [cancelled]) is None


def test_a_deleted_event_has_nothing_due() -> None:
    gone = event(state=EventState.PUBLISHED, delete_time=NOW, sales_start_time=NOW)
    assert dates_due(gone, [SECOND]) is None
    assert dates_step(gone, [SECOND], now=SECOND.end_time) is None
    assert sales_due(gone, sold_out=False, now=NOW) is None


@pytest.mark.parametrize("state", EventState)
def test_sales_start_by_themselves_from_public_states_only(state: EventState) -> None:
    show = event(state=state, sales_start_time=NOW + timedelta(hours=1))
    expected = show.sales_start_time if state.value in {"PUBLISHED", "RESCHEDULED"} else None
    if state is EventState.SOLD_OUT:
        expected = NOW  # nothing says that it is sold out any more
    assert sales_due(show, sold_out=False, now=NOW) == expected
    assert sales_due(replace(show, state=EventState.PUBLISHED, sales_start_time=None), sold_out=False, now=NOW) is None


@pytest.mark.parametrize("state", EventState)
@pytest.mark.parametrize("sold_out", [True, False])
def test_an_event_follows_its_inventory(state: EventState, sold_out: bool) -> None:  # noqa: FBT001 - a table
    expected = {(EventState.ON_SALE, True): "sell_out", (EventState.SOLD_OUT, False): "reopen_sales"}
    assert inventory_transition(state, sold_out=sold_out) == expected.get((state, sold_out))


def test_retries_are_bounded() -> None:
    assert [sales_retry_seconds(attempt) for attempt in (0, 1, 2, 3, 5, 6, 50)] == [10, 10, 20, 40, 60, 60, 60]
