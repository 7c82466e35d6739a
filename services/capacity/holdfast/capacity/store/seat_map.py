"""The seats of events and sections as the tables have them. The queries of one snapshot agree with each other."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import case, exists, false, func, select

from holdfast.capacity.domain.availability import microseconds
from holdfast.capacity.domain.bitmaps import mask_of
from holdfast.capacity.domain.holds import HoldState
from holdfast.capacity.domain.seat_states import SeatClaim
from holdfast.capacity.store import inventories
from holdfast.capacity.store.holds import LIVE_STATES, voided
from holdfast.capacity.store.sections import section_of
from holdfast.capacity.store.tables import blocks, hold_lines, holds, sections, voids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from holdfast.capacity.domain.sections import Section
    from holdfast.common.database import Transaction


@dataclass(frozen=True, slots=True)
class SeatRows:
    """What rows say of seats, by section: who has any, the live holds with their claims, and the standing blocks."""

    taken: Mapping[str, int]
    claims: Mapping[str, Mapping[str, Sequence[SeatClaim]]]
    blocks: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class SeatMapRead:
    """What the tables say of an event at a moment. `controls` are the bytes of its EventControls message."""

    organization_id: str
    event_id: str
    version: int
    changed_at: datetime
    at: datetime
    controls: bytes
    sections: tuple[Section, ...]
    rows: SeatRows


async def read(transaction: Transaction, event_id: str) -> SeatMapRead | None:
    """Read all seats of an event; None when it is not known. The transaction must be a snapshot."""
    inventory = await inventories.read(transaction, event_id)
    if inventory is None:
        return None
    result = await transaction.execute(
        select(*(column for column in sections.c if column.name != "row_layout"))
        .where(
            sections.c.organization_id == transaction.organization_id,
            sections.c.event_id == event_id,
            sections.c.delete_time.is_(None),
        )
        .order_by(sections.c.create_time, sections.c.id)
    )
    found = result.all()
    taken = {row.id: int.from_bytes(row.taken, "little") for row in found if row.taken is not None}
    return SeatMapRead(
        organization_id=transaction.require_organization(),
        event_id=event_id,
        version=inventory.version,
        changed_at=inventory.changed_at,
        at=inventory.at,
        controls=inventory.controls,
        sections=tuple(section_of(row) for row in found),
        rows=SeatRows(
            taken=taken,
            claims=await claims(transaction, event_id, sorted(taken)),
            blocks=await standing_blocks(transaction, event_id, sorted(taken)),
        ),
    )


async def claims(
    transaction: Transaction, event_id: str, section_ids: Sequence[str]
) -> dict[str, dict[str, list[SeatClaim]]]:
    """Return what live holds, by their rows, claim of seated sections: by section and hold."""
    # Asked once, so that without an open void nobody looks at each hold for it.
    any_void = exists().where(
        voids.c.organization_id == transaction.organization_id, voids.c.event_id == event_id, voids.c.done.is_(False)
    )
    result = await transaction.execute(
        select(
            hold_lines.c.section_id,
            hold_lines.c.hold_id,
            holds.c.state,
            holds.c.expire_time,
            func.coalesce(hold_lines.c.block_id, "").label("block_id"),
            case((any_void, voided(transaction)), else_=false()).label("voided"),
            hold_lines.c.seats,
        )
        .join(holds, (holds.c.organization_id == hold_lines.c.organization_id) & (holds.c.id == hold_lines.c.hold_id))
        .where(
            holds.c.organization_id == transaction.organization_id,
            holds.c.event_id == event_id,
            holds.c.state.in_(LIVE_STATES),
            hold_lines.c.organization_id == transaction.organization_id,
            hold_lines.c.section_id.in_(section_ids),
        )
        .order_by(hold_lines.c.hold_id, hold_lines.c.number)
    )
    found: dict[str, dict[str, list[SeatClaim]]] = defaultdict(dict)
    for row in result:
        claim = SeatClaim(
            pending=row.state == HoldState.PENDING,
            expire_us=microseconds(row.expire_time),
            seats=tuple(row.seats),
            block_id=row.block_id,
            voided=row.voided,
        )
        found[row.section_id].setdefault(row.hold_id, []).append(claim)
    return found


async def standing_blocks(
    transaction: Transaction, event_id: str, section_ids: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Return the seats in the blocks of seated sections that stand, by section and block; empty ones too."""
    result = await transaction.execute(
        select(blocks.c.section_id, blocks.c.id, blocks.c.seats).where(
            blocks.c.organization_id == transaction.organization_id,
            blocks.c.event_id == event_id,
            blocks.c.section_id.in_(section_ids),
            blocks.c.end_time.is_(None),
        )
    )
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for row in result:
        found[row.section_id][row.id] = mask_of(row.seats)
    return found


async def of_section(transaction: Transaction, section: Section) -> SeatRows:
    """Read the seats of one section. The transaction must be a snapshot."""
    section_id = section.section_id
    result = await transaction.execute(
        select(sections.c.taken).where(
            sections.c.organization_id == transaction.organization_id, sections.c.id == section_id
        )
    )
    return SeatRows(
        taken={section_id: int.from_bytes(result.scalar_one() or b"", "little")},
        claims=await claims(transaction, section.event_id, [section_id]),
        blocks=await standing_blocks(transaction, section.event_id, [section_id]),
    )
