"""Whether an event, a section and a date belong together: asked from events and capacity before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import section_service_pb2, section_service_pb2_grpc
from holdfast.api.events.v1 import (
    event_service_pb2,
    event_service_pb2_grpc,
    schedule_service_pb2,
    schedule_service_pb2_grpc,
)
from holdfast.common.errors import DomainError, FieldViolation, Reason

if TYPE_CHECKING:
    from holdfast.common.mesh_identity import Principal
    from holdfast.common.rpc_client import Peer

DEADLINE_SECONDS: Final = 1.0


class Belonging:
    """Asks for the caller, with the caller's principal: what the caller may not see does not exist here either."""

    def __init__(self, *, events: Peer, capacity: Peer) -> None:
        self._events = events
        self._capacity = capacity
        self._event_service = event_service_pb2_grpc.EventServiceStub(events.channel)
        self._schedule_service = schedule_service_pb2_grpc.ScheduleServiceStub(events.channel)
        self._section_service = section_service_pb2_grpc.SectionServiceStub(capacity.channel)

    async def check_event(self, event_id: str, *, principal: Principal) -> None:
        """Raise EVENT_NOT_FOUND unless there is this event, DEPENDENCY_UNAVAILABLE when events cannot tell."""
        await self._events.call(
            self._event_service.GetEvent,
            event_service_pb2.GetEventRequest(event_id=event_id),
            principal=principal,
            deadline_seconds=DEADLINE_SECONDS,
        )

    async def check_parts(
        self, event_id: str, *, section_id: str | None, schedule_id: str | None, principal: Principal
    ) -> None:
        """Check that a section and a date, where given, are the event's, and that the section is good for the date.

        Raises SECTION_NOT_FOUND, SCHEDULE_NOT_FOUND, PRICE_TIER_NOT_APPLICABLE, DEPENDENCY_UNAVAILABLE.
        """
        if schedule_id is not None:
            await self._schedule_of(event_id, schedule_id, principal)
        if section_id is not None:
            await self._section_of(event_id, section_id, schedule_id, principal)

    async def _schedule_of(self, event_id: str, schedule_id: str, principal: Principal) -> None:
        try:
            await self._events.call(
                self._schedule_service.GetSchedule,
                schedule_service_pb2.GetScheduleRequest(event_id=event_id, schedule_id=schedule_id),
                principal=principal,
                deadline_seconds=DEADLINE_SECONDS,
            )
        except DomainError as error:
            raise _at("price_tier.schedule_id", error, of=Reason.SCHEDULE_NOT_FOUND) from error

    async def _section_of(self, event_id: str, section_id: str, schedule_id: str | None, principal: Principal) -> None:
        try:
            response = await self._capacity.call(
                self._section_service.GetSection,
                section_service_pb2.GetSectionRequest(section_id=section_id),
                principal=principal,
                deadline_seconds=DEADLINE_SECONDS,
            )
        except DomainError as error:
            raise _at("price_tier.section_id", error, of=Reason.SECTION_NOT_FOUND) from error
        section = response.section
        if section.event_id != event_id:
            raise _not_applicable("price_tier.section_id", "the section is of another event", section_id)
        if section.schedule_id and schedule_id and section.schedule_id != schedule_id:
            raise _not_applicable("price_tier.schedule_id", "the section is of another date", section_id)


def _at(field: str, error: DomainError, *, of: Reason) -> DomainError:
    """Name the field with which another service's refusal has to do."""
    if error.reason is not of:
        return error
    return DomainError(
        error.reason,
        error.message,
        metadata=error.metadata,
        violations=(FieldViolation(field=field, message=error.message),),
    )


def _not_applicable(field: str, message: str, section_id: str) -> DomainError:
    return DomainError(
        Reason.PRICE_TIER_NOT_APPLICABLE,
        message,
        metadata={"section_id": section_id},
        violations=(FieldViolation(field=field, message=message),),
    )
