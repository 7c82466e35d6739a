"""EventService."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from holdfast.api.common.v1 import pagination_pb2
from holdfast.api.events.v1 import event_service_pb2 as pb
from holdfast.common import ids
from holdfast.common.pagination import filters_of, page_size
from holdfast.common.protobuf import optional_datetime, to_datetime, to_timestamp, updated_fields
from holdfast.events.convert import events as convert
from holdfast.events.convert import schedules as convert_schedules
from holdfast.events.convert.values import canonical_id
from holdfast.events.domain.events import ORDINARY_FIELDS, not_found
from holdfast.events.operations import controls as controls_operations
from holdfast.events.operations import events as operations
from holdfast.events.operations import transitions
from holdfast.events.rpc.front import is_member
from holdfast.events.store.events import EventFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from holdfast.api.events.v1 import event_pb2
    from holdfast.common.rpc_call import Call
    from holdfast.events.operations.scenes import Shown
    from holdfast.events.rpc.front import Front

SCHEDULES_SHOWN_MAX: Final = 200
R = TypeVar("R")


class _TransitionRequest(Protocol):
    """What the requests of all plain transitions have."""

    event_id: str
    reason: str
    etag: str
    request_id: str


def _event(shown: Shown, call: Call) -> event_pb2.Event:
    view = convert.EventView(
        event=shown.scene.event,
        venue_name=shown.scene.venue.name,
        schedules=shown.scene.schedules,
        figures=shown.figures,
    )
    return convert.to_proto(view, member=is_member(call))


class EventServicer:
    """Events and their lifecycle."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def create_event(self, request: pb.CreateEventRequest, call: Call) -> pb.CreateEventResponse:
        """Create a draft, with its first date if the request gives one."""
        event = request.event
        start = convert.start_of(event)
        new = operations.NewEvent(
            event_id=ids.new_id(),
            schedule_id=ids.new_id(),
            fields=convert.changes(
                event, [field.name for field, _ in event.ListFields() if field.name in ORDINARY_FIELDS]
            ),
            date=None
            if start is None
            else {
                "start_time": start.start_time,
                "end_time": start.end_time,
                "doors_time": start.doors_time,
                "time_zone": start.time_zone,
            },
            initial_capacity=event.capacity,
            allow_overlap=request.allow_overlap,
        )
        actor, key, now = self._front.actor(call), self._front.key(call, request, "CreateEvent"), self._front.now()
        outcome = await self._front.run(
            call, lambda transaction: operations.create_event(transaction, new, actor=actor, key=key, now=now)
        )
        shown = self._front.settled(call, request, outcome)
        schedules = shown.scene.schedules
        return pb.CreateEventResponse(
            event=_event(shown, call),
            schedule=convert_schedules.to_proto(schedules[0], member=is_member(call))
            if start is not None and schedules
            else None,
            effective=await self._front.outside.push_controls(shown.scene),
        )

    async def get_event(self, request: pb.GetEventRequest, call: Call) -> pb.GetEventResponse:
        """Read an event with its dates."""
        shown = await self._front.run(
            call,
            lambda transaction: operations.get_event(
                transaction,
                event_id=canonical_id(request.event_id),
                slug=request.slug,
                actor=self._front.actor(call),
            ),
        )
        return pb.GetEventResponse(
            event=_event(shown, call),
            schedules=[
                convert_schedules.to_proto(one, member=is_member(call))
                for one in shown.scene.schedules[:SCHEDULES_SHOWN_MAX]
            ],
            server_time=to_timestamp(self._front.now()),
        )

    async def list_events(self, request: pb.ListEventsRequest, call: Call) -> pb.ListEventsResponse:
        """List events, newest first."""
        size = page_size(request)
        filters = filters_of(request, organization_id=f"{call.organization_id} {is_member(call)}")
        cursor = self._front.tokens.decode(request.page_token, filters)
        states = [convert.state_from_proto(state) for state in request.states]
        which = EventFilter(
            states=frozenset(state for state in states if state is not None),
            venue_id=canonical_id(request.venue_id),
            organizer_id=request.organizer_id,
        )
        page = await self._front.run(
            call,
            lambda transaction: operations.list_events(
                transaction,
                which,
                before_id=None if cursor is None else str(cursor[0]),
                size=size,
                with_total=request.with_total,
                actor=self._front.actor(call),
            ),
        )
        token = self._front.tokens.encode([page.events[-1].scene.event.id], filters) if page.more else ""
        return pb.ListEventsResponse(
            events=[_event(shown, call) for shown in page.events],
            pagination=pagination_pb2.Pagination(next_page_token=token, total=page.total),
            server_time=to_timestamp(self._front.now()),
        )

    async def update_event(self, request: pb.UpdateEventRequest, call: Call) -> pb.UpdateEventResponse:
        """Change ordinary fields."""
        fields = updated_fields(request.event, request.update_mask, resource_name="event")
        changes = convert.changes(request.event, fields)
        event_id = canonical_id(request.event_id)
        actor, key, now = self._front.actor(call), self._front.key(call, request, "UpdateEvent"), self._front.now()
        outcome = await self._front.run_answered(
            call,
            event_id,
            lambda transaction, answers: operations.update_event(
                transaction,
                event_id=event_id,
                changes=changes,
                allow_overlap=request.allow_overlap,
                etag=request.etag,
                actor=actor,
                key=key,
                answers=answers,
                now=now,
            ),
        )
        shown = self._front.settled(call, request, outcome)
        return pb.UpdateEventResponse(
            event=_event(shown, call), effective=await self._front.outside.push_controls(shown.scene)
        )

    async def delete_event(self, request: pb.DeleteEventRequest, call: Call) -> pb.DeleteEventResponse:
        """Delete an event of which nothing is held or sold."""
        event_id = canonical_id(request.event_id)
        actor, key, now = self._front.actor(call), self._front.key(call, request, "DeleteEvent"), self._front.now()
        outcome = await self._front.run_answered(
            call,
            event_id,
            lambda transaction, answers: operations.delete_event(
                transaction, event_id=event_id, etag=request.etag, actor=actor, key=key, answers=answers, now=now
            ),
        )
        await self._front.outside.push_controls(self._front.settled(call, request, outcome))
        return pb.DeleteEventResponse()

    async def submit_event(self, request: pb.SubmitEventRequest, call: Call) -> pb.SubmitEventResponse:
        """DRAFT → REVIEW."""
        return await self._transition("submit", request, call, pb.SubmitEventResponse)

    async def approve_event(self, request: pb.ApproveEventRequest, call: Call) -> pb.ApproveEventResponse:
        """REVIEW → APPROVED."""
        return await self._transition("approve", request, call, pb.ApproveEventResponse)

    async def reject_event(self, request: pb.RejectEventRequest, call: Call) -> pb.RejectEventResponse:
        """REVIEW → DRAFT."""
        return await self._transition("reject", request, call, pb.RejectEventResponse)

    async def publish_event(self, request: pb.PublishEventRequest, call: Call) -> pb.PublishEventResponse:
        """DRAFT, APPROVED, RESCHEDULED → PUBLISHED."""
        return await self._transition("publish", request, call, pb.PublishEventResponse)

    async def start_sales(self, request: pb.StartSalesRequest, call: Call) -> pb.StartSalesResponse:
        """Put an event on sale: PUBLISHED, RESCHEDULED → ON_SALE."""
        return await self._transition("start_sales", request, call, pb.StartSalesResponse)

    async def pause_sales(self, request: pb.PauseSalesRequest, call: Call) -> pb.PauseSalesResponse:
        """ON_SALE → SALES_PAUSED."""
        return await self._transition("pause_sales", request, call, pb.PauseSalesResponse)

    async def resume_sales(self, request: pb.ResumeSalesRequest, call: Call) -> pb.ResumeSalesResponse:
        """SALES_PAUSED → ON_SALE."""
        return await self._transition("resume_sales", request, call, pb.ResumeSalesResponse)

    async def postpone_event(self, request: pb.PostponeEventRequest, call: Call) -> pb.PostponeEventResponse:
        """Public states → POSTPONED."""
        return await self._transition("postpone", request, call, pb.PostponeEventResponse)

    async def cancel_event(self, request: pb.CancelEventRequest, call: Call) -> pb.CancelEventResponse:
        """Every state but the terminal ones → CANCELLED."""
        return await self._transition("cancel", request, call, pb.CancelEventResponse)

    async def complete_event(self, request: pb.CompleteEventRequest, call: Call) -> pb.CompleteEventResponse:
        """IN_PROGRESS → COMPLETED."""
        return await self._transition("complete", request, call, pb.CompleteEventResponse)

    async def _transition(self, name: str, request: _TransitionRequest, call: Call, response: Callable[..., R]) -> R:
        message: Message = request  # type: ignore[assignment] # every one of them is a message
        event_id = canonical_id(request.event_id)
        actor, key, now = self._front.actor(call), self._front.key(call, message, _RPC_NAMES[name]), self._front.now()
        outcome = await self._front.run_answered(
            call,
            event_id,
            lambda transaction, answers: transitions.transition(
                transaction,
                name,
                event_id=event_id,
                reason=request.reason,
                etag=request.etag,
                actor=actor,
                key=key,
                answers=answers,
                now=now,
            ),
        )
        shown = self._front.settled(call, message, outcome)
        return response(event=_event(shown, call), effective=await self._front.outside.push_controls(shown.scene))

    async def reschedule_event(self, request: pb.RescheduleEventRequest, call: Call) -> pb.RescheduleEventResponse:
        """POSTPONED → RESCHEDULED with new dates."""
        dates = [
            transitions.NewDate(
                schedule_id=canonical_id(date.schedule_id),
                start_time=to_datetime(date.start_time, field="dates.start_time"),
                end_time=optional_datetime(date, "end_time"),
                doors_time=optional_datetime(date, "doors_time"),
            )
            for date in request.dates
        ]
        actor, key, now = self._front.actor(call), self._front.key(call, request, "RescheduleEvent"), self._front.now()
        outcome = await self._front.run(
            call,
            lambda transaction: transitions.reschedule_event(
                transaction,
                event_id=canonical_id(request.event_id),
                dates=dates,
                reason=request.reason,
                allow_overlap=request.allow_overlap,
                etag=request.etag,
                actor=actor,
                key=key,
                now=now,
            ),
        )
        shown = self._front.settled(call, request, outcome)
        return pb.RescheduleEventResponse(
            event=_event(shown, call),
            schedules=[convert_schedules.to_proto(one, member=is_member(call)) for one in shown.scene.schedules],
            effective=await self._front.outside.push_controls(shown.scene),
        )

    async def list_event_transitions(
        self, request: pb.ListEventTransitionsRequest, call: Call
    ) -> pb.ListEventTransitionsResponse:
        """List an event's history, oldest first."""
        size = page_size(request)
        filters = filters_of(request, organization_id=call.organization_id)
        cursor = self._front.tokens.decode(request.page_token, filters)
        page = await self._front.run(
            call,
            lambda transaction: transitions.list_transitions(
                transaction,
                event_id=canonical_id(request.event_id),
                after_version=0 if cursor is None else int(cursor[0] or 0),
                size=size,
                with_total=request.with_total,
                actor=self._front.actor(call),
            ),
        )
        token = self._front.tokens.encode([page.steps[-1].version], filters) if page.more else ""
        return pb.ListEventTransitionsResponse(
            transitions=[convert.transition_to_proto(step) for step in page.steps],
            allowed=page.allowed,
            pagination=pagination_pb2.Pagination(next_page_token=token, total=page.total),
        )

    async def get_event_controls(self, request: pb.GetEventControlsRequest, call: Call) -> pb.GetEventControlsResponse:
        """Read what capacity must know of an event."""
        event_id = canonical_id(request.event_id)
        if not call.organization_id:
            raise not_found(event_id)
        scene = await self._front.run(
            call,
            lambda transaction: controls_operations.read_controls(
                transaction, organization_id=call.organization_id, event_id=event_id
            ),
        )
        return pb.GetEventControlsResponse(controls=convert.controls_to_proto(scene))


_RPC_NAMES: Final = {
    "submit": "SubmitEvent",
    "approve": "ApproveEvent",
    "reject": "RejectEvent",
    "publish": "PublishEvent",
    "start_sales": "StartSales",
    "pause_sales": "PauseSales",
    "resume_sales": "ResumeSales",
    "postpone": "PostponeEvent",
    "cancel": "CancelEvent",
    "complete": "CompleteEvent",
}
