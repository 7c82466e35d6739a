"""HoldService, placing and reading: translate, call, translate."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.api.common.v1 import pagination_pb2
from holdfast.api.pricing.v1 import quote_service_pb2
from holdfast.capacity import convert
from holdfast.capacity.domain.placing import LineRequest, PlaceRequest
from holdfast.capacity.operations import holds as operations
from holdfast.capacity.operations import reading
from holdfast.common import ids
from holdfast.common.errors import DomainError, Reason
from holdfast.common.pagination import filters_of, page_size
from holdfast.common.protobuf import fingerprint, to_timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.capacity.operations.holds import Outcome
    from holdfast.capacity.rpc.events_of import EventsOf, Place
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.rpc_call import Call


class HoldServicer:
    """Placing and reading holds."""

    def __init__(self, front: Front, events: EventsOf) -> None:
        self._front = front
        self._events = events

    async def place_hold(self, request: pb.PlaceHoldRequest, call: Call) -> pb.PlaceHoldResponse:
        """Place a hold."""
        wanted = self._request(request, call)
        places = await self._events.sections(call, [line.section_id for line in wanted.lines])
        event_id = _one_event(wanted, places)
        outcome = await self._with_prices(call, event_id, wanted, places)
        if isinstance(outcome, PlaceRequest):
            outcome = await self._front.submit(call, event_id, operations.PlaceHold(outcome))
        self._front.replayed(call, request, replayed=outcome.replayed)
        if not outcome.replayed:
            self._front.metrics.holds_placed_total.inc()
            self._events.know_hold(call.organization_id, outcome.hold.hold_id, event_id)
        return pb.PlaceHoldResponse(
            hold=convert.hold_message(outcome.hold, call.organization_id),
            inventory_version=outcome.version,
            server_time=to_timestamp(outcome.at),
        )

    def _request(self, request: pb.PlaceHoldRequest, call: Call) -> PlaceRequest:
        customer_id = request.customer_id or call.principal.subject
        if customer_id != call.principal.subject and not call.principal.can("holds.manage"):
            raise DomainError(
                Reason.PERMISSION_MISSING,
                "buyers hold for themselves",
                metadata={"permission": "holds.manage"},
            )
        if request.lines:
            lines = tuple(
                _line(line, price_tier_id=line.price_tier_id, block_id=line.block_id, field=f"lines[{index}]")
                for index, line in enumerate(request.lines)
            )
        else:
            lines = (_line(request, price_tier_id=request.price_tier_id, block_id=request.block_id, field=""),)
        if any(line.block_id is not None for line in lines) and not call.principal.can("holds.manage"):
            raise DomainError(
                Reason.PERMISSION_MISSING,
                "only staff and services hold from a block",
                metadata={"permission": "holds.manage"},
            )
        return PlaceRequest(
            hold_id=ids.new_id(),
            event_id=request.event_id,
            customer_id=customer_id,
            placed_by=call.principal.subject,
            lines=lines,
            hold_ttl_seconds=request.hold_ttl_seconds if request.HasField("hold_ttl_seconds") else None,
            order_reference=request.order_reference,
            request_id=request.request_id,
            request_hash=fingerprint(request),
        )

    async def _with_prices(
        self, call: Call, event_id: str, wanted: PlaceRequest, places: Sequence[Place]
    ) -> PlaceRequest | Outcome:
        """Lock the prices of the lines that have a tier, before the transaction.

        If that fails, the request may still be the repetition of one that succeeded: its key is looked up first.
        """
        if all(line.tier_id is None for line in wanted.lines):
            return wanted
        try:
            return await self._lock(call, event_id, wanted, places)
        except DomainError:
            if not wanted.request_id:
                raise
            replay = await self._front.run(call, lambda transaction: operations.find_replay(transaction, wanted))
            if replay is None:
                raise
            return replay

    async def _lock(self, call: Call, event_id: str, wanted: PlaceRequest, places: Sequence[Place]) -> PlaceRequest:
        """Ask pricing, for the dates that the hold will be for: a tier may be for one date only."""
        lines = list(wanted.lines)
        for index, (line, (_, schedule_id)) in enumerate(zip(wanted.lines, places, strict=True)):
            if line.tier_id is not None and line.schedule_id is None:
                dated = schedule_id or await self._default_schedule(call, event_id, field=line.path("schedule_id"))
                lines[index] = replace(line, schedule_id=dated)
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

    async def _default_schedule(self, call: Call, event_id: str, *, field: str) -> str | None:
        return await self._front.run(
            call, lambda transaction: operations.default_schedule_id(transaction, event_id, field=field)
        )

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


def _one_event(wanted: PlaceRequest, places: Sequence[Place]) -> str:
    events = sorted({event_id for event_id, _ in places} | ({wanted.event_id} if wanted.event_id else set()))
    if len(events) > 1:
        raise DomainError(
            Reason.LINES_SPAN_EVENTS,
            "the lines belong to sections of more than one event",
            metadata={"event_ids": ",".join(events)},
        )
    return events[0]
