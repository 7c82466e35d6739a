"""HoldService.ExchangeSeats: translate, ask for prices, call, translate."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import hold_service_pb2 as pb
from holdfast.capacity import convert
from holdfast.capacity.domain.audits import ResourceType
from holdfast.capacity.domain.blocks import Act
from holdfast.capacity.domain.exchanging import ExchangeRequest, kept_line
from holdfast.capacity.operations import exchanging as operations
from holdfast.capacity.operations.sales import get_sale
from holdfast.capacity.rpc.lines import check_blocks, check_own_sections, dated_lines, lines_of, one_event, price_line
from holdfast.common import ids
from holdfast.common.errors import DomainError, Reason
from holdfast.common.protobuf import from_money, to_money, to_timestamp

if TYPE_CHECKING:
    from holdfast.capacity.domain.sales import Sale
    from holdfast.capacity.operations.exchanging import ExchangeOutcome
    from holdfast.capacity.operations.sales import SalePage
    from holdfast.capacity.rpc.events_of import EventsOf
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.database import Transaction
    from holdfast.common.idempotency import RequestKey
    from holdfast.common.money import Money
    from holdfast.common.rpc_call import Call

PRICED_MAX: Final = 5
"""How often an exchange is priced because the sale, or the event's dates, changed in the meantime."""


class ExchangeServicer:
    """Exchanging places of sales."""

    def __init__(self, front: Front, events: EventsOf) -> None:
        self._front = front
        self._events = events

    async def exchange_seats(self, request: pb.ExchangeSeatsRequest, call: Call) -> pb.ExchangeSeatsResponse:
        """Exchange places of a sale for others."""
        expected = None
        if request.HasField("expected_difference"):
            expected = from_money(request.expected_difference, field="expected_difference")
        wanted = ExchangeRequest(
            exchange_id=ids.new_id(),
            sale_id=request.sale_id,
            given=tuple(
                convert.part_of(part, field=f"give_lines[{index}]") for index, part in enumerate(request.give_lines)
            ),
            taken=lines_of(request.take_lines, field="take_lines"),
            kept={},
            act=Act(call.principal.subject, request.note),
            expected_difference=expected,
            etag=request.etag,
        )
        check_blocks(wanted.taken, call)
        check_own_sections(wanted.taken)
        outcome = await self._exchange(call, request, wanted, self._front.key(call, request, "ExchangeSeats"))
        self._front.replayed(call, request, replayed=outcome.replayed)
        staff = replace(self._front.viewer(call), reads_all=True)

        async def read(transaction: Transaction) -> tuple[SalePage, Money | None]:
            page = await get_sale(transaction, request.sale_id, viewer=staff)
            return page, await operations.difference_of(transaction, page.sales[0].sale.event_id, outcome)

        page, difference = await self._front.run(call, read)
        found = page.sales[0]
        return pb.ExchangeSeatsResponse(
            sale=convert.sale_message(found.sale, call.organization_id, returns=found.returns),
            difference=None if difference is None else to_money(difference),
            inventory_version=outcome.version,
            server_time=to_timestamp(outcome.at),
        )

    async def _exchange(
        self, call: Call, request: pb.ExchangeSeatsRequest, wanted: ExchangeRequest, key: RequestKey
    ) -> ExchangeOutcome:
        for attempt in range(1, PRICED_MAX + 1):
            sale = await self._front.run(call, partial(operations.sale_to_exchange, sale_id=wanted.sale_id))
            try:
                priced = await self._with_prices(call, sale, wanted, fresh=attempt > 1)
            except DomainError:
                # It may still be the repetition of an exchange that was made.
                replay = await self._front.run(call, partial(operations.find_exchange, sale=sale, key=key))
                if replay is None:
                    raise
                return replay
            command = operations.ExchangeSeats(priced, sale.customer_id, key)
            audited = self._front.audited(call, request, command, ResourceType.SALE, wanted.sale_id)
            outcome = await self._front.submit(call, sale.event_id, audited)
            if outcome is not None:
                return outcome
        raise DomainError(
            Reason.OVERLOADED,
            "the sale or the event's dates change all the time",
            metadata={"queue": "sale"},
            retry_after_seconds=1.0,
        )

    async def _with_prices(self, call: Call, sale: Sale, wanted: ExchangeRequest, *, fresh: bool) -> ExchangeRequest:
        """Lock the prices of the lines to take, before the transaction: those of lines that are given up, or of now."""
        places = await self._events.sections(call, [line.section_id for line in wanted.taken])
        one_event(sale.event_id, places)
        taken = await dated_lines(self._events, call, sale.event_id, wanted.taken, fresh=fresh)
        asked, kept = {}, {}
        for index, line in enumerate(taken):
            if line.tier_id is None:
                continue
            earlier = kept_line(sale, wanted.given, line)
            if earlier is None:
                asked[index] = price_line(call, sale.event_id, line)
            else:
                kept[index] = earlier.number
                asked[index] = convert.locked_price_line(call.organization_id, sale.event_id, earlier, line.quantity)
        if asked:
            locks = await self._front.outside.lock_prices(call.organization_id, list(asked.values()))
            for index, lock in zip(asked, locks, strict=True):
                taken[index] = replace(taken[index], lock=lock)
        return replace(wanted, taken=tuple(taken), kept=kept)
