"""What pricing asks events and capacity, answered over real mutual TLS from what a test says there is.

The services themselves are the concern of the end-to-end tests; here pricing's side of their contract is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import section_pb2, section_service_pb2
from holdfast.api.events.v1 import event_pb2, event_service_pb2, schedule_pb2, schedule_service_pb2
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id
from holdfast.common.mesh_identity import MeshIdentity
from holdfast.common.metrics import Metrics
from holdfast.common.rpc_server import RpcServer

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.common.rpc_server import Call
    from holdfast.common.settings import MeshSettings


@dataclass
class World:
    """Events, their dates and sections, by organization; and who was asked on whose behalf."""

    events: dict[str, str] = field(default_factory=dict)
    schedules: dict[str, str] = field(default_factory=dict)
    sections: dict[str, tuple[str, str]] = field(default_factory=dict)
    organizations: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def add_event(self, organization_id: str) -> str:
        event_id = new_id()
        self.events[event_id] = event_id
        self.organizations[event_id] = organization_id
        return event_id

    def add_schedule(self, event_id: str) -> str:
        schedule_id = new_id()
        self.schedules[schedule_id] = event_id
        return schedule_id

    def add_section(self, event_id: str, schedule_id: str = "") -> str:
        section_id = new_id()
        self.sections[section_id] = (event_id, schedule_id)
        self.organizations[section_id] = self.organizations[event_id]
        return section_id

    async def get_event(
        self, request: event_service_pb2.GetEventRequest, call: Call
    ) -> event_service_pb2.GetEventResponse:
        self.asked.append(("GetEvent", call.principal.subject))
        if self.organizations.get(request.event_id) != call.organization_id:
            raise DomainError(Reason.EVENT_NOT_FOUND, "there is no such event", metadata={"event_id": request.event_id})
        return event_service_pb2.GetEventResponse(event=event_pb2.Event(id=request.event_id))

    async def get_schedule(
        self, request: schedule_service_pb2.GetScheduleRequest, call: Call
    ) -> schedule_service_pb2.GetScheduleResponse:
        self.asked.append(("GetSchedule", call.principal.subject))
        if self.schedules.get(request.schedule_id) != request.event_id:
            raise DomainError(
                Reason.SCHEDULE_NOT_FOUND, "there is no such date", metadata={"schedule_id": request.schedule_id}
            )
        return schedule_service_pb2.GetScheduleResponse(schedule=schedule_pb2.Schedule(id=request.schedule_id))

    async def get_section(
        self, request: section_service_pb2.GetSectionRequest, call: Call
    ) -> section_service_pb2.GetSectionResponse:
        self.asked.append(("GetSection", call.principal.subject))
        if self.organizations.get(request.section_id) != call.organization_id:
            raise DomainError(
                Reason.SECTION_NOT_FOUND, "there is no such section", metadata={"section_id": request.section_id}
            )
        event_id, schedule_id = self.sections[request.section_id]
        section = section_pb2.Section(id=request.section_id, event_id=event_id)
        if schedule_id:
            section.schedule_id = schedule_id
        return section_service_pb2.GetSectionResponse(section=section)


def events_server(world: World, *, identity_dir: Path, mesh: MeshSettings) -> RpcServer:
    server = _server("events", identity_dir=identity_dir, mesh=mesh)
    server.add(event_service_pb2.DESCRIPTOR.services_by_name["EventService"], world)
    server.add(schedule_service_pb2.DESCRIPTOR.services_by_name["ScheduleService"], world)
    return server


def capacity_server(world: World, *, identity_dir: Path, mesh: MeshSettings) -> RpcServer:
    server = _server("capacity", identity_dir=identity_dir, mesh=mesh)
    server.add(section_service_pb2.DESCRIPTOR.services_by_name["SectionService"], world)
    return server


def _server(name: str, *, identity_dir: Path, mesh: MeshSettings) -> RpcServer:
    return RpcServer(
        service=name,
        listen="127.0.0.1:0",
        identity=MeshIdentity.load(identity_dir, name),
        mesh=mesh,
        metrics=Metrics(name),
        notice_seconds=0,
    )
