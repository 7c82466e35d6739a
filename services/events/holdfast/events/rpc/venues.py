"""VenueService."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.api.common.v1 import pagination_pb2
from holdfast.api.events.v1 import venue_service_pb2 as pb
from holdfast.common import ids
from holdfast.common.pagination import filters_of, page_size
from holdfast.common.protobuf import updated_fields
from holdfast.events.convert import venues as convert
from holdfast.events.convert.values import canonical_id
from holdfast.events.operations import venues as operations
from holdfast.events.operations.scenes import require_venue
from holdfast.events.store import venues as venue_store

if TYPE_CHECKING:
    from holdfast.common.database import Transaction
    from holdfast.common.rpc_call import Call
    from holdfast.events.domain.venues import Venue
    from holdfast.events.rpc.front import Front


class VenueServicer:
    """The places where events happen."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def create_venue(self, request: pb.CreateVenueRequest, call: Call) -> pb.CreateVenueResponse:
        """Create a venue."""
        fields = [field.name for field, _ in request.venue.ListFields()]
        changes = convert.changes(request.venue, fields, named=False)
        key, venue_id, now = self._front.key(call, request, "CreateVenue"), ids.new_id(), self._front.now()
        outcome = await self._front.run(
            call,
            lambda transaction: operations.create_venue(
                transaction,
                organization_id=call.organization_id,
                venue_id=venue_id,
                changes=changes,
                key=key,
                now=now,
            ),
        )
        return pb.CreateVenueResponse(venue=convert.to_proto(self._front.settled(call, request, outcome)))

    async def get_venue(self, request: pb.GetVenueRequest, call: Call) -> pb.GetVenueResponse:
        """Read a venue."""
        venue_id = canonical_id(request.venue_id)
        venue = await self._front.run(
            call, lambda transaction: require_venue(transaction, call.organization_id, venue_id)
        )
        return pb.GetVenueResponse(venue=convert.to_proto(venue))

    async def list_venues(self, request: pb.ListVenuesRequest, call: Call) -> pb.ListVenuesResponse:
        """List the organization's venues, newest first."""
        size = page_size(request)
        filters = filters_of(request, organization_id=call.organization_id)
        cursor = self._front.tokens.decode(request.page_token, filters)
        before_id = None if cursor is None else str(cursor[0])

        async def read(transaction: Transaction) -> tuple[list[Venue], int | None]:
            found = await venue_store.list_venues(
                transaction, call.organization_id, before_id=before_id, limit=size + 1
            )
            total = await venue_store.count_venues(transaction, call.organization_id) if request.with_total else None
            return found, total

        found, total = await self._front.run(call, read)
        more = len(found) > size
        token = self._front.tokens.encode([found[size - 1].id], filters) if more else ""
        return pb.ListVenuesResponse(
            venues=[convert.to_proto(venue) for venue in found[:size]],
            pagination=pagination_pb2.Pagination(next_page_token=token, total=total),
        )

    async def update_venue(self, request: pb.UpdateVenueRequest, call: Call) -> pb.UpdateVenueResponse:
        """Change a venue."""
        fields = updated_fields(request.venue, request.update_mask, resource_name="venue")
        changes = convert.changes(request.venue, fields, named=bool(request.update_mask.paths))
        key, now = self._front.key(call, request, "UpdateVenue"), self._front.now()
        outcome = await self._front.run(
            call,
            lambda transaction: operations.update_venue(
                transaction,
                organization_id=call.organization_id,
                venue_id=canonical_id(request.venue_id),
                changes=changes,
                etag=request.etag,
                key=key,
                now=now,
            ),
        )
        return pb.UpdateVenueResponse(venue=convert.to_proto(self._front.settled(call, request, outcome)))
