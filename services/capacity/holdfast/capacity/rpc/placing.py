"""Placing a hold: what both PlaceHold and the items of a batch do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.capacity import convert
from holdfast.capacity.domain.placing import PlaceRequest
from holdfast.capacity.engine.queues import Item
from holdfast.capacity.operations import holds as operations
from holdfast.capacity.rpc.lines import (
    check_blocks,
    line_of,
    lines_of,
    lock_prices,
    one_event,
    permission_missing,
    section_ids,
)
from holdfast.common import ids
from holdfast.common.errors import DomainError, Reason
from holdfast.common.protobuf import fingerprint, to_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.capacity.operations.holds import Outcome
    from holdfast.capacity.rpc.events_of import EventsOf
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.rpc_call import Call

PRICED_MAX: Final = 3
"""How often a hold is priced because the event's dates changed in the meantime."""


class Placing:
    """Turns requests into commands, finds their events, asks for their prices."""

    def __init__(self, front: Front, events: EventsOf) -> None:
        self._front = front
        self._events = events

    def wanted(self, request: pb.PlaceHoldRequest, call: Call) -> PlaceRequest:
        """Read a request. Raises PERMISSION_MISSING for what buyers may not ask for."""
        subject = call.principal.subject
        customer_id = request.customer_id or subject
        if customer_id != subject and not call.principal.can("holds.manage"):
            raise permission_missing("buyers hold for themselves")
        lines = lines_of(request.lines, field="lines") if request.lines else (line_of(request, field=""),)
        check_blocks(lines, call)
        return PlaceRequest(
            hold_id=ids.new_id(),
            event_id=request.event_id,
            customer_id=customer_id,
            placed_by=subject,
            lines=lines,
            hold_ttl_seconds=request.hold_ttl_seconds if request.HasField("hold_ttl_seconds") else None,
            order_reference=request.order_reference,
            request_id=request.request_id,
            request_hash=fingerprint(request),
        )

    def begin(self, request: pb.PlaceHoldRequest, call: Call, *, done: Callable[[Item], None]) -> Item | None:
        """Let a hold wait for its batch at once, if it needs nothing else; `done` then gets an Outcome as result.

        None when its section is not known here or a price has to be asked: then call. Raises what `wanted` does,
        and OVERLOADED.
        """
        wanted = self.wanted(request, call)
        event_id = self._event_at_hand(wanted, call.organization_id)
        if event_id is None:
            return None
        item = Item(command=operations.PlaceHold(wanted), deadline=call.deadline, done=done)
        self._front.put(call.organization_id, event_id, item)
        return item

    def _event_at_hand(self, wanted: PlaceRequest, organization_id: str) -> str | None:
        event_id = None
        for line in wanted.lines:
            known = self._events.known_section(organization_id, line.section_id)
            if known is None or line.tier_id is not None or line.fallbacks or event_id not in (None, known[0]):
                return None
            event_id = known[0]
        return event_id if wanted.event_id in ("", event_id) else None

    async def __call__(self, request: pb.PlaceHoldRequest, call: Call) -> pb.PlaceHoldResponse:
        """Place a hold, whatever it needs."""
        return self.answer(await self._place(self.wanted(request, call), call), request, call)

    async def _place(self, wanted: PlaceRequest, call: Call) -> Outcome:
        places = await self._events.sections(call, section_ids(wanted.lines))
        event_id = one_event(wanted.event_id, places)
        for attempt in range(1, PRICED_MAX + 1):
            priced = await self._with_prices(call, event_id, wanted, fresh=attempt > 1)
            if not isinstance(priced, PlaceRequest):
                return priced
            outcome = await self._front.submit(call, event_id, operations.PlaceHold(priced))
            if outcome is not None:
                return outcome
        raise DomainError(
            Reason.OVERLOADED,
            "the event's dates change all the time",
            metadata={"queue": "event"},
            retry_after_seconds=1.0,
        )

    def answer(self, outcome: Outcome, _request: pb.PlaceHoldRequest, call: Call) -> pb.PlaceHoldResponse:
        """Give the answer, and count and remember what was placed."""
        organization_id = call.organization_id
        if outcome.replayed:
            call.mark_replayed()
        else:
            self._front.metrics.holds_placed_total.inc()
            self._events.know_hold(organization_id, outcome.hold.hold_id, outcome.hold.event_id)
        return pb.PlaceHoldResponse(
            hold=convert.hold_message(outcome.hold, organization_id),
            inventory_version=outcome.version,
            server_time=to_timestamp(outcome.at),
        )

    async def _with_prices(
        self, call: Call, event_id: str, wanted: PlaceRequest, *, fresh: bool
    ) -> PlaceRequest | Outcome:
        """Lock the prices of the lines that have a tier, before the transaction.

        If that fails, the request may still be the repetition of one that succeeded: its key is looked up first.
        """
        if all(line.tier_id is None for line in wanted.lines):
            return wanted
        try:
            lines, _ = await lock_prices(self._front, self._events, call, event_id, wanted.lines, fresh=fresh)
        except DomainError:
            if not wanted.request_id:
                raise
            replay = await self._front.run(call, lambda transaction: operations.find_replay(transaction, wanted))
            if replay is None:
                raise
            return replay
        return replace(wanted, lines=lines)
