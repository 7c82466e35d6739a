"""SectionService.ExplainAvailability: translate, ask for the price, call, translate."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import section_service_pb2 as pb
from holdfast.capacity.availability_messages import refusal_message
from holdfast.capacity.domain.placing import OtherDateError
from holdfast.capacity.domain.refusals import REFUSED_PRICES
from holdfast.capacity.operations import checking
from holdfast.capacity.rpc.lines import (
    check_blocks,
    line_of,
    lock_prices,
    one_event,
    permission_missing,
    section_ids,
)
from holdfast.common.errors import DomainError, Reason
from holdfast.common.protobuf import to_timestamp

if TYPE_CHECKING:
    from holdfast.capacity.domain.placing import LineRequest
    from holdfast.capacity.operations.checking import Checked, Question
    from holdfast.capacity.rpc.events_of import EventsOf
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.rpc_call import Call

PRICED_MAX: Final = 3
"""How often a price is asked for because the event's dates changed in the meantime."""


class ExplainServicer:
    """Telling why a hold would be refused."""

    def __init__(self, front: Front, events: EventsOf) -> None:
        self._front = front
        self._events = events

    async def explain_availability(
        self, request: pb.ExplainAvailabilityRequest, call: Call
    ) -> pb.ExplainAvailabilityResponse:
        """Go through the rules of placing a hold."""
        subject = call.principal.subject
        customer_id = request.customer_id or subject
        if customer_id != subject and not call.principal.can("holds.manage"):
            raise permission_missing("buyers ask for themselves")
        wanted = line_of(request, field="")
        check_blocks((wanted,), call)
        found = await self._check(call, wanted, customer_id)
        return pb.ExplainAvailabilityResponse(
            allowed=found.refusal is None,
            refusal=None if found.refusal is None else refusal_message(found.refusal),
            available_count=found.available,
            customer_count=found.claimed,
            inventory_version=found.version,
            server_time=to_timestamp(found.at),
        )

    async def _check(self, call: Call, wanted: LineRequest, customer_id: str) -> Checked:
        event_id = one_event("", await self._events.sections(call, section_ids([wanted])))
        for attempt in range(1, PRICED_MAX + 1):
            question = await self._priced(call, event_id, wanted, customer_id, fresh=attempt > 1)
            try:
                return await self._front.run(
                    call, partial(checking.check, question=question, layouts=self._front.layouts), snapshot=True
                )
            except OtherDateError:
                continue
        raise DomainError(
            Reason.OVERLOADED,
            "the event's dates change all the time",
            metadata={"queue": "event"},
            retry_after_seconds=1.0,
        )

    async def _priced(
        self, call: Call, event_id: str, wanted: LineRequest, customer_id: str, *, fresh: bool
    ) -> Question:
        """Ask for the price, as placing does. Pricing keeps nothing of it."""
        if wanted.tier_id is None:
            return checking.Question(wanted, hidden=True, customer_id=customer_id)
        try:
            (priced,), _ = await lock_prices(self._front, self._events, call, event_id, (wanted,), fresh=fresh)
        except DomainError as error:
            if error.reason not in REFUSED_PRICES:
                raise
            return checking.Question(wanted, hidden=True, customer_id=customer_id, refused=error)
        return checking.Question(priced, hidden=True, customer_id=customer_id)
