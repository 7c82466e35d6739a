"""Whether an event sells at a moment: its state, its sales window, its dates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from holdfast.capacity.domain.controls import UPCOMING, EventState, ScheduleState
from holdfast.capacity.domain.times import instant
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from holdfast.capacity.domain.controls import EventControls, ScheduleControls

NEVER: Final = datetime.max.replace(tzinfo=UTC)
"""The end of what has none."""
_TICK: Final = timedelta(microseconds=1)


def check_event(controls: EventControls, at: datetime) -> None:
    """Raise unless the event takes new holds at a moment, dates apart."""
    event = {"event_id": controls.event_id}
    state = controls.state_at(at)
    if state is EventState.CANCELLED:
        raise DomainError(Reason.EVENT_CANCELLED, "the event is cancelled", metadata=event)
    if state is EventState.POSTPONED:
        raise DomainError(Reason.EVENT_POSTPONED, "the event is postponed", metadata=event)
    sells = state in {EventState.ON_SALE, EventState.SOLD_OUT} or (
        state is EventState.IN_PROGRESS and controls.sells_at_the_door
    )
    if not sells or controls.deleted:
        raise DomainError(
            Reason.EVENT_NOT_ON_SALE, "the event is not on sale", metadata={**event, "state": state.value}
        )
    check_window(at, controls.sales_start_time, controls.sales_end_time)


def check_window(at: datetime, start: datetime | None, end: datetime | None, *, price_tier_id: str = "") -> None:
    """Raise SALES_WINDOW_CLOSED outside a window, the event's or a tier's, that includes both its ends."""
    if (start is None or start <= at) and (end is None or at <= end):
        return
    metadata = {"price_tier_id": price_tier_id} if price_tier_id else {}
    if start is not None:
        metadata["sales_start_time"] = instant(start)
        if at < start:
            metadata["next_change_time"] = instant(start)
    if end is not None:
        metadata["sales_end_time"] = instant(end)
    raise DomainError(Reason.SALES_WINDOW_CLOSED, "outside the sales window", metadata=metadata)


def check_schedule(controls: EventControls, schedule: ScheduleControls, at: datetime) -> None:
    """Raise SALES_WINDOW_CLOSED unless a date is on sale at a moment."""
    end = off_sale_time(schedule, door=controls.sells_at_the_door)
    if end is not None and at < end:
        return
    raise DomainError(
        Reason.SALES_WINDOW_CLOSED,
        "the date is not on sale any more",
        metadata={
            "schedule_id": schedule.schedule_id,
            "state": schedule.state.value,
            "start_time": instant(schedule.start_time),
        },
    )


def off_sale_time(schedule: ScheduleControls, *, door: bool) -> datetime | None:
    """Give the moment from which on a date is not on sale; NEVER, or None for a date that is not on sale at all.

    That is its start; with sales at the `door` its end, also once it has begun.
    """
    if door and schedule.state in {*UPCOMING, ScheduleState.IN_PROGRESS}:
        if schedule.end_time is None:
            return NEVER
        return max(schedule.start_time, schedule.end_time) if schedule.state in UPCOMING else schedule.end_time
    return schedule.start_time if schedule.state in UPCOMING else None


def named_schedule(controls: EventControls, schedule_id: str) -> ScheduleControls:
    """Find a date of an event; SCHEDULE_NOT_FOUND."""
    schedule = controls.schedule(schedule_id)
    if schedule is None:
        raise DomainError(
            Reason.SCHEDULE_NOT_FOUND, "the event has no such date", metadata={"schedule_id": schedule_id}
        )
    return schedule


class Sales:
    """What the clock alone does to the sales of an event, or of one of its dates.

    Made once for controls that stay the same. SCHEDULE_NOT_FOUND for a date that the event does not have.
    """

    def __init__(self, controls: EventControls, schedule_id: str | None = None) -> None:
        self._controls = controls
        dates = controls.schedules if schedule_id is None else (named_schedule(controls, schedule_id),)
        door = controls.sells_at_the_door
        ends = [end for date in dates if (end := off_sale_time(date, door=door)) is not None]
        self._end = max(ends, default=None) if dates else NEVER
        start, end = controls.sales_start_time, controls.sales_end_time
        moments = {start, self._end, None if end is None or end >= NEVER else end + _TICK}
        self._moments = sorted(each for each in moments if each is not None and each < NEVER)

    def at(self, moment: datetime) -> tuple[EventState, bool]:
        """Tell the event's state at a moment, and whether holds can be placed."""
        state = self._controls.state_at(moment)
        if self._end is None or moment >= self._end:
            return state, False
        try:
            check_event(self._controls, moment)
        except DomainError:
            return state, False
        return state, True

    def last_change(self, moment: datetime) -> datetime | None:
        """Give when something may have changed last by a moment."""
        return max((each for each in self._moments if each <= moment), default=None)

    def next_change(self, moment: datetime) -> datetime | None:
        """Give when something changes next after a moment; None = nothing will."""
        now = self.at(moment)
        return next((each for each in self._moments if each > moment and self.at(each) != now), None)
