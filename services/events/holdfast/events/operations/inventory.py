"""What capacity reports: figures of an event, and whether it is sold out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

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
    from collections.abc import Sequence
    from datetime import datetime

    from holdfast.common.database import Pipeline, Statement, Transaction
    from holdfast.events.domain.scenes import Scene

CONSUMER: Final = "events-inventory"


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
    """What became of changes; `scene` = the event as it is now, if it moved."""

    claim: Claim
    scene: Scene | None = None


async def apply_changes(pipeline: Pipeline, changes: Sequence[InventoryChange], *, now: datetime) -> Applied:
    """Apply consecutive changes of an event if they come next: position, figures, transitions, in one commit.

    Those that were applied before are left out; when all were, or some before the first one are missing, nothing
    changes, as the claim says. Figures are absolute, so only the last ones are written, but each crossing of the line
    between sold out and not is followed, in order. Changes of an event that this service does not have move the
    position and nothing else: there is nobody whom their figures belong to, and their successors need not be fetched
    as a gap.
    """
    first, last = changes[0], changes[-1]
    claim = await positions.claim(
        pipeline,
        schema=SCHEMA,
        consumer=CONSUMER,
        aggregate_id=last.event_id,
        version=last.version,
        first_version=first.version,
    )
    if claim.kind is not ClaimKind.NEXT:
        return Applied(claim=claim)
    scene = None
    for change in changes:
        if change.version > claim.position and change.sold_out is not None:
            scene = await _cross(pipeline.transaction(), change, now=now) or scene
    if last.sold_out is None:
        pipeline.last.append(_figures(last))
    return Applied(claim=claim, scene=scene)


async def _cross(transaction: Transaction, change: InventoryChange, *, now: datetime) -> Scene | None:
    """Follow a change between sold out and not; the event as it is then, if it moved."""
    # Locked, because the event may move: a resume of sales that runs now then either finds the new figures or is found
    # here.
    event = await event_store.find_event(transaction, change.organization_id, change.event_id, lock="wait")
    await transaction.send(_figures(change))
    if event is None or event.delete_time is not None:
        return None
    name = inventory_transition(event.state, sold_out=bool(change.sold_out))
    if name is None:
        return None
    return await apply_transition(
        transaction,
        await scene_of(transaction, event),
        name,
        actor=INVENTORY_ACTOR,
        reason="",
        now=now,
        moves={},
    )


def _figures(change: InventoryChange) -> Statement:
    return event_store.write_figures(
        change.organization_id,
        change.event_id,
        Figures(
            capacity=change.total,
            available=change.total - change.held - change.pending - change.sold - change.blocked,
            sold=change.sold,
            sold_out=bool(change.sold_out),
            inventory_version=change.version,
        ),
        crossed=change.sold_out is not None,
    )


async def skip_change(transaction: Transaction, *, event_id: str, version: int) -> None:
    """Move the position past a change that cannot be applied, so that those after it are."""
    await positions.advance_to(transaction, schema=SCHEMA, consumer=CONSUMER, aggregate_id=event_id, version=version)
