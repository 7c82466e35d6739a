"""SectionService's seats: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import section_service_pb2 as pb
from holdfast.capacity import convert
from holdfast.capacity.convert_seating import change_of
from holdfast.capacity.operations import sections
from holdfast.capacity.operations.attributes import SetSeatAttributes

if TYPE_CHECKING:
    from holdfast.capacity.rpc.events_of import EventsOf
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.rpc_call import Call


class SeatServicer:
    """The seats that there are."""

    def __init__(self, front: Front, events: EventsOf) -> None:
        self._front = front
        self._events = events

    async def set_seat_attributes(
        self, request: pb.SetSeatAttributesRequest, call: Call
    ) -> pb.SetSeatAttributesResponse:
        """Change what seats are."""
        command = SetSeatAttributes(
            request.section_id,
            tuple(request.seats.labels),
            change_of(request.attributes),
            etag=request.etag,
            key=self._front.key(call, request, "SetSeatAttributes"),
        )
        made = await self._front.submit(call, await self._events.section(call, request.section_id), command)
        self._front.replayed(call, request, replayed=made.replayed)
        read = await self._front.run(
            call, lambda transaction: sections.get_section(transaction, request.section_id, hidden=True)
        )
        view = read.snapshot.views[0]
        return pb.SetSeatAttributesResponse(
            section=convert.section_message(
                view.section, call.organization_id, counters=view.counters, layout=view.layout
            ),
            inventory_version=made.version,
        )
