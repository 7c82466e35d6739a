"""One date of an event: its states, its transitions, its times."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from holdfast.common.errors import DomainError, Reason, invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime


class ScheduleState(StrEnum):
    """Where a date stands; the names of `Schedule.State`."""

    SCHEDULED = "SCHEDULED"
    CONFIRMED = "CONFIRMED"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"
    POSTPONED = "POSTPONED"
    RESCHEDULED = "RESCHEDULED"


_SCHEDULED, _CONFIRMED, _RUNNING = ScheduleState.SCHEDULED, ScheduleState.CONFIRMED, ScheduleState.IN_PROGRESS
_COMPLETED, _CANCELLED = ScheduleState.COMPLETED, ScheduleState.CANCELLED
_POSTPONED, _RESCHEDULED = ScheduleState.POSTPONED, ScheduleState.RESCHEDULED

SCHEDULE_TRANSITIONS: Final[Mapping[ScheduleState, frozenset[ScheduleState]]] = {
    _SCHEDULED: frozenset({_CONFIRMED, _RUNNING, _POSTPONED, _CANCELLED}),
    _CONFIRMED: frozenset({_RUNNING, _POSTPONED, _CANCELLED}),
    _RESCHEDULED: frozenset({_RUNNING, _POSTPONED, _CANCELLED}),  # acts as CONFIRMED
    _POSTPONED: frozenset({_RESCHEDULED, _CANCELLED}),
    _RUNNING: frozenset({_COMPLETED, _CANCELLED}),
    _COMPLETED: frozenset(),
    _CANCELLED: frozenset(),
}

LIVE_STATES: Final = frozenset(state for state, moves in SCHEDULE_TRANSITIONS.items() if moves)
"""Still to come or running: what counts for a SINGLE event, and what cancelling an event cancels."""
UPCOMING_STATES: Final = frozenset({_SCHEDULED, _CONFIRMED, _RESCHEDULED})
"""Has a time and has not started: what publishing needs, what the clock starts, what postponing moves."""
OCCUPYING_STATES: Final = UPCOMING_STATES | {_RUNNING}
"""Takes the venue for its time. A postponed date's old time is free again."""
REASON_REQUIRED: Final = frozenset({_POSTPONED, _CANCELLED})


@dataclass(frozen=True, slots=True)
class Schedule:
    """One date. Times are aware and in UTC; `time_zone` is the IANA zone in which it is announced."""

    id: str
    organization_id: str
    event_id: str
    start_time: datetime
    end_time: datetime
    doors_time: datetime | None
    time_zone: str
    state: ScheduleState
    state_reason: str | None
    capacity_override: int | None
    check_in_open_time: datetime | None
    check_in_close_time: datetime | None
    notes: str | None
    version: int
    create_time: datetime
    update_time: datetime

    @property
    def etag(self) -> str:
        """Changes with every change of the date."""
        return str(self.version)

    @property
    def live(self) -> bool:
        """Whether it is still to come or running."""
        return self.state in LIVE_STATES


def check_move(state: ScheduleState, to: ScheduleState, *, reason: str | None, new_time: bool) -> None:
    """Refuse a move that the table does not have, one without its reason, a new date without a new time."""
    if to not in SCHEDULE_TRANSITIONS[state]:
        raise DomainError(
            Reason.INVALID_TRANSITION,
            f"a date in {state.value} cannot become {to.value}",
            metadata={
                "state": state.value,
                "transition": to.value,
                "allowed": ",".join(sorted(SCHEDULE_TRANSITIONS[state])),
            },
        )
    if to in REASON_REQUIRED and not (reason or "").strip():
        raise invalid("schedule.state_reason", f"{to.value} needs a reason")
    if to is _RESCHEDULED and not new_time:
        raise invalid("schedule.start_time", "RESCHEDULED needs the new start_time")


def live(schedules: Iterable[Schedule]) -> list[Schedule]:
    """Give the live dates, earliest first."""
    return sorted((one for one in schedules if one.live), key=lambda one: (one.start_time, one.id))


def shown(schedules: Iterable[Schedule]) -> Schedule | None:
    """Give the date that callers who know one date only are shown: the first live one, else the last that was held."""
    every = list(schedules)
    upcoming = live(every)
    if upcoming:
        return upcoming[0]
    held = [one for one in every if one.state is _COMPLETED]
    return max(held, key=lambda one: (one.start_time, one.id)) if held else None


def last_start(schedules: Iterable[Schedule]) -> datetime | None:
    """Give when the last date starts, over those that occupy the venue; then the event begins."""
    return max((one.start_time for one in schedules if one.state in OCCUPYING_STATES), default=None)


def last_end(schedules: Iterable[Schedule]) -> datetime | None:
    """Give when the last date ends, over those that occupy the venue; then the event is over."""
    return max((one.end_time for one in schedules if one.state in OCCUPYING_STATES), default=None)
