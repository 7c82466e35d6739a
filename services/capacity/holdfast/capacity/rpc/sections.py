"""SectionService: translate, call, translate."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from holdfast.api.capacity.v1 import section_pb2
from holdfast.api.capacity.v1 import section_service_pb2 as pb
from holdfast.api.common.v1 import pagination_pb2
from holdfast.capacity import convert
from holdfast.capacity.availability_messages import refusal_message
from holdfast.capacity.convert_seating import focal_point_of
from holdfast.capacity.domain.audits import ResourceType
from holdfast.capacity.domain.blocks import Act
from holdfast.capacity.domain.placing import LineRequest
from holdfast.capacity.domain.sections import SectionKind
from holdfast.capacity.operations import checking
from holdfast.capacity.operations import sections as operations
from holdfast.capacity.rpc.lines import with_best
from holdfast.common import ids
from holdfast.common.errors import invalid
from holdfast.common.pagination import filters_of, page_size
from holdfast.common.protobuf import to_timestamp, updated_fields

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.capacity.engine.unit import Command
    from holdfast.capacity.operations.sections import SectionsRead
    from holdfast.capacity.rpc.events_of import EventsOf
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.rpc_call import Call

OfASection = pb.UpdateSectionRequest | pb.DeleteSectionRequest | pb.SetBufferRequest
R = TypeVar("R")

_CLEARABLE: Final = frozenset({"code", "tier", "max_per_order"})
_DEFAULTS: Final = {"min_per_order": 1, "active": True, "visible": True}


def settings_of(section: section_pb2.Section, names: Iterable[str]) -> dict[str, Any]:
    """Read the settings that a request names; a named one that is absent is cleared, or its default."""
    settings: dict[str, Any] = {}
    for name in names:
        if name == "total":
            if not section.HasField("total"):
                raise invalid("section.total", "cannot be cleared")
        elif name == "kind":
            kind = section_pb2.Section.Kind.Name(section.kind)
            settings[name] = SectionKind.GENERAL if kind == "KIND_UNSPECIFIED" else SectionKind(kind)
        elif name == "focal_point":
            settings[name] = focal_point_of(section.focal_point) if section.HasField("focal_point") else None
        elif section.HasField(name):  # type: ignore[arg-type]  # names of the message's own fields
            settings[name] = getattr(section, name)
        elif name in _DEFAULTS:
            settings[name] = _DEFAULTS[name]
        elif name in _CLEARABLE:
            settings[name] = None
        else:
            raise invalid(f"section.{name}", "cannot be cleared")
    return settings


class SectionServicer:
    """The admission areas of events."""

    def __init__(self, front: Front, events: EventsOf) -> None:
        self._front = front
        self._events = events

    async def create_section(self, request: pb.CreateSectionRequest, call: Call) -> pb.CreateSectionResponse:
        """Create a section."""
        settings = settings_of(request.section, [field.name for field, _ in request.section.ListFields()])
        wanted = operations.NewSection(ids.new_id(), settings, request.section.total)
        command = operations.CreateSections((wanted,), self._front.key(call, request, "CreateSection"))
        audited = self._front.audited(call, request, command, ResourceType.SECTION, wanted.section_id)
        made = await self._front.submit_knowing(call, request.event_id, audited)
        self._front.replayed(call, request, replayed=made.replayed)
        return pb.CreateSectionResponse(section=await self._read(call, made.section_ids[0]))

    async def _read(self, call: Call, section_id: str) -> section_pb2.Section:
        """Read a section as it is now, for whoever may change it."""
        read = await self._front.run(
            call,
            lambda transaction: operations.get_section(
                transaction, section_id, layouts=self._front.layouts, hidden=True
            ),
        )
        return _first(read, call)

    async def batch_create_sections(
        self, request: pb.BatchCreateSectionsRequest, call: Call
    ) -> pb.BatchCreateSectionsResponse:
        """Create sections."""
        wanted = tuple(
            operations.NewSection(
                ids.new_id(),
                settings_of(section, [field.name for field, _ in section.ListFields()]),
                section.total,
                field=f"sections[{index}]",
            )
            for index, section in enumerate(request.sections)
        )
        command = operations.CreateSections(wanted, self._front.key(call, request, "BatchCreateSections"))
        section_ids = [each.section_id for each in wanted]
        audited = self._front.audited(call, request, command, ResourceType.SECTION, *section_ids)
        made = await self._front.submit_knowing(call, request.event_id, audited)
        self._front.replayed(call, request, replayed=made.replayed)
        views = await self._front.run(
            call,
            lambda transaction: operations.get_sections(
                transaction, request.event_id, made.section_ids, layouts=self._front.layouts
            ),
        )
        return pb.BatchCreateSectionsResponse(
            sections=[
                convert.section_message(view.section, call.organization_id, counters=view.counters, layout=view.layout)
                for view in views
            ],
            inventory_version=made.version,
        )

    async def get_section(self, request: pb.GetSectionRequest, call: Call) -> pb.GetSectionResponse:
        """Read a section."""
        read = await self._front.run(
            call,
            lambda transaction: operations.get_section(
                transaction, request.section_id, layouts=self._front.layouts, hidden=self._front.sees_hidden(call)
            ),
        )
        return pb.GetSectionResponse(
            section=_first(read, call),
            inventory_version=read.snapshot.version,
            server_time=to_timestamp(read.snapshot.at),
        )

    async def check_availability(
        self, request: pb.CheckAvailabilityRequest, call: Call
    ) -> pb.CheckAvailabilityResponse:
        """Tell whether a hold could be placed."""
        labels = tuple(request.seats.labels)
        wanted = LineRequest(
            section_id=request.section_id,
            schedule_id=request.schedule_id or None,
            quantity=len(labels) or request.quantity,
            labels=labels,
        )
        if request.HasField("best_available"):
            wanted = with_best(wanted, request.best_available)
        question = checking.Question(wanted, hidden=self._front.sees_hidden(call))
        found = await self._front.run(
            call, partial(checking.check, question=question, layouts=self._front.layouts), snapshot=True
        )
        return pb.CheckAvailabilityResponse(
            available=found.refusal is None,
            quantity=wanted.quantity,
            refusal=None if found.refusal is None else refusal_message(found.refusal),
            section_id=found.section_id,
            available_count=found.available,
            seats=found.seats,
            inventory_version=found.version,
            server_time=to_timestamp(found.at),
        )

    async def list_sections(self, request: pb.ListSectionsRequest, call: Call) -> pb.ListSectionsResponse:
        """List an event's sections."""
        size = page_size(request)
        filters = filters_of(request, organization_id=call.organization_id)
        cursor = self._front.tokens.decode(request.page_token, filters)
        after = None if cursor is None else (datetime.fromisoformat(str(cursor[0])), str(cursor[1]))
        read = await self._front.run_knowing(
            call,
            request.event_id,
            lambda transaction: operations.list_sections(
                transaction,
                request.event_id,
                layouts=self._front.layouts,
                limit=size + 1,
                after=after,
                hidden=self._front.sees_hidden(call),
                with_total=request.with_total,
            ),
        )
        snapshot = read.snapshot
        page, more = snapshot.views[:size], len(snapshot.views) > size
        token = ""
        if more:
            last = page[-1].section
            token = self._front.tokens.encode([last.create_time.isoformat(), last.section_id], filters)
        return pb.ListSectionsResponse(
            sections=[
                convert.section_message(view.section, call.organization_id, counters=view.counters, layout=view.layout)
                for view in page
            ],
            pagination=pagination_pb2.Pagination(next_page_token=token, total=read.total),
            inventory_version=snapshot.version,
            server_time=to_timestamp(snapshot.at),
        )

    async def update_section(self, request: pb.UpdateSectionRequest, call: Call) -> pb.UpdateSectionResponse:
        """Change a section."""
        fields = updated_fields(request.section, request.update_mask, resource_name="section")
        settings = settings_of(request.section, fields)
        command = operations.UpdateSection(
            request.section_id,
            settings,
            total=request.section.total if "total" in fields else None,
            etag=request.etag,
            key=self._front.key(call, request, "UpdateSection"),
        )
        made = await self._submit(call, request, command)
        self._front.replayed(call, request, replayed=made.replayed)
        return pb.UpdateSectionResponse(section=await self._read(call, request.section_id))

    async def delete_section(self, request: pb.DeleteSectionRequest, call: Call) -> pb.DeleteSectionResponse:
        """Delete a section."""
        command = operations.DeleteSection(
            request.section_id,
            request.etag,
            act=Act(call.principal.subject),
            key=self._front.key(call, request, "DeleteSection"),
        )
        replayed = await self._submit(call, request, command)
        self._front.replayed(call, request, replayed=replayed)
        return pb.DeleteSectionResponse()

    async def set_buffer(self, request: pb.SetBufferRequest, call: Call) -> pb.SetBufferResponse:
        """Keep places of a section back."""
        command = operations.SetBuffer(
            request.section_id,
            request.quantity,
            etag=request.etag,
            key=self._front.key(call, request, "SetBuffer"),
        )
        made = await self._submit(call, request, command)
        self._front.replayed(call, request, replayed=made.replayed)
        return pb.SetBufferResponse(section=await self._read(call, request.section_id), inventory_version=made.version)

    async def _submit(self, call: Call, request: OfASection, command: Command[R]) -> R:
        """Decide a command on a section."""
        audited = self._front.audited(call, request, command, ResourceType.SECTION, request.section_id)
        return await self._front.submit(call, await self._events.section(call, request.section_id), audited)

    async def get_totals(self, request: pb.GetTotalsRequest, call: Call) -> pb.GetTotalsResponse:
        """Add up an event's sections."""
        read = await self._front.run_knowing(
            call, request.event_id, lambda transaction: operations.get_totals(transaction, request.event_id)
        )
        counters = read.counters
        return pb.GetTotalsResponse(
            total=counters.total,
            available=counters.available,
            held=counters.held,
            pending=counters.pending,
            sold=counters.sold,
            blocked=counters.blocked,
            section_count=len(read.snapshot.views),
            active_section_count=read.active,
            inventory_version=read.snapshot.version,
            server_time=to_timestamp(read.snapshot.at),
        )


def _first(read: SectionsRead, call: Call) -> section_pb2.Section:
    view = read.snapshot.views[0]
    return convert.section_message(view.section, call.organization_id, counters=view.counters, layout=view.layout)
