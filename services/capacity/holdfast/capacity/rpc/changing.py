"""HoldService.ChangeHold: translate, ask for prices, call, translate."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.capacity import convert
from holdfast.capacity.domain.changing import ChangeRequest, shrunk
from holdfast.capacity.operations import changing as operations
from holdfast.capacity.rpc.lines import check_blocks, lines_of, lock_prices, one_event, section_ids
from holdfast.common.errors import DomainError, Reason
from holdfast.common.protobuf import to_timestamp

if TYPE_CHECKING:
    from holdfast.capacity.domain.holds import Hold
    from holdfast.capacity.operations.holds import Outcome
    from holdfast.capacity.rpc.events_of import EventsOf
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.idempotency import RequestKey
    from holdfast.common.rpc_call import Call

PRICED_MAX: Final = 5
"""How often a change is priced because the hold, or the event's dates, changed in the meantime."""


class ChangeServicer:
    """Changing what holds claim."""

    def __init__(self, front: Front, events: EventsOf) -> None:
        self._front = front
        self._events = events

    async def change_hold(self, request: pb.ChangeHoldRequest, call: Call) -> pb.ChangeHoldResponse:
        """Give lines or parts of them back and add others."""
        wanted = ChangeRequest(
            given=tuple(
                convert.part_of(part, field=f"release_lines[{index}]")
                for index, part in enumerate(request.release_lines)
            ),
            added=lines_of(request.add_lines, field="add_lines"),
            prices={},
            etag=request.etag,
        )
        check_blocks(wanted.added, call)
        key = self._front.key(call, request, "ChangeHold")
        outcome = await self._change(call, request, wanted, key)
        self._front.replayed(call, request, replayed=outcome.replayed)
        if outcome.done:
            self._front.metrics.holds_changed_total.inc()
        return pb.ChangeHoldResponse(
            hold=convert.hold_message(outcome.hold, call.organization_id),
            inventory_version=outcome.version,
            server_time=to_timestamp(outcome.at),
        )

    async def _change(
        self, call: Call, request: pb.ChangeHoldRequest, wanted: ChangeRequest, key: RequestKey
    ) -> Outcome:
        viewer, hold_id = self._front.viewer(call), request.hold_id
        for attempt in range(1, PRICED_MAX + 1):
            hold = await self._front.run(call, partial(operations.hold_to_change, hold_id=hold_id, viewer=viewer))
            try:
                priced = await self._with_prices(call, hold, wanted, fresh=attempt > 1)
            except DomainError:
                # It may still be the repetition of a change that was made.
                replay = await self._front.run(call, partial(operations.find_change, hold=hold, key=key))
                if replay is None:
                    raise
                return replay
            command = operations.ChangeHold(hold_id, hold.customer_id, priced, viewer, key)
            outcome = await self._front.submit(call, hold.event_id, self._front.audited_hold(call, request, command))
            if outcome is not None:
                return outcome
        raise DomainError(
            Reason.OVERLOADED,
            "the hold or the event's dates change all the time",
            metadata={"queue": "hold"},
            retry_after_seconds=1.0,
        )

    async def _with_prices(self, call: Call, hold: Hold, wanted: ChangeRequest, *, fresh: bool) -> ChangeRequest:
        """Lock the prices of added lines, and of what will be left of lines that shrink, before the transaction."""
        places = await self._events.sections(call, section_ids(wanted.added))
        one_event(hold.event_id, places)
        left = shrunk(hold, wanted.given)
        if not left and all(line.tier_id is None for line in wanted.added):
            return wanted
        added, locks = await lock_prices(
            self._front,
            self._events,
            call,
            hold.event_id,
            wanted.added,
            fresh=fresh,
            others=[
                convert.locked_price_line(call.organization_id, hold.event_id, line, quantity)
                for line, quantity in left
            ],
        )
        prices = {
            (line.price, quantity): lock.price
            for (line, quantity), lock in zip(left, locks, strict=True)
            if line.price is not None
        }
        return replace(wanted, added=added, prices=prices)
