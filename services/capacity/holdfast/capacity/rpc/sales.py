"""HoldService's sales: translate, call, translate."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.api.common.v1 import pagination_pb2
from holdfast.capacity import convert
from holdfast.capacity.domain.audits import ResourceType
from holdfast.capacity.domain.blocks import Act
from holdfast.capacity.domain.returning import ReturnRequest
from holdfast.capacity.operations import sales as operations
from holdfast.capacity.store.sales import SaleFilter
from holdfast.common import ids
from holdfast.common.pagination import filters_of, page_size
from holdfast.common.protobuf import to_timestamp

if TYPE_CHECKING:
    from holdfast.api.capacity.v1 import hold_pb2
    from holdfast.capacity.operations.sales import SaleRead
    from holdfast.capacity.rpc.events_of import EventsOf
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.rpc_call import Call


class SaleServicer:
    """What became of confirmed holds."""

    def __init__(self, front: Front, events: EventsOf) -> None:
        self._front = front
        self._events = events

    async def get_sale(self, request: pb.GetSaleRequest, call: Call) -> pb.GetSaleResponse:
        """Read a sale."""
        viewer = self._front.viewer(call)
        page = await self._front.run(
            call, lambda transaction: operations.get_sale(transaction, request.sale_id, viewer=viewer)
        )
        return pb.GetSaleResponse(sale=_message(page.sales[0], call), server_time=to_timestamp(page.at))

    async def list_sales(self, request: pb.ListSalesRequest, call: Call) -> pb.ListSalesResponse:
        """List sales."""
        size = page_size(request)
        viewer = self._front.viewer(call)
        bound = filters_of(request, organization_id=call.organization_id) + viewer.subject.encode()
        cursor = self._front.tokens.decode(request.page_token, bound)
        after = None if cursor is None else (datetime.fromisoformat(str(cursor[0])), str(cursor[1]))
        from_time, to_time = convert.time_range(request)
        wanted = SaleFilter(
            event_id=request.event_id or None,
            customer_id=request.customer_id or None,
            states=tuple(convert.sale_state(state) for state in request.states if state),
            order_reference=request.order_reference or None,
            belonging_to=None if viewer.reads_all else viewer.subject,
            from_time=from_time,
            to_time=to_time,
        )
        page = await self._front.run(
            call,
            lambda transaction: operations.list_sales(
                transaction, wanted, limit=size + 1, after=after, with_total=request.with_total
            ),
        )
        found, more = page.sales[:size], len(page.sales) > size
        token = ""
        if more:
            last = found[-1].sale
            token = self._front.tokens.encode([last.create_time.isoformat(), last.sale_id], bound)
        return pb.ListSalesResponse(
            sales=[_message(each, call) for each in found],
            pagination=pagination_pb2.Pagination(next_page_token=token, total=page.total),
            server_time=to_timestamp(page.at),
        )

    async def return_sale(self, request: pb.ReturnSaleRequest, call: Call) -> pb.ReturnSaleResponse:
        """Take back places of a sale."""
        wanted = ReturnRequest(
            return_id=ids.new_id(),
            sale_id=request.sale_id,
            parts=tuple(convert.part_of(part, field=f"lines[{index}]") for index, part in enumerate(request.lines)),
            return_to=convert.return_to(request.return_to),
            act=Act(call.principal.subject, request.note),
            block_ids=tuple(ids.new_id() for _ in request.lines),
            etag=request.etag,
        )
        command = operations.ReturnSale(wanted, self._front.key(call, request, "ReturnSale"))
        audited = self._front.audited(call, request, command, ResourceType.SALE, request.sale_id)
        outcome = await self._front.submit(call, await self._events.sale(call, request.sale_id), audited)
        self._front.replayed(call, request, replayed=outcome.replayed)
        staff = replace(self._front.viewer(call), reads_all=True)
        page = await self._front.run(
            call, lambda transaction: operations.get_sale(transaction, request.sale_id, viewer=staff)
        )
        read = page.sales[0]
        return pb.ReturnSaleResponse(
            sale=_message(read, call),
            sale_return=next(
                convert.return_message(each) for each in read.returns if each.return_id == outcome.return_id
            ),
            inventory_version=outcome.version,
            server_time=to_timestamp(outcome.at),
        )


def _message(read: SaleRead, call: Call) -> hold_pb2.Sale:
    return convert.sale_message(read.sale, call.organization_id, returns=read.returns)
