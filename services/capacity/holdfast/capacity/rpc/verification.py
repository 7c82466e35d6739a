"""InventoryService's proofs: translate, call, translate."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import inventory_service_pb2 as pb
from holdfast.capacity.operations import verification
from holdfast.capacity.operations.history import Limit
from holdfast.common.protobuf import to_timestamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from holdfast.capacity.domain.recounts import Difference
    from holdfast.capacity.operations.history import Run
    from holdfast.capacity.operations.verification import Verification
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.rpc_call import Call

SECONDS_MAX: Final = 120.0
"""How long one call may read: the rows of millions of holds take seconds."""
AT_ONCE_MAX: Final = 2
"""Calls that read at the same time; the others wait. Each has a connection that nobody else can use."""


class VerificationServicer:
    """What an event's inventory was, and whether it is what it should be."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)

    async def verify_inventory(self, request: pb.VerifyInventoryRequest, call: Call) -> pb.VerifyInventoryResponse:
        """Compare counters and seats with what they count."""
        found = await self._verified(call, request.event_id)
        return pb.VerifyInventoryResponse(
            consistent=not found.differences,
            inventory_version=found.version,
            differences=_differences(found.differences),
            server_time=to_timestamp(found.at),
        )

    async def _verified(self, call: Call, event_id: str) -> Verification:
        async with self._turn(call, event_id) as (run, limit):
            return await self._front.knowing(call, event_id, lambda: verification.verify(run, event_id, limit=limit))

    @asynccontextmanager
    async def _turn(self, call: Call, event_id: str) -> AsyncIterator[tuple[Run, Limit]]:
        """Wait for the right to read much; gives what runs transactions, and when it has to end."""
        async with self._turns:
            until = min(call.deadline, asyncio.get_running_loop().time() + SECONDS_MAX)
            yield partial(self._front.run, call), Limit(until, event_id)


def _differences(found: Iterable[Difference]) -> list[pb.InventoryDifference]:
    return [
        pb.InventoryDifference(
            section_id=each.section_id,
            counter=each.counter,
            stored=each.stored,
            from_lines=each.from_lines,
            from_journal=each.from_journal,
            seats=each.seats,
        )
        for each in found
    ]
