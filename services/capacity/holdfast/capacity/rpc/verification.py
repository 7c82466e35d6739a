"""InventoryService's proofs: translate, call, translate."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from holdfast.api.capacity.v1 import inventory_service_pb2 as pb
from holdfast.capacity.domain.repairs import changed, confirmation_invalid
from holdfast.capacity.operations import history, verification
from holdfast.capacity.operations.history import Limit
from holdfast.capacity.operations.repairing import Repair, findings_of, repaired, repaired_before
from holdfast.capacity.store.inventories import clock
from holdfast.common import ids
from holdfast.common.errors import DomainError
from holdfast.common.pagination import filters_of
from holdfast.common.protobuf import optional_datetime, to_timestamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from holdfast.capacity.domain.recounts import Difference
    from holdfast.capacity.journal_replay import Replay
    from holdfast.capacity.operations.repairing import Findings, Repaired
    from holdfast.capacity.operations.verification import Verification
    from holdfast.capacity.rpc.front import Front
    from holdfast.common.database import Database
    from holdfast.common.rpc_call import Call

SECONDS_MAX: Final = 120.0
"""How long one call may read: the rows of millions of holds take seconds."""
TOKEN_LIFE: Final = timedelta(minutes=5)
"""How long differences that were shown can be confirmed."""
VERIFIED_AT_ONCE_MAX: Final = 1
"""Verifications at the same time; the others wait. Each has a connection that nobody else can use."""


class VerificationServicer:
    """What an event's inventory was, and whether it is what it should be."""

    def __init__(self, front: Front, *, database: Database) -> None:
        self._front = front
        self._database = database
        self._turns = asyncio.Semaphore(VERIFIED_AT_ONCE_MAX)

    async def verify_inventory(self, request: pb.VerifyInventoryRequest, call: Call) -> pb.VerifyInventoryResponse:
        """Compare counters and seats with what they count."""
        found = await self._verified(call, request.event_id)
        return pb.VerifyInventoryResponse(
            consistent=not found.differences,
            inventory_version=found.version,
            differences=_differences(found.differences),
            server_time=to_timestamp(found.at),
        )

    async def get_inventory_at(self, request: pb.GetInventoryAtRequest, call: Call) -> pb.GetInventoryAtResponse:
        """Read the counters of the past."""
        event_id, moment = request.event_id, optional_datetime(request, "read_time")
        run, limit = partial(self._front.run, call), _limit(call)

        def past() -> Awaitable[Replay]:
            if moment is None:
                return history.at_version(run, event_id, request.inventory_version, limit=limit)
            return history.at_time(run, event_id, moment, limit=limit)

        found = await self._front.knowing(call, event_id, past)
        answer = pb.GetInventoryAtResponse(
            sections=found.standing(),
            totals=found.last.totals,
            inventory_version=found.version,
            controls_version=found.last.controls_version,
        )
        if found.version:
            answer.occur_time.CopyFrom(found.last.occur_time)
        return answer

    async def repair_inventory(self, request: pb.RepairInventoryRequest, call: Call) -> pb.RepairInventoryResponse:
        """Show what does not agree, or put it right."""
        if not request.confirmation_token:
            return self._shown(request, call, findings_of(await self._verified(call, request.event_id)))
        key = self._front.key(call, request, "RepairInventory")
        before = await self._front.run(call, lambda transaction: repaired_before(transaction, key))
        if before is not None:
            self._front.replayed(call, request, replayed=True)
            return _repaired(before, await self._front.run(call, clock))
        fingerprint, repaired_version, expire_time = self._confirmed(request, call)
        findings = findings_of(await self._verified(call, request.event_id))
        found = findings.found
        if expire_time <= found.at:
            raise confirmation_invalid(request.event_id, "EXPIRED")
        if (findings.repairs.fingerprint, found.repaired_version) != (fingerprint, repaired_version):
            raise changed(request.event_id)
        author = self._front.author(call, request, "RepairInventory", note=request.reason)
        entry_id = await self._front.submit(call, request.event_id, Repair(findings, author, ids.new_id(), key))
        done = await self._front.run(call, lambda transaction: repaired(transaction, entry_id))
        return _repaired(done, found.at)

    def _shown(self, request: pb.RepairInventoryRequest, call: Call, findings: Findings) -> pb.RepairInventoryResponse:
        found, repairs = findings.found, findings.repairs
        answer = pb.RepairInventoryResponse(
            differences=_differences(found.differences),
            inventory_version=found.version,
            server_time=to_timestamp(found.at),
        )
        if repairs:
            expire_time = found.at + TOKEN_LIFE
            cursor: list[str | int] = [repairs.fingerprint, found.repaired_version, expire_time.isoformat()]
            answer.confirmation_token = self._front.tokens.encode(cursor, _bound(request, call))
            answer.confirmation_expire_time.CopyFrom(to_timestamp(expire_time))
        return answer

    def _confirmed(self, request: pb.RepairInventoryRequest, call: Call) -> tuple[str, int, datetime]:
        """Read a token: the fingerprint of the repairs, the version of the repair before, and until when it is good."""
        try:
            cursor = self._front.tokens.decode(request.confirmation_token, _bound(request, call)) or ()
        except DomainError as error:
            raise confirmation_invalid(request.event_id, "UNKNOWN") from error
        fingerprint, repaired_version, expire_time = map(str, cursor)
        return fingerprint, int(repaired_version), datetime.fromisoformat(expire_time)

    async def _verified(self, call: Call, event_id: str) -> Verification:
        run = partial(self._database.run, organization_id=call.organization_id, deadline=call.deadline)
        async with self._turns:
            limit = _limit(call)
            return await self._front.knowing(call, event_id, lambda: verification.verify(run, event_id, limit=limit))


def _limit(call: Call) -> Limit:
    return Limit(min(call.deadline, asyncio.get_running_loop().time() + SECONDS_MAX))


def _bound(request: pb.RepairInventoryRequest, call: Call) -> bytes:
    """Give what a confirmation token is bound to."""
    return filters_of(pb.RepairInventoryRequest(event_id=request.event_id), organization_id=call.organization_id)


def _repaired(done: Repaired, at: datetime) -> pb.RepairInventoryResponse:
    return pb.RepairInventoryResponse(
        differences=_differences(done.differences),
        repaired=True,
        inventory_version=done.version,
        server_time=to_timestamp(at),
    )


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
