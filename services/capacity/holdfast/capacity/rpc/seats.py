"""SectionService's seats: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import section_service_pb2 as pb
from holdfast.capacity import convert
from holdfast.capacity.convert_seating import change_of
from holdfast.capacity.operations import sections
from holdfast.capacity.operations.attributes import SetSeatAttributes
from holdfast.capacity.seat_map_messages import seat_map_message

if TYPE_CHECKING:
    from holdfast.capacity.rpc.events_of import EventsOf
    from holdfast.capacity.rpc.front import Front
    from holdfast.capacity.seat_maps import SeatMaps
    from holdfast.common.rpc_call import Call


class SeatServicer:
    """The seats that there are."""

    def __init__(self, front: Front, events: EventsOf, *, seat_maps: SeatMaps) -> None:
        self._front = front
        self._events = events
        self._seat_maps = seat_maps

    async def get_seat_map(self, request: pb.GetSeatMapRequest, call: Call) -> pb.GetSeatMapResponse:
        """Tell which seats of an event are taken, from memory."""
        event, now = await self._front.knowing(
            call, request.event_id, lambda: self._seat_maps.of(call.organization_id, request.event_id)
        )
        hidden = self._front.sees_hidden(call)
        return pb.GetSeatMapResponse(
            seat_map=seat_map_message(
                request.event_id,
                event.shown(now, schedule_id=request.schedule_id or None, hidden=hidden),
                at=now,
                newest_at=event.at,
                hidden=hidden,
                staff=self._front.viewer(call).reads_all,
                with_layout=request.with_layout,
            )
        )

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
