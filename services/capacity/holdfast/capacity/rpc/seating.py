"""SectionService, laying out seats: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import section_service_pb2 as pb
from holdfast.capacity import convert
from holdfast.capacity.convert_seating import config_of
from holdfast.capacity.domain.seating import plan
from holdfast.capacity.operations import sections as operations
from holdfast.capacity.operations.seating import GenerateSeating
from holdfast.common import ids

if TYPE_CHECKING:
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.rpc_call import Call


class SeatingServicer:
    """The seats of sections."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def generate_seating(self, request: pb.GenerateSeatingRequest, call: Call) -> pb.GenerateSeatingResponse:
        """Make seated sections with all their seats."""
        planned = plan(config_of(request.config))
        command = GenerateSeating(
            planned,
            section_ids=tuple(ids.new_id() for _ in planned),
            schedule_id=request.schedule_id or None,
            key=self._front.key(call, request, "GenerateSeating"),
        )
        made = await self._front.submit_knowing(call, request.event_id, command)
        self._front.replayed(call, request, replayed=made.replayed)
        read = await self._front.run(
            call, lambda transaction: operations.get_sections(transaction, request.event_id, made.section_ids)
        )
        return pb.GenerateSeatingResponse(
            sections=[
                convert.section_message(view.section, call.organization_id, counters=view.counters, layout=view.layout)
                for view in read
            ],
            seat_count=sum(view.section.counters.total for view in read),
            priced=True,
            inventory_version=made.version,
        )
