"""HoldService, placing and reading: translate, call, translate."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.api.common.v1 import pagination_pb2
from holdfast.capacity import convert
from holdfast.capacity.operations import holds as operations
from holdfast.capacity.operations import reading
from holdfast.common.pagination import filters_of, page_size
from holdfast.common.protobuf import to_timestamp

if TYPE_CHECKING:
    from holdfast.capacity.rpc.front import Front
    from holdfast.capacity.rpc.placing import Placing
    from holdfast.common.rpc_call import Call


class HoldServicer:
    """Placing and reading holds."""

    def __init__(self, front: Front, placing: Placing) -> None:
        self._front = front
        self.place_hold = placing

    async def get_hold(self, request: pb.GetHoldRequest, call: Call) -> pb.GetHoldResponse:
        """Read a hold."""
        viewer = self._front.viewer(call)
        outcome = await self._front.run(
            call, lambda transaction: operations.get_hold(transaction, request.hold_id, viewer=viewer)
        )
        return pb.GetHoldResponse(
            hold=convert.hold_message(outcome.hold, call.organization_id), server_time=to_timestamp(outcome.at)
        )

    async def list_holds(self, request: pb.ListHoldsRequest, call: Call) -> pb.ListHoldsResponse:
        """List holds."""
        size = page_size(request)
        viewer = self._front.viewer(call)
        bound = filters_of(request, organization_id=call.organization_id) + viewer.subject.encode()
        cursor = self._front.tokens.decode(request.page_token, bound)
        after = None if cursor is None else (datetime.fromisoformat(str(cursor[0])), str(cursor[1]))
        wanted = reading.HoldFilter(
            event_id=request.event_id or None,
            customer_id=request.customer_id or None,
            states=tuple(convert.hold_state(state) for state in request.states if state),
            order_reference=request.order_reference or None,
            belonging_to=None if viewer.reads_all else viewer.subject,
        )
        page = await self._front.run(
            call,
            lambda transaction: reading.list_holds(
                transaction, wanted, limit=size + 1, after=after, with_total=request.with_total
            ),
        )
        found, more = page.holds[:size], len(page.holds) > size
        token = ""
        if more:
            token = self._front.tokens.encode([found[-1].create_time.isoformat(), found[-1].hold_id], bound)
        return pb.ListHoldsResponse(
            holds=[convert.hold_message(hold, call.organization_id) for hold in found],
            pagination=pagination_pb2.Pagination(next_page_token=token, total=page.total),
            server_time=to_timestamp(page.at),
        )
