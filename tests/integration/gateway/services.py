"""Small services behind a real front door: what the gateway calls in these tests, over real mutual TLS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from holdfast.api.capacity.v1 import (
    availability_pb2,
    hold_pb2,
    hold_service_pb2,
    inventory_service_pb2,
    section_pb2,
    section_service_pb2,
)
from holdfast.api.events.v1 import event_pb2, event_service_pb2, venue_pb2, venue_service_pb2
from holdfast.api.pricing.v1 import price_tier_service_pb2, quote_service_pb2
from holdfast.capacity.rpc.batches import BatchServicer
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import new_id

if TYPE_CHECKING:
    from holdfast.common.rpc_call import Call
    from holdfast.common.rpc_server import RpcServer


class Holds:
    """Keeps holds in memory; a request_id is answered with the hold that it made."""

    def __init__(self) -> None:
        self.holds: dict[str, hold_pb2.Hold] = {}
        self.by_request: dict[tuple[str, str], str] = {}
        self.requests: list[hold_service_pb2.PlaceHoldRequest] = []
        self.calls: list[Call] = []
        self.refusal: DomainError | None = None
        self.delay_seconds = 0.0

    async def place_hold(
        self, request: hold_service_pb2.PlaceHoldRequest, call: Call
    ) -> hold_service_pb2.PlaceHoldResponse:
        self.requests.append(request)
        self.calls.append(call)
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if self.refusal is not None:
            raise self.refusal
        key = (call.principal.subject, request.request_id)
        known = self.by_request.get(key) if request.request_id else None
        if known:
            call.mark_replayed()
            return hold_service_pb2.PlaceHoldResponse(hold=self.holds[known], inventory_version=7)
        hold = hold_pb2.Hold(
            id=new_id(),
            organization_id=call.organization_id,
            customer_id=request.customer_id or call.principal.subject,
            placed_by=call.principal.subject,
            state=hold_pb2.Hold.ACTIVE,
            order_reference=request.order_reference,
            etag="1",
        )
        hold.create_time.FromJsonString("2026-05-01T12:00:00.123456Z")
        hold.lines.add(number=1, section_id=request.section_id, quantity=request.quantity)
        self.holds[hold.id] = hold
        self.by_request[key] = hold.id
        return hold_service_pb2.PlaceHoldResponse(hold=hold, inventory_version=2**53 + 1)

    async def confirm_hold(
        self, request: hold_service_pb2.ConfirmHoldRequest, call: Call
    ) -> hold_service_pb2.ConfirmHoldResponse:
        hold = self._change(request, call, hold_pb2.Hold.CONFIRMED)
        sale = hold_pb2.Sale(id=f"sale of {hold.id}", hold_id=hold.id, order_reference=request.order_reference)
        return hold_service_pb2.ConfirmHoldResponse(hold=hold, sale=sale, inventory_version=8)

    async def release_hold(
        self, request: hold_service_pb2.ReleaseHoldRequest, call: Call
    ) -> hold_service_pb2.ReleaseHoldResponse:
        hold = self._change(request, call, hold_pb2.Hold.RELEASED)
        return hold_service_pb2.ReleaseHoldResponse(hold=hold, inventory_version=9)

    async def extend_hold(
        self, request: hold_service_pb2.ExtendHoldRequest, call: Call
    ) -> hold_service_pb2.ExtendHoldResponse:
        return hold_service_pb2.ExtendHoldResponse(hold=self._change(request, call, hold_pb2.Hold.ACTIVE))

    async def begin_payment(
        self, request: hold_service_pb2.BeginPaymentRequest, call: Call
    ) -> hold_service_pb2.BeginPaymentResponse:
        return hold_service_pb2.BeginPaymentResponse(hold=self._change(request, call, hold_pb2.Hold.PENDING))

    def _change(self, request: Any, call: Call, state: hold_pb2.Hold.State.ValueType) -> hold_pb2.Hold:
        self.calls.append(call)
        if self.refusal is not None:
            raise self.refusal
        hold = self.holds.get(request.hold_id)
        if hold is None:
            raise DomainError(Reason.HOLD_NOT_FOUND, "no such hold", metadata={"hold_id": request.hold_id})
        if hold.state == state:
            call.mark_replayed()
        hold.state = state
        return hold

    async def get_hold(self, request: hold_service_pb2.GetHoldRequest, call: Call) -> hold_service_pb2.GetHoldResponse:
        self.calls.append(call)
        hold = self.holds.get(request.hold_id)
        if hold is None:
            raise DomainError(Reason.HOLD_NOT_FOUND, "no such hold", metadata={"hold_id": request.hold_id})
        return hold_service_pb2.GetHoldResponse(hold=hold)


class Sections:
    """Has one section, and fails as a bug would."""

    async def get_section(
        self, request: section_service_pb2.GetSectionRequest, _call: Call
    ) -> section_service_pb2.GetSectionResponse:
        section = section_pb2.Section(id=request.section_id, available=3, etag="1")
        return section_service_pb2.GetSectionResponse(section=section)

    async def get_totals(self, _request: section_service_pb2.GetTotalsRequest, _call: Call) -> Any:
        raise RuntimeError("password=hunter2 in /srv/secret.py")


class Inventories:
    """Tells what is left, under an etag that a test sets."""

    def __init__(self) -> None:
        self.etag = "41"

    async def get_availability(
        self, request: inventory_service_pb2.GetAvailabilityRequest, _call: Call
    ) -> inventory_service_pb2.GetAvailabilityResponse:
        availability = availability_pb2.Availability(event_id=request.event_id, available=7, etag=self.etag)
        return inventory_service_pb2.GetAvailabilityResponse(availability=availability)


class Events:
    """Echoes what it was asked."""

    def __init__(self) -> None:
        self.updates: list[event_service_pb2.UpdateEventRequest] = []
        self.lists: list[event_service_pb2.ListEventsRequest] = []
        self.creations: list[event_service_pb2.CreateEventRequest] = []

    async def create_event(
        self, request: event_service_pb2.CreateEventRequest, _call: Call
    ) -> event_service_pb2.CreateEventResponse:
        self.creations.append(request)
        event = event_pb2.Event()
        event.CopyFrom(request.event)
        event.id, event.etag, event.state = new_id(), "1", event_pb2.Event.DRAFT
        return event_service_pb2.CreateEventResponse(event=event, effective=True)

    async def update_event(
        self, request: event_service_pb2.UpdateEventRequest, _call: Call
    ) -> event_service_pb2.UpdateEventResponse:
        self.updates.append(request)
        if request.etag and request.etag != "1":
            raise DomainError(Reason.ETAG_MISMATCH, "it changed", metadata={"etag": "1"})
        return event_service_pb2.UpdateEventResponse(event=event_pb2.Event(id=request.event_id, etag="2"))

    async def delete_event(
        self, _request: event_service_pb2.DeleteEventRequest, _call: Call
    ) -> event_service_pb2.DeleteEventResponse:
        return event_service_pb2.DeleteEventResponse()

    async def list_events(
        self, request: event_service_pb2.ListEventsRequest, _call: Call
    ) -> event_service_pb2.ListEventsResponse:
        self.lists.append(request)
        return event_service_pb2.ListEventsResponse()

    async def publish_event(
        self, request: event_service_pb2.PublishEventRequest, _call: Call
    ) -> event_service_pb2.PublishEventResponse:
        return event_service_pb2.PublishEventResponse(event=event_pb2.Event(id=request.event_id, etag="2"))


class Venues:
    """Gives back the venue it was given."""

    async def create_venue(
        self, request: venue_service_pb2.CreateVenueRequest, _call: Call
    ) -> venue_service_pb2.CreateVenueResponse:
        venue = venue_pb2.Venue()
        venue.CopyFrom(request.venue)
        venue.id = new_id()
        return venue_service_pb2.CreateVenueResponse(venue=venue)


class Nothing:
    """Implements no RPC: each answers NOT_BUILT_YET."""


class Behind:
    """Everything behind the gateway of a test."""

    def __init__(self) -> None:
        self.holds = Holds()
        self.events = Events()
        self.inventories = Inventories()
        events = (
            (event_service_pb2, "EventService", self.events),
            (venue_service_pb2, "VenueService", Venues()),
        )
        capacity = (
            (hold_service_pb2, "HoldService", self.holds),
            (section_service_pb2, "SectionService", Sections()),
            (inventory_service_pb2, "InventoryService", self.inventories),
        )
        pricing = (
            (price_tier_service_pb2, "PriceTierService", Nothing()),
            (quote_service_pb2, "QuoteService", Nothing()),
        )
        self.services: dict[str, Any] = {"events": events, "capacity": capacity, "pricing": pricing}

    def add_to(self, name: str, server: RpcServer) -> None:
        """Add a service's implementations to its server; holds are placed one by one or in batches."""
        for module, service, implementation in self.services[name]:
            descriptor = module.DESCRIPTOR.services_by_name[service]
            if implementation is self.holds:
                server.add(descriptor, implementation, BatchServicer(server, implementation))
            else:
                server.add(descriptor, implementation)
