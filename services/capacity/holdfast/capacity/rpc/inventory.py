"""InventoryService: translate, call, translate."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import inventory_service_pb2 as pb
from holdfast.api.capacity.v1 import messages_pb2
from holdfast.capacity.availability_messages import availability_message
from holdfast.capacity.operations.access import event_not_found
from holdfast.capacity.operations.controls import TakeOverControls
from holdfast.capacity.operations.tidying import Tidy
from holdfast.capacity.store import inventories, journal
from holdfast.common import ids
from holdfast.common.errors import DomainError
from holdfast.common.pagination import page_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.capacity.availability import Availabilities
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.database import Transaction
    from holdfast.common.rpc_call import Call

ANSWER_BYTES_MAX: Final = 2 * 1024 * 1024


class InventoryServicer:
    """An event's inventory as a whole."""

    def __init__(self, front: Front, *, availabilities: Availabilities, wake: Callable[[], None]) -> None:
        self._front = front
        self._availabilities = availabilities
        self._wake = wake

    async def apply_event_controls(
        self, request: pb.ApplyEventControlsRequest, call: Call
    ) -> pb.ApplyEventControlsResponse:
        """Take over newer controls."""
        if request.controls.organization_id != call.organization_id:
            raise event_not_found(request.controls.event_id)
        command = TakeOverControls(request.controls, section_id=ids.new_id())
        applied = await self._front.submit(call, request.controls.event_id, command)
        if applied.unfinished:
            # Everybody sees already what it ended; the rows follow, a first chunk now, which may fail, the rest later.
            with contextlib.suppress(DomainError):
                await self._front.submit(call, request.controls.event_id, Tidy())
            self._wake()
        return pb.ApplyEventControlsResponse(
            inventory_version=applied.version, controls_version=applied.controls_version
        )

    async def get_availability(self, request: pb.GetAvailabilityRequest, call: Call) -> pb.GetAvailabilityResponse:
        """Tell what is left of an event, from memory."""
        event, now = await self._front.knowing(
            call, request.event_id, lambda: self._availabilities.of(call.organization_id, request.event_id)
        )
        hidden = self._front.sees_hidden(call)
        found = event.answer(now, schedule_id=request.schedule_id or None, hidden=hidden)
        return pb.GetAvailabilityResponse(
            availability=availability_message(request.event_id, found, at=now, newest_at=event.at, hidden=hidden)
        )

    async def list_inventory_changes(
        self, request: pb.ListInventoryChangesRequest, call: Call
    ) -> pb.ListInventoryChangesResponse:
        """Read the journal."""
        size = page_size(request)

        async def read(transaction: Transaction) -> tuple[int, list[bytes]]:
            stored = await inventories.read(transaction, request.event_id)
            if stored is None:
                raise event_not_found(request.event_id)
            bodies = await journal.page(transaction, request.event_id, after_version=request.after_version, limit=size)
            return stored.version, bodies

        version, bodies = await self._front.run_knowing(call, request.event_id, read)
        changes: list[messages_pb2.InventoryChanged] = []
        total = 0
        for body in bodies:
            total += len(body)
            if changes and total > ANSWER_BYTES_MAX:
                break
            changes.append(messages_pb2.InventoryChanged.FromString(body))
        return pb.ListInventoryChangesResponse(changes=changes, inventory_version=version)
