"""Adding and moving dates: the rules that need the venue and the other events there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from holdfast.common.errors import DomainError, Reason, invalid
from holdfast.events.domain.dates import (
    DateRules,
    Times,
    check_lead,
    check_order,
    check_sales_window,
    check_zone,
    complete_times,
)
from holdfast.events.domain.events import check_single
from holdfast.events.domain.schedules import OCCUPYING_STATES, Schedule, ScheduleState, last_end
from holdfast.events.store import schedules as schedule_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from holdfast.common.database import Transaction
    from holdfast.events.domain.events import Event
    from holdfast.events.domain.scenes import Scene
    from holdfast.events.domain.venues import Venue


def new_schedule(scene: Scene, *, schedule_id: str, values: Mapping[str, Any], now: datetime) -> Schedule:
    """Make a date of what a request gives: a missing end, zone and doors are filled in, all rules checked.

    `values` has the field names of Schedule; None = not given. Raises INVALID_DATE_RANGE, UNKNOWN_TIME_ZONE,
    VALIDATION_FAILED.
    """
    rules = DateRules.of(scene.organization)
    times = complete_times(
        start_time=values["start_time"],
        end_time=values.get("end_time"),
        doors_time=values.get("doors_time"),
        check_in_open_time=values.get("check_in_open_time"),
        check_in_close_time=values.get("check_in_close_time"),
        rules=rules,
        default_doors_minutes=scene.venue.default_doors_minutes,
        now=now,
    )
    check_lead(times.start_time, rules=rules, now=now)
    capacity_override = values.get("capacity_override")
    check_override(capacity_override, scene.venue)
    return Schedule(
        id=schedule_id,
        organization_id=scene.event.organization_id,
        event_id=scene.event.id,
        start_time=times.start_time,
        end_time=times.end_time,
        doors_time=times.doors_time,
        time_zone=check_zone(values.get("time_zone") or scene.venue.time_zone),
        state=ScheduleState.SCHEDULED,
        state_reason=values.get("state_reason"),
        capacity_override=capacity_override,
        check_in_open_time=times.check_in_open_time,
        check_in_close_time=times.check_in_close_time,
        notes=values.get("notes"),
        version=1,
        create_time=now,
        update_time=now,
    )


def check_times(schedule: Schedule, *, now: datetime) -> None:
    """Refuse times of one date in the wrong order."""
    check_order(
        Times(
            start_time=schedule.start_time,
            end_time=schedule.end_time,
            doors_time=schedule.doors_time,
            check_in_open_time=schedule.check_in_open_time,
            check_in_close_time=schedule.check_in_close_time,
        ),
        now=now,
    )


def check_override(capacity_override: int | None, venue: Venue) -> None:
    """Refuse a date that takes more people than the venue."""
    if capacity_override is not None and capacity_override > venue.max_capacity:
        raise invalid("schedule.capacity_override", f"the venue takes {venue.max_capacity}")


def check_dates(event: Event, schedules: Iterable[Schedule], *, now: datetime) -> None:
    """Refuse two live dates of a SINGLE event, more dates than an event may have, sales that outlast the last date."""
    every = list(schedules)
    check_single(event.kind, every)
    if len(every) > schedule_store.SCHEDULES_PER_EVENT_MAX:
        raise invalid("schedule", f"an event has at most {schedule_store.SCHEDULES_PER_EVENT_MAX} dates")
    check_sales_window(
        sales_start_time=event.sales_start_time, sales_end_time=event.sales_end_time, last_end=last_end(every), now=now
    )


async def check_overlaps(
    transaction: Transaction, scene: Scene, schedules: Iterable[Schedule], *, allow_overlap: bool
) -> None:
    """Refuse dates at whose time another event has the venue. The transaction holds the venue's lock."""
    if allow_overlap:
        return
    for one in schedules:
        if one.state not in OCCUPYING_STATES:
            continue
        other = await schedule_store.find_overlap(
            transaction,
            scene.event.organization_id,
            venue_id=scene.venue.id,
            event_id=scene.event.id,
            start_time=one.start_time,
            end_time=one.end_time,
        )
        if other is not None:
            raise DomainError(
                Reason.OVERLAPPING_EVENT,
                "another event has this venue at that time",
                metadata={"event_id": other.event_id, "name": other.name},
            )


def moved(
    schedule: Schedule, *, start_time: datetime, end_time: datetime | None, doors_time: datetime | None
) -> Schedule:
    """Move a date: as long, with doors and check-in as long before the start, as before unless said otherwise."""
    shift = start_time - schedule.start_time

    def shifted(moment: datetime | None) -> datetime | None:
        return None if moment is None else moment + shift

    return replace(
        schedule,
        start_time=start_time,
        end_time=end_time if end_time is not None else schedule.end_time + shift,
        doors_time=doors_time if doors_time is not None else shifted(schedule.doors_time),
        check_in_open_time=shifted(schedule.check_in_open_time),
        check_in_close_time=shifted(schedule.check_in_close_time),
    )
