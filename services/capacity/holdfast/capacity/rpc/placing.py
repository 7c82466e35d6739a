"""Placing a hold: what both PlaceHold and the items of a batch do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.api.pricing.v1 import quote_service_pb2
from holdfast.capacity import convert
from holdfast.capacity.domain.placing import LineRequest, PlaceRequest
from holdfast.capacity.engine.queues import Item
from holdfast.capacity.operations import holds as operations
from holdfast.common import ids
from holdfast.common.errors import DomainError, Reason
from holdfast.common.protobuf import fingerprint, to_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.capacity.operations.holds import Outcome
    from holdfast.capacity.rpc.events_of import EventsOf, Place
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
            raise _missing("buyers hold for themselves")
        if request.lines:
            lines = tuple(
                _line(line, price_tier_id=line.price_tier_id, block_id=line.block_id, field=f"lines[{index}]")
                for index, line in enumerate(request.lines)
            )
        else:
            lines = (_line(request, price_tier_id=request.price_tier_id, block_id=request.block_id, field=""),)
        for line in lines:
            if line.block_id is not None and not call.principal.can("holds.manage"):
                raise _missing("only staff and services hold from a block")
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

        None when its section is not known here or a price has to be asked: then `place` it. Raises what `wanted` does,
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
            if known is None or line.tier_id is not None or event_id not in (None, known[0]):
                return None
            event_id = known[0]
        return event_id if wanted.event_id in ("", event_id) else None

    async def place(self, wanted: PlaceRequest, call: Call) -> Outcome:
        """Place a hold, whatever it needs."""
        places = await self._events.sections(call, [line.section_id for line in wanted.lines])
        event_id = _one_event(wanted, places)
        for attempt in range(1, PRICED_MAX + 1):
            priced = await self._with_prices(call, event_id, wanted, places, fresh=attempt > 1)
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

    def answer(self, outcome: Outcome, call: Call) -> pb.PlaceHoldResponse:
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
        self, call: Call, event_id: str, wanted: PlaceRequest, places: Sequence[Place], *, fresh: bool
    ) -> PlaceRequest | Outcome:
        """Lock the prices of the lines that have a tier, before the transaction.

        If that fails, the request may still be the repetition of one that succeeded: its key is looked up first.
        """
        if all(line.tier_id is None for line in wanted.lines):
            return wanted
        try:
            return await self._lock(call, event_id, wanted, places, fresh=fresh)
        except DomainError:
            if not wanted.request_id:
                raise
            replay = await self._front.run(call, lambda transaction: operations.find_replay(transaction, wanted))
            if replay is None:
                raise
            return replay

    async def _lock(
        self, call: Call, event_id: str, wanted: PlaceRequest, places: Sequence[Place], *, fresh: bool
    ) -> PlaceRequest:
        """Ask pricing, for the dates that the hold will be for: a tier may be for one date only.

        A date that the request does not name is assumed here; whether it is the one is checked under the lock.
        """
        lines = list(wanted.lines)
        for index, (line, (_, of_section)) in enumerate(zip(wanted.lines, places, strict=True)):
            if line.tier_id is not None and line.schedule_id is None:
                date = of_section
                if date is None:
                    date = await self._events.default_schedule(
                        call, event_id, field=line.path("schedule_id"), fresh=fresh
                    )
                lines[index] = replace(line, schedule_id=date, assumed=of_section is None)
        priced = [(index, line) for index, line in enumerate(lines) if line.tier_id is not None]
        asked = [
            quote_service_pb2.LockPriceLine(
                price_tier_id=line.tier_id or "",
                organization_id=call.organization_id,
                event_id=event_id,
                section_id=line.section_id,
                schedule_id=line.schedule_id or "",
                quantity=line.quantity,
            )
            for _, line in priced
        ]
        locks = await self._front.outside.lock_prices(call.organization_id, asked)
        for (index, line), lock in zip(priced, locks, strict=True):
            lines[index] = replace(line, lock=lock)
        return replace(wanted, lines=tuple(lines))


def _line(
    wanted: pb.PlaceHoldRequest | pb.HoldLineSelector, *, price_tier_id: str, block_id: str, field: str
) -> LineRequest:
    labels = tuple(wanted.seats.labels) if wanted.HasField("seats") else ()
    return LineRequest(
        section_id=wanted.section_id,
        schedule_id=wanted.schedule_id or None,
        quantity=len(labels) or wanted.quantity,
        tier_id=price_tier_id or None,
        field=field,
        labels=labels,
        block_id=block_id or None,
    )


def _missing(message: str) -> DomainError:
    return DomainError(Reason.PERMISSION_MISSING, message, metadata={"permission": "holds.manage"})


def _one_event(wanted: PlaceRequest, places: Sequence[Place]) -> str:
    events = sorted({event_id for event_id, _ in places} | ({wanted.event_id} if wanted.event_id else set()))
    if len(events) > 1:
        raise DomainError(
            Reason.LINES_SPAN_EVENTS,
            "the lines belong to sections of more than one event",
            metadata={"event_ids": ",".join(events)},
        )
    return events[0]
