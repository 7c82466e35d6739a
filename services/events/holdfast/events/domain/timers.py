"""What the clock does to an event: which step is due now, and when the next one is.

Each step is one commit with one version and one message, so that a scheduler which died between two steps goes
on where it stopped, and one that was late makes the same steps in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from holdfast.events.domain.lifecycle import EventState
from holdfast.events.domain.schedules import UPCOMING_STATES, ScheduleState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from holdfast.events.domain.events import Event
    from holdfast.events.domain.schedules import Schedule

SALES_RETRY_SECONDS_MIN: Final = 10
SALES_RETRY_SECONDS_MAX: Final = 60

_BEGIN_FROM: Final = frozenset(
    {
        EventState.PUBLISHED,
        EventState.RESCHEDULED,
        EventState.ON_SALE,
        EventState.SALES_PAUSED,
        EventState.SOLD_OUT,
    }
)
_RUNS: Final = _BEGIN_FROM | {EventState.IN_PROGRESS}
_BEGUN: Final = frozenset({ScheduleState.IN_PROGRESS, ScheduleState.COMPLETED})
_SALES_FROM: Final = frozenset({EventState.PUBLISHED, EventState.RESCHEDULED})


class StepKind(StrEnum):
    """What is due."""

    START_SALES = "start_sales"
    BEGIN = "begin"
    COMPLETE = "complete"
    MOVE_DATES = "move_dates"


@dataclass(frozen=True, slots=True)
class Step:
    """One step that is due; `moves` says which dates it moves where."""

    kind: StepKind
    moves: Mapping[str, ScheduleState]


def date_moves(schedules: Sequence[Schedule], *, now: datetime) -> dict[str, ScheduleState]:
    """Give the dates whose start or end has come, with the state that each enters now."""
    moves: dict[str, ScheduleState] = {}
    for one in schedules:
        if one.state in UPCOMING_STATES and one.start_time <= now:
            moves[one.id] = ScheduleState.IN_PROGRESS
        elif one.state is ScheduleState.IN_PROGRESS and one.end_time <= now:
            moves[one.id] = ScheduleState.COMPLETED
    return moves


def dates_step(event: Event, schedules: Sequence[Schedule], *, now: datetime) -> Step | None:
    """Give the step of the event's dates that is due, or None. Begin before complete, the event with its last date."""
    if event.delete_time is not None or event.state not in _RUNS:
        return None
    moves = date_moves(schedules, now=now)
    after = {one.id: moves.get(one.id, one.state) for one in schedules}
    if _all_begun(after.values()):
        if event.state in _BEGIN_FROM:
            return Step(kind=StepKind.BEGIN, moves=moves)
        if ScheduleState.IN_PROGRESS not in after.values():
            return Step(kind=StepKind.COMPLETE, moves=moves)
    return Step(kind=StepKind.MOVE_DATES, moves=moves) if moves else None


def dates_due(event: Event, schedules: Sequence[Schedule]) -> datetime | None:
    """Give when the next step of the event's dates is due; None if none ever is as things stand."""
    if event.delete_time is not None or event.state not in _RUNS:
        return None
    begun = [one.start_time for one in schedules if one.state in _BEGUN]
    running = [one.end_time for one in schedules if one.state is ScheduleState.IN_PROGRESS]
    if _all_begun(one.state for one in schedules) and (event.state in _BEGIN_FROM or not running):
        return max(begun)  # the dates are further than the event: it follows at once
    upcoming = [one.start_time for one in schedules if one.state in UPCOMING_STATES]
    return min(upcoming + running, default=None)


def _all_begun(states: Iterable[ScheduleState]) -> bool:
    """Tell whether no date is still to come, and at least one took place. A postponed date is still to come."""
    every = set(states)
    return bool(every & _BEGUN) and not every & (UPCOMING_STATES | {ScheduleState.POSTPONED})


def sales_due(event: Event, *, sold_out: bool, now: datetime) -> datetime | None:
    """Give when sales next start or follow the inventory by themselves; None if they do not from this state."""
    if event.delete_time is not None:
        return None
    if inventory_transition(event.state, sold_out=sold_out) is not None:
        return now
    return event.sales_start_time if event.state in _SALES_FROM else None


def inventory_transition(state: EventState, *, sold_out: bool) -> str | None:
    """Name the transition by which an event follows its inventory, None if it is where it belongs.

    Also what makes an event SOLD_OUT whose sales were resumed after its last place was sold while they were paused.
    """
    if state is EventState.ON_SALE and sold_out:
        return "sell_out"
    if state is EventState.SOLD_OUT and not sold_out:
        return "reopen_sales"
    return None


def sales_retry_seconds(attempt: int) -> int:
    """Give how long to wait after the n-th vain attempt (from 1): 10 s, doubled each time, up to a minute."""
    return int(min(SALES_RETRY_SECONDS_MAX, SALES_RETRY_SECONDS_MIN * 2 ** min(max(attempt, 1) - 1, 10)))
