"""Handlers that tests put behind the front door, on the published contracts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import hold_pb2, hold_service_pb2, inventory_service_pb2
from holdfast.api.events.v1 import event_pb2, event_service_pb2
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.common.rpc_server import Call

HOLDS = hold_service_pb2.DESCRIPTOR.services_by_name["HoldService"]
INVENTORY = inventory_service_pb2.DESCRIPTOR.services_by_name["InventoryService"]
EVENTS = event_service_pb2.DESCRIPTOR.services_by_name["EventService"]


async def forever(_call: Call) -> None:
    """Never answer."""
    await asyncio.Event().wait()


def until(gate: asyncio.Event) -> Callable[[Call], Awaitable[None]]:
    """Answer when the test opens the gate."""

    async def wait(_call: Call) -> None:
        await gate.wait()

    return wait


class Holds:
    """Remembers its calls; GetHold does what the test says."""

    def __init__(self, get_hold: Callable[[Call], Awaitable[None]] | None = None) -> None:
        self.calls: list[Call] = []
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._get_hold = get_hold

    async def get_hold(self, request: hold_service_pb2.GetHoldRequest, call: Call) -> hold_service_pb2.GetHoldResponse:
        self.calls.append(call)
        self.entered.set()
        try:
            if self._get_hold is not None:
                await self._get_hold(call)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return hold_service_pb2.GetHoldResponse(hold=hold_pb2.Hold(id=request.hold_id))

    async def place_hold(
        self, request: hold_service_pb2.PlaceHoldRequest, call: Call
    ) -> hold_service_pb2.PlaceHoldResponse:
        self.calls.append(call)
        if request.section_id:
            raise DomainError(
                Reason.INSUFFICIENT_CAPACITY,
                "too few places",
                metadata={"section_id": request.section_id, "available": "3"},
                retry_after_seconds=2,
            )
        call.mark_replayed()
        return hold_service_pb2.PlaceHoldResponse(hold=hold_pb2.Hold(id=request.event_id))


class Inventory:
    """Answers who called."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    async def apply_event_controls(
        self, request: inventory_service_pb2.ApplyEventControlsRequest, call: Call
    ) -> inventory_service_pb2.ApplyEventControlsResponse:
        self.calls.append(call)
        return inventory_service_pb2.ApplyEventControlsResponse(controls_version=request.controls.version)


class Events:
    """Gives the event back."""

    async def create_event(
        self, request: event_service_pb2.CreateEventRequest, _call: Call
    ) -> event_service_pb2.CreateEventResponse:
        return event_service_pb2.CreateEventResponse(event=event_pb2.Event(name=request.event.name))

    async def update_event(
        self, request: event_service_pb2.UpdateEventRequest, _call: Call
    ) -> event_service_pb2.UpdateEventResponse:
        return event_service_pb2.UpdateEventResponse(event=event_pb2.Event(name=request.event.name))
