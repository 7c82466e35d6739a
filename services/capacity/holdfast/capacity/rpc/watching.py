"""InventoryService.WatchAvailability: translate, follow, translate."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from holdfast.capacity.watch_messages import step_message
from holdfast.capacity.watching import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from holdfast.api.capacity.v1 import inventory_service_pb2 as pb
    from holdfast.capacity.availability import Availabilities
    from holdfast.capacity.rpc.front import Front
    from holdfast.capacity.watching import Watches
    from holdfast.common.rpc_call import Call


class WatchServicer:
    """Following what is left of events."""

    def __init__(self, front: Front, *, availabilities: Availabilities, watches: Watches) -> None:
        self._front = front
        self._availabilities = availabilities
        self._watches = watches

    async def watch_availability(
        self, request: pb.WatchAvailabilityRequest, call: Call
    ) -> AsyncGenerator[pb.WatchAvailabilityResponse]:
        """Tell what is left of an event, and then what changes."""
        organization_id, event_id = call.organization_id, request.event_id
        await self._front.knowing(call, event_id, lambda: self._availabilities.of(organization_id, event_id))
        watch = Watch(
            organization_id=organization_id,
            event_id=event_id,
            schedule_id=request.schedule_id or None,
            hidden=self._front.sees_hidden(call),
            with_seats=request.with_seats,
        )
        async with aclosing(self._watches.steps(watch, after_version=request.after_version)) as steps:
            async for told in steps:
                yield step_message(event_id, told, hidden=watch.hidden)
