"""SectionService's blocks: translate, call, translate."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import section_service_pb2 as pb
from holdfast.api.common.v1 import pagination_pb2
from holdfast.capacity import convert
from holdfast.capacity.domain.audits import ResourceType
from holdfast.capacity.domain.blocking import BlockRequest, UnblockRequest
from holdfast.capacity.domain.blocks import Act
from holdfast.capacity.operations import blocks as operations
from holdfast.common import ids
from holdfast.common.pagination import filters_of, page_size

if TYPE_CHECKING:
    from holdfast.api.capacity.v1 import block_pb2
    from holdfast.capacity.operations.blocks import BlockOutcome, MakeBlock, Unblock
    from holdfast.capacity.rpc.events_of import EventsOf
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.rpc_call import Call


class BlockServicer:
    """Places that are out of sale."""

    def __init__(self, front: Front, events: EventsOf) -> None:
        self._front = front
        self._events = events

    async def block_seats(self, request: pb.BlockSeatsRequest, call: Call) -> pb.BlockSeatsResponse:
        """Take seats out of sale."""
        labels = tuple(request.seats.labels)
        block, version = await self._block(request, call, "BlockSeats", quantity=len(labels), labels=labels)
        return pb.BlockSeatsResponse(block=block, inventory_version=version)

    async def block_quantity(self, request: pb.BlockQuantityRequest, call: Call) -> pb.BlockQuantityResponse:
        """Take a number of places out of sale."""
        block, version = await self._block(request, call, "BlockQuantity", quantity=request.quantity, labels=())
        return pb.BlockQuantityResponse(block=block, inventory_version=version)

    async def _block(
        self,
        request: pb.BlockSeatsRequest | pb.BlockQuantityRequest,
        call: Call,
        rpc: str,
        *,
        quantity: int,
        labels: tuple[str, ...],
    ) -> tuple[block_pb2.Block, int]:
        wanted = BlockRequest(
            block_id=ids.new_id(),
            section_id=request.section_id,
            kind=convert.block_kind(request.kind),
            quantity=quantity,
            act=Act(call.principal.subject, request.note),
            labels=labels,
        )
        event_id = await self._events.section(call, request.section_id)
        command = operations.MakeBlock(wanted, self._front.key(call, request, rpc))
        return await self._done(request, call, event_id, command, block_id=wanted.block_id)

    async def _done(
        self,
        request: pb.BlockSeatsRequest | pb.BlockQuantityRequest | pb.UnblockRequest,
        call: Call,
        event_id: str,
        command: MakeBlock | Unblock,
        *,
        block_id: str,
    ) -> tuple[block_pb2.Block, int]:
        """Decide a command; gives the block after it, of a repetition as it is now, and the version."""
        audited = self._front.audited(call, request, command, ResourceType.BLOCK, block_id)
        outcome: BlockOutcome = await self._front.submit(call, event_id, audited)
        self._front.replayed(call, request, replayed=outcome.replayed)
        if outcome.block is None:
            return await self._read(call, event_id, outcome.block_id), outcome.version
        return convert.block_message(outcome.block, call.organization_id), outcome.version

    async def _read(self, call: Call, event_id: str, block_id: str) -> block_pb2.Block:
        block = await self._front.run(call, lambda transaction: operations.get_block(transaction, event_id, block_id))
        return convert.block_message(block, call.organization_id)

    async def unblock(self, request: pb.UnblockRequest, call: Call) -> pb.UnblockResponse:
        """Give places back to sale."""
        selector = request.WhichOneof("selector")
        wanted = UnblockRequest(
            block_id=request.block_id,
            act=Act(call.principal.subject, request.note),
            quantity=request.quantity if selector == "quantity" else None,
            labels=tuple(request.seats.labels) if selector == "seats" else (),
            etag=request.etag,
        )
        event_id = await self._events.block(call, request.block_id)
        command = operations.Unblock(wanted, self._front.key(call, request, "Unblock"))
        block, version = await self._done(request, call, event_id, command, block_id=request.block_id)
        return pb.UnblockResponse(block=block, inventory_version=version)

    async def get_block(self, request: pb.GetBlockRequest, call: Call) -> pb.GetBlockResponse:
        """Read a block."""
        event_id = await self._events.block(call, request.block_id)
        return pb.GetBlockResponse(block=await self._read(call, event_id, request.block_id))

    async def list_blocks(self, request: pb.ListBlocksRequest, call: Call) -> pb.ListBlocksResponse:
        """List an event's blocks."""
        size = page_size(request)
        filters = filters_of(request, organization_id=call.organization_id)
        cursor = self._front.tokens.decode(request.page_token, filters)
        after = None if cursor is None else (datetime.fromisoformat(str(cursor[0])), str(cursor[1]))
        page = await self._front.run_knowing(
            call,
            request.event_id,
            lambda transaction: operations.list_blocks(
                transaction,
                request.event_id,
                section_id=request.section_id or None,
                kinds=[convert.block_kind(kind) for kind in request.kinds],
                with_ended=request.with_ended,
                limit=size + 1,
                after=after,
                with_total=request.with_total,
            ),
        )
        found, more = page.blocks[:size], len(page.blocks) > size
        token = ""
        if more:
            token = self._front.tokens.encode([found[-1].create_time.isoformat(), found[-1].block_id], filters)
        return pb.ListBlocksResponse(
            blocks=[convert.block_message(block, call.organization_id) for block in found],
            pagination=pagination_pb2.Pagination(next_page_token=token, total=page.total),
        )
