"""ScheduleService."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from holdfast.api.common.v1 import pagination_pb2
from holdfast.api.events.v1 import schedule_service_pb2 as pb
from holdfast.common import ids
from holdfast.common.pagination import filters_of, page_size
from holdfast.common.protobuf import to_timestamp, updated_fields
from holdfast.events.convert import schedules as convert
from holdfast.events.convert.values import canonical_id
from holdfast.events.operations import schedules as operations
from holdfast.events.rpc.front import is_member

if TYPE_CHECKING:
    from holdfast.common.rpc_call import Call
    from holdfast.events.rpc.front import Front


class ScheduleServicer:
    """The dates of events."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def create_schedule(self, request: pb.CreateScheduleRequest, call: Call) -> pb.CreateScheduleResponse:
        """Add a date."""
        fields = [field.name for field, _ in request.schedule.ListFields()]
        values = convert.changes(request.schedule, fields)
        key, schedule_id, now = self._front.key(call, request, "CreateSchedule"), ids.new_id(), self._front.now()
        outcome = await self._front.run(
            call,
            lambda transaction: operations.create_schedule(
                transaction,
                event_id=canonical_id(request.event_id),
                schedule_id=schedule_id,
                values=values,
                allow_overlap=request.allow_overlap,
                actor=self._front.actor(call),
                key=key,
                now=now,
            ),
        )
        made = self._front.settled(call, request, outcome)
        await self._front.outside.push_controls(made.scene)
        return pb.CreateScheduleResponse(schedule=convert.to_proto(made.schedule, member=is_member(call)))

    async def get_schedule(self, request: pb.GetScheduleRequest, call: Call) -> pb.GetScheduleResponse:
        """Read a date."""
        schedule = await self._front.run(
            call,
            lambda transaction: operations.get_schedule(
                transaction,
                event_id=canonical_id(request.event_id),
                schedule_id=canonical_id(request.schedule_id),
                actor=self._front.actor(call),
            ),
        )
        return pb.GetScheduleResponse(
            schedule=convert.to_proto(schedule, member=is_member(call)), server_time=to_timestamp(self._front.now())
        )

    async def list_schedules(self, request: pb.ListSchedulesRequest, call: Call) -> pb.ListSchedulesResponse:
        """List an event's dates in the order of their start."""
        size = page_size(request)
        filters = filters_of(request, organization_id=call.organization_id)
        cursor = self._front.tokens.decode(request.page_token, filters)
        after = None if cursor is None else (datetime.fromisoformat(str(cursor[0])), str(cursor[1]))
        page = await self._front.run(
            call,
            lambda transaction: operations.list_schedules(
                transaction,
                event_id=canonical_id(request.event_id),
                after=after,
                size=size,
                with_total=request.with_total,
                actor=self._front.actor(call),
            ),
        )
        token = ""
        if page.more:
            last = page.schedules[-1]
            token = self._front.tokens.encode([last.start_time.isoformat(), last.id], filters)
        return pb.ListSchedulesResponse(
            schedules=[convert.to_proto(one, member=is_member(call)) for one in page.schedules],
            pagination=pagination_pb2.Pagination(next_page_token=token, total=page.total),
            server_time=to_timestamp(self._front.now()),
        )

    async def update_schedule(self, request: pb.UpdateScheduleRequest, call: Call) -> pb.UpdateScheduleResponse:
        """Change a date or move it along."""
        fields = updated_fields(request.schedule, request.update_mask, resource_name="schedule")
        changes = convert.changes(request.schedule, fields)
        event_id = canonical_id(request.event_id)
        key, now = self._front.key(call, request, "UpdateSchedule"), self._front.now()
        outcome = await self._front.run_answered(
            call,
            event_id,
            lambda transaction, answers: operations.update_schedule(
                transaction,
                event_id=event_id,
                schedule_id=canonical_id(request.schedule_id),
                changes=changes,
                allow_overlap=request.allow_overlap,
                etag=request.etag,
                actor=self._front.actor(call),
                key=key,
                answers=answers,
                now=now,
            ),
        )
        changed = self._front.settled(call, request, outcome)
        return pb.UpdateScheduleResponse(
            schedule=convert.to_proto(changed.schedule, member=is_member(call)),
            effective=await self._front.outside.push_controls(changed.scene),
        )
