"""SectionService, laying out seats: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import section_service_pb2 as pb
from holdfast.capacity import convert
from holdfast.capacity.convert_seating import config_of
from holdfast.capacity.domain.audits import ResourceType
from holdfast.capacity.domain.seating import plan
from holdfast.capacity.domain.seating_sagas import SeatingSaga
from holdfast.capacity.operations import sections as operations
from holdfast.capacity.operations.seating import RPC, BeginSeating, find_seating
from holdfast.capacity.operations.sections import SectionsMade
from holdfast.common import ids
from holdfast.common.errors import DomainError, Reason

if TYPE_CHECKING:
    from holdfast.capacity.domain.seating import PlannedSection
    from holdfast.capacity.rpc.front import Front
    from holdfast.capacity.seating_sagas import SeatingSagas
    from holdfast.common.idempotency import RequestKey
    from holdfast.common.rpc_call import Call

ROUNDS_MAX: Final = 3
"""How often a request is judged anew because one with the same key, which it joined, left nothing."""


class SeatingServicer:
    """The seats of sections."""

    def __init__(self, front: Front, sagas: SeatingSagas) -> None:
        self._front = front
        self._sagas = sagas

    async def generate_seating(self, request: pb.GenerateSeatingRequest, call: Call) -> pb.GenerateSeatingResponse:
        """Make seated sections with all their seats, and their prices."""
        key = self._front.key(call, request, RPC)
        made = await self._make(request, key, call)
        self._front.replayed(call, request, replayed=made.replayed)
        read = await self._front.run(
            call,
            lambda transaction: operations.get_sections(
                transaction, request.event_id, made.section_ids, layouts=self._front.layouts
            ),
        )
        return pb.GenerateSeatingResponse(
            sections=[
                convert.section_message(view.section, call.organization_id, counters=view.counters, layout=view.layout)
                for view in read
            ],
            seat_count=sum(view.section.counters.total for view in read),
            inventory_version=made.version,
        )

    async def _make(self, request: pb.GenerateSeatingRequest, key: RequestKey, call: Call) -> SectionsMade:
        currency_code = ""
        if any(section.HasField("price") for section in request.config.sections):
            if not call.principal.can("pricing.write"):
                raise DomainError(
                    Reason.PERMISSION_MISSING,
                    "prices need a permission of their own",
                    metadata={"permission": "pricing.write"},
                )
            if not request.config.currency_code:
                # What was asked for before is answered whether or not events is there.
                known = await self._front.run(
                    call, lambda transaction: find_seating(transaction, request.event_id, key)
                )
                if isinstance(known, SectionsMade):
                    return known
                currency_code = (
                    known.currency_code if known else await self._front.outside.currency_of(call.organization_id)
                )
        planned = plan(config_of(request.config, currency_code=currency_code))
        for _ in range(ROUNDS_MAX):
            saga = _saga(request, planned, key, call, currency_code=currency_code)
            command = self._front.audited(
                call, request, BeginSeating(saga, planned), ResourceType.SECTION, *saga.section_ids
            )
            begun = await self._front.submit_knowing(call, request.event_id, command)
            if isinstance(begun, SeatingSaga):
                made = await self._sagas.finish(begun, deadline=call.deadline)
                if made is not None:
                    return made
            else:
                return begun
        raise DomainError(
            Reason.OVERLOADED,
            "requests with the same request_id come and go",
            metadata={"queue": "seating"},
            retry_after_seconds=1.0,
        )


def _saga(
    request: pb.GenerateSeatingRequest,
    planned: tuple[PlannedSection, ...],
    key: RequestKey,
    call: Call,
    *,
    currency_code: str,
) -> SeatingSaga:
    return SeatingSaga(
        saga_id=ids.new_id(),
        organization_id=call.organization_id,
        event_id=request.event_id,
        schedule_id=request.schedule_id or None,
        caller=key.caller,
        request_id=key.request_id,
        fingerprint=key.fingerprint,
        config=request.config.SerializeToString(),
        currency_code=currency_code,
        section_ids=tuple(ids.new_id() for _ in planned),
        price_tier_ids=tuple(ids.new_id() for section in planned if section.price is not None),
    )
