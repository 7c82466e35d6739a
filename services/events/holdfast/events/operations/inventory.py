"""What capacity reports: figures of an event, and whether it is sold out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from holdfast.common import positions
from holdfast.common.positions import Claim, ClaimKind
from holdfast.events.domain.events import Figures
from holdfast.events.domain.timers import inventory_transition
from holdfast.events.operations.due import INVENTORY_ACTOR
from holdfast.events.operations.scenes import scene_of
from holdfast.events.operations.transitions import apply_transition
from holdfast.events.store import events as event_store
from holdfast.events.store.tables import SCHEMA

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.common.database import Transaction
    from holdfast.events.domain.scenes import Scene

CONSUMER: Final = "events-inventory"
logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class InventoryChange:
    """One commit of an event's inventory, as far as it concerns the event.

    `sold_out` = the commit crossed that line, in which direction; None = it did not.
    """

    organization_id: str
    event_id: str
    version: int
    total: int
    held: int
    pending: int
    sold: int
    blocked: int
    sold_out: bool | None


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a change; `scene` = the event as it is now, if it moved."""

    claim: Claim
    scene: Scene | None = None


async def apply_change(transaction: Transaction, change: InventoryChange, *, now: datetime) -> Applied:
    """Apply a change if it is the next one of its event: the position, the figures, the transition, in one commit.

    A duplicate or a gap changes nothing; the claim says which. A change of an event that this service does not have
    moves the position and nothing else: there is nobody whom its figures belong to, and its successors need not be
    fetched as a gap.
    """
    claim = await positions.claim(
        transaction, schema=SCHEMA, consumer=CONSUMER, aggregate_id=change.event_id, version=change.version
    )
    if claim.kind is not ClaimKind.NEXT:
        return Applied(claim=claim)
    # The lock only where the event may move: a resume of sales that runs now then either finds the new figures or is
    # found here.
    crossed = change.sold_out is not None
    event = await event_store.find_event(
        transaction, change.organization_id, change.event_id, lock="wait" if crossed else "none"
    )
    if event is None:
        logger.warning("inventory of an unknown event", event_id=change.event_id, version=change.version)
        return Applied(claim=claim)
    known = (await event_store.find_figures(transaction, event.organization_id, [event.id])).get(event.id)
    sold_out = change.sold_out if change.sold_out is not None else known is not None and known.sold_out
    await event_store.write_figures(
        transaction,
        event.organization_id,
        event.id,
        Figures(
            capacity=change.total,
            available=change.total - change.held - change.pending - change.sold - change.blocked,
            sold=change.sold,
            sold_out=sold_out,
            inventory_version=change.version,
        ),
    )
    name = inventory_transition(event.state, sold_out=sold_out) if crossed else None
    if name is None or event.delete_time is not None:
        return Applied(claim=claim)
    scene = await apply_transition(
        transaction,
        await scene_of(transaction, event),
        name,
        actor=INVENTORY_ACTOR,
        reason="",
        now=now,
        moves={},
    )
    return Applied(claim=claim, scene=scene)


async def skip_change(transaction: Transaction, *, event_id: str, version: int) -> None:
    """Move the position past a change that cannot be applied, so that those after it are."""
    await positions.advance_to(transaction, schema=SCHEMA, consumer=CONSUMER, aggregate_id=event_id, version=version)
