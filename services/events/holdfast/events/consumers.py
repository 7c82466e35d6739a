"""NATS message → operation: what capacity reports of the inventories."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from google.protobuf.message import DecodeError

from holdfast.api.capacity.v1 import messages_pb2
from holdfast.common import positions
from holdfast.common.errors import DomainError, Reason
from holdfast.common.ids import is_id
from holdfast.common.message import IncomingMessage, PoisonMessage
from holdfast.common.messaging import Consumer
from holdfast.common.positions import ClaimKind
from holdfast.events.operations import inventory as operations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.common.clock import Clock
    from holdfast.common.database import Database
    from holdfast.events.operations.inventory import Applied, InventoryChange
    from holdfast.events.outside import Outside

STREAM: Final = "CAPACITY"
SUBJECTS: Final = ("capacity.*.*.inventory_changed",)
FETCH_SIZE: Final = 200
FETCHES_MAX: Final = 25
"""Pages that one delivery fetches; a longer gap goes on at the next delivery, from where this one stopped."""

_CROSSINGS: Final = {
    messages_pb2.ThresholdCrossing.Kind.SOLD_OUT: True,
    messages_pb2.ThresholdCrossing.Kind.REOPENED: False,
}
logger = structlog.get_logger(__name__)


def change_of(message: messages_pb2.InventoryChanged) -> InventoryChange:
    """Take from a message what concerns the event; PoisonMessage if it is not one that capacity could have written."""
    if message.version < 1 or not is_id(message.event_id) or not is_id(message.organization_id):
        raise PoisonMessage("event_id, organization_id and a version from 1 on are needed")
    sold_out = None
    for crossing in message.crossings:
        if not crossing.section_id and crossing.kind in _CROSSINGS:
            sold_out = _CROSSINGS[crossing.kind]
    totals = message.totals
    return operations.InventoryChange(
        organization_id=message.organization_id,
        event_id=message.event_id,
        version=message.version,
        total=totals.total,
        held=totals.held,
        pending=totals.pending,
        sold=totals.sold,
        blocked=totals.blocked,
        sold_out=sold_out,
    )


def _read(incoming: IncomingMessage) -> InventoryChange:
    body = messages_pb2.InventoryChanged()
    try:
        body.ParseFromString(incoming.body)
    except DecodeError:
        raise PoisonMessage("not an InventoryChanged") from None
    change = change_of(body)
    if change.organization_id != incoming.organization_id or change.event_id != incoming.event_id:
        raise PoisonMessage("the body is of another organization or event than the subject")
    if change.version != incoming.version:
        raise PoisonMessage("the body is of another version than the header")
    return change


class InventoryConsumer:
    """Keeps the figures of events, and moves them to SOLD_OUT and back. Each change is applied once, in order."""

    def __init__(self, *, database: Database, clock: Clock, outside: Outside) -> None:
        self._database = database
        self._clock = clock
        self._outside = outside

    def consumer(self) -> Consumer:
        """Describe the durable consumer."""
        return Consumer(
            name=operations.CONSUMER,
            stream=STREAM,
            subjects=SUBJECTS,
            handler=self.handle,
            run_handler=self.handle_run,
            skip=self.skip,
        )

    async def handle(self, incoming: IncomingMessage) -> None:
        """Apply a message; a gap before it is fetched from capacity first."""
        await self.handle_run([incoming])

    async def handle_run(self, run: Sequence[IncomingMessage]) -> None:
        """Apply consecutive messages of an event in one transaction; what is missing before them is fetched first."""
        changes = [_read(incoming) for incoming in run]
        if len({(change.organization_id, change.event_id) for change in changes}) > 1:
            raise PoisonMessage("messages of several events name the same aggregate")
        applied = await self._apply(changes)
        if applied.claim.kind is ClaimKind.GAP:
            await self._fill_gap(changes[-1], after_version=applied.claim.position)

    async def skip(self, incoming: IncomingMessage) -> None:
        """Move the position past a message that goes to the dead letters."""
        if incoming.event_id is None or incoming.version < 1:
            return
        await self._database.run(
            partial(operations.skip_change, event_id=incoming.event_id, version=incoming.version),
            organization_id=incoming.organization_id,
        )

    async def _apply(self, changes: Sequence[InventoryChange]) -> Applied:
        applied = await self._database.run_pipeline(
            lambda pipeline: operations.apply_changes(pipeline, changes, now=self._clock.now()),
            organization_id=changes[0].organization_id,
        )
        if applied.scene is not None:
            await self._outside.push_controls(applied.scene)
        return applied

    async def _fill_gap(self, wanted: InventoryChange, *, after_version: int) -> None:
        position = after_version
        logger.info("inventory gap", event_id=wanted.event_id, position=position, version=wanted.version)
        for _ in range(FETCHES_MAX):
            fetched = await self._outside.inventory_changes(
                wanted.organization_id, wanted.event_id, after_version=position, size=FETCH_SIZE
            )
            changes = [change_of(message) for message in fetched]
            if any(one.event_id != wanted.event_id or one.organization_id != wanted.organization_id for one in changes):
                raise PoisonMessage("capacity answered with changes of another event")
            for run in positions.runs(changes, lambda one: one.version):
                await self._apply(run)
                position = max(position, run[-1].version)
            if position >= wanted.version:
                return
            if not changes:
                break
        raise DomainError(
            Reason.DEPENDENCY_UNAVAILABLE,
            "the changes before this one are not all there yet",
            metadata={"dependency": "capacity"},
            retry_after_seconds=1.0,
        )
