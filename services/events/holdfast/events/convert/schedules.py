"""Schedule ⇄ proto."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.api.events.v1 import schedule_pb2
from holdfast.common.errors import invalid
from holdfast.common.protobuf import to_datetime, to_timestamp
from holdfast.events.convert.values import CLEARED, stamp
from holdfast.events.domain.dates import utc_offset_minutes
from holdfast.events.domain.schedules import Schedule, ScheduleState

if TYPE_CHECKING:
    from collections.abc import Iterable

TIMES: Final = frozenset({"start_time", "end_time", "doors_time", "check_in_open_time", "check_in_close_time"})


def to_proto(schedule: Schedule, *, member: bool) -> schedule_pb2.Schedule:
    """Give a date as the contract has it; notes are for members of the organization only."""
    return schedule_pb2.Schedule(
        id=schedule.id,
        organization_id=schedule.organization_id,
        event_id=schedule.event_id,
        start_time=to_timestamp(schedule.start_time),
        end_time=to_timestamp(schedule.end_time),
        doors_time=stamp(schedule.doors_time),
        time_zone=schedule.time_zone,
        utc_offset=utc_offset_minutes(schedule.start_time, schedule.time_zone),
        state=schedule_pb2.Schedule.State.Value(schedule.state.value),
        state_reason=schedule.state_reason,
        capacity_override=schedule.capacity_override,
        check_in_open_time=stamp(schedule.check_in_open_time),
        check_in_close_time=stamp(schedule.check_in_close_time),
        notes=schedule.notes if member else None,
        create_time=to_timestamp(schedule.create_time),
        update_time=to_timestamp(schedule.update_time),
        etag=schedule.etag,
    )


def changes(message: schedule_pb2.Schedule, fields: Iterable[str]) -> dict[str, Any]:
    """Give the values of the fields that a request sets, None for those that it clears."""
    result: dict[str, Any] = {}
    for field in fields:
        if not message.HasField(field):  # type: ignore[arg-type] # a field of the resource, checked before
            result[field] = CLEARED
        elif field in TIMES:
            result[field] = to_datetime(getattr(message, field), field=f"schedule.{field}")
        elif field == "state":
            if message.state == schedule_pb2.Schedule.State.STATE_UNSPECIFIED:
                raise invalid("schedule.state", "must be a state")
            result["state"] = ScheduleState(schedule_pb2.Schedule.State.Name(message.state))
        else:
            result[field] = getattr(message, field)
    return result
