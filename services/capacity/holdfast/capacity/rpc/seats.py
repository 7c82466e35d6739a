"""SectionService's seats: translate, call, translate."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from google.protobuf.json_format import MessageToDict

from holdfast.api.capacity.v1 import section_service_pb2 as pb
from holdfast.api.common.v1 import pagination_pb2
from holdfast.capacity import convert
from holdfast.capacity.convert_seating import change_of, seat_message, seat_state
from holdfast.capacity.domain.audits import ResourceType
from holdfast.capacity.domain.listed_seats import SeatState
from holdfast.capacity.operations import sections
from holdfast.capacity.operations.attributes import SetSeatAttributes
from holdfast.capacity.operations.seats import NamedSection, SeatQuery, list_seats
from holdfast.capacity.seat_map_messages import WrittenLayouts, add_layouts, seat_map_message
from holdfast.capacity.seat_prices import cheapest_price
from holdfast.common.errors import DomainError, Reason
from holdfast.common.pagination import filters_of, page_size
from holdfast.common.protobuf import to_money, to_timestamp

if TYPE_CHECKING:
    from holdfast.api.common.v1 import money_pb2
    from holdfast.capacity.domain.listed_seats import ListedSeat
    from holdfast.capacity.operations.seats import SeatPage
    from holdfast.capacity.rpc.events_of import EventsOf
    from holdfast.capacity.rpc.front import Front
    from holdfast.capacity.seat_maps import SeatMaps
    from holdfast.common.rpc_call import Call


_PRICED_NOW: Final = frozenset({SeatState.AVAILABLE, SeatState.BLOCKED})
_NO_ANSWER: Final = frozenset({Reason.DEPENDENCY_UNAVAILABLE, Reason.DEADLINE_EXCEEDED, Reason.OVERLOADED})


class SeatServicer:
    """The seats that there are."""

    def __init__(self, front: Front, events: EventsOf, *, seat_maps: SeatMaps) -> None:
        self._front = front
        self._events = events
        self._seat_maps = seat_maps
        self._written = WrittenLayouts()

    async def list_seats(self, request: pb.ListSeatsRequest, call: Call) -> pb.ListSeatsResponse:
        """List a section's seats."""
        filters = filters_of(request, organization_id=call.organization_id)
        cursor = self._front.tokens.decode(request.page_token, filters)
        query = SeatQuery(
            section=NamedSection(
                section_id=request.section_id or None,
                event_id=request.event_id,
                name=request.section_name,
                subsection=request.subsection,
                schedule_id=request.schedule_id or None,
            ),
            states=tuple(seat_state(state) for state in request.states if state),
            row=request.row,
            after=-1 if cursor is None else int(cursor[0] or 0),
            limit=page_size(request),
            with_total=request.with_total,
            hidden=self._front.sees_hidden(call),
        )
        read = partial(list_seats, layouts=self._front.layouts, query=query)
        page = await self._front.knowing(call, request.event_id, lambda: self._front.run(call, read, snapshot=True))
        price, missing = await self._price_now(call, page)
        staff = self._front.viewer(call).reads_all
        section_id = page.section.section_id
        return pb.ListSeatsResponse(
            seats=[
                seat_message(section_id, seat, price=_price_of(seat, price), staff=staff)
                for seat in page.seats.values()
            ],
            pagination=pagination_pb2.Pagination(
                next_page_token=self._front.tokens.encode([max(page.seats)], filters) if page.more else "",
                total=page.total,
            ),
            prices_missing=missing,
            inventory_version=page.version,
            server_time=to_timestamp(page.at),
        )

    async def _price_now(self, call: Call, page: SeatPage) -> tuple[money_pb2.Money | None, bool]:
        """Ask what the seats that nobody has cost now; tells too whether pricing did not answer."""
        if not any(seat.holder.state in _PRICED_NOW for seat in page.seats.values()):
            return None, False
        try:
            price = await cheapest_price(self._front.outside, call.organization_id, page.section)
        except DomainError as error:
            if error.reason not in _NO_ANSWER:
                raise
            return None, True
        return None if price is None else to_money(price), False

    async def get_seat_map(self, request: pb.GetSeatMapRequest, call: Call) -> pb.GetSeatMapResponse:
        """Tell which seats of an event are taken, from memory."""
        event, now = await self._front.knowing(
            call, request.event_id, lambda: self._seat_maps.of(call.organization_id, request.event_id)
        )
        hidden = self._front.sees_hidden(call)
        found = event.shown(now, schedule_id=request.schedule_id or None, hidden=hidden)
        answer = seat_map_message(
            request.event_id,
            found,
            at=now,
            newest_at=event.at,
            hidden=hidden,
            staff=self._front.viewer(call).reads_all,
        )
        if request.with_layout:
            add_layouts(answer, found, self._written)
        return pb.GetSeatMapResponse(seat_map=answer)

    async def set_seat_attributes(
        self, request: pb.SetSeatAttributesRequest, call: Call
    ) -> pb.SetSeatAttributesResponse:
        """Change what seats are."""
        command = SetSeatAttributes(
            request.section_id,
            tuple(request.seats.labels),
            change_of(request.attributes),
            etag=request.etag,
            key=self._front.key(call, request, "SetSeatAttributes"),
        )
        told = {"seats": {"to": list(command.labels)}, "attributes": {"to": MessageToDict(request.attributes)}}
        audited = self._front.audited(call, request, command, ResourceType.SECTION, request.section_id, told=told)
        made = await self._front.submit(call, await self._events.section(call, request.section_id), audited)
        self._front.replayed(call, request, replayed=made.replayed)
        read = await self._front.run(
            call,
            lambda transaction: sections.get_section(
                transaction, request.section_id, layouts=self._front.layouts, hidden=True
            ),
        )
        view = read.snapshot.views[0]
        return pb.SetSeatAttributesResponse(
            section=convert.section_message(
                view.section, call.organization_id, counters=view.counters, layout=view.layout
            ),
            inventory_version=made.version,
        )


def _price_of(seat: ListedSeat, now: money_pb2.Money | None) -> money_pb2.Money | None:
    if seat.holder.state in _PRICED_NOW:
        return now
    locked = seat.holder.locked_price
    return None if locked is None else to_money(convert.unit_price(locked))
