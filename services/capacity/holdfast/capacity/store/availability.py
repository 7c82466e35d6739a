"""An event's availability as the tables have it, read in one statement: version, time, sections and claims agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, exists, false, func, select, true

from holdfast.capacity.domain.availability import microseconds
from holdfast.capacity.domain.claims import Claim
from holdfast.capacity.domain.holds import HoldState
from holdfast.capacity.domain.refusals import Ending
from holdfast.capacity.store.holds import LIVE_STATES, voided
from holdfast.capacity.store.sections import LARGE, section_of
from holdfast.capacity.store.tables import blocks, event_inventories, hold_lines, holds, sections, voids

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import Row, Select

    from holdfast.capacity.domain.sections import Section
    from holdfast.common.database import Transaction


@dataclass(frozen=True, slots=True)
class AvailabilityRead:
    """What the tables say of an event at a moment. `controls` are the bytes of its EventControls message."""

    organization_id: str
    event_id: str
    version: int
    changed_at: datetime
    at: datetime
    controls: bytes
    sections: tuple[Section, ...]
    claims: tuple[tuple[str, Claim], ...]
    ended_blocks: frozenset[str]


async def read(transaction: Transaction, event_id: str) -> AvailabilityRead | None:
    """Read everything of an event; None when it is not known."""
    moment = (
        select(
            event_inventories.c.version,
            event_inventories.c.last_change_time,
            event_inventories.c.controls,
            func.greatest(func.clock_timestamp(), event_inventories.c.last_change_time).label("at"),
        )
        .where(
            event_inventories.c.organization_id == transaction.organization_id,
            event_inventories.c.event_id == event_id,
        )
        .cte("moment")
    )
    shown = (
        select(*(column for column in sections.c if column.name not in LARGE))
        .where(
            sections.c.organization_id == transaction.organization_id,
            sections.c.event_id == event_id,
            sections.c.delete_time.is_(None),
        )
        .subquery("shown")
    )
    claims = _claims(transaction, event_id).subquery("claims")
    order = (shown.c.create_time, shown.c.id)
    # Told once, however many sections there are.
    controls = case((func.row_number().over(order_by=order) == 1, moment.c.controls))
    result = await transaction.execute(
        select(moment.c.version, moment.c.last_change_time, moment.c.at, controls.label("controls"), shown)
        .add_columns(claims.c.states, claims.c.expire_times, claims.c.block_ids)
        .add_columns(claims.c.blocks_ended, claims.c.voids, claims.c.quantities)
        .select_from(moment.outerjoin(shown, true()).outerjoin(claims, claims.c.section_id == shown.c.id))
        .order_by(*order)
    )
    rows = result.all()
    if not rows:
        return None
    first = rows[0]
    listed = [row for row in rows if row.id is not None]
    return AvailabilityRead(
        organization_id=transaction.require_organization(),
        event_id=event_id,
        version=first.version,
        changed_at=first.last_change_time,
        at=first.at,
        controls=bytes(first.controls),
        sections=tuple(section_of(row) for row in listed),
        claims=tuple((row.id, claim) for row in listed for claim in _claims_of(row)),
        ended_blocks=frozenset(
            block_id
            for row in listed
            for block_id, ended in zip(row.block_ids or (), row.blocks_ended or (), strict=True)
            if ended
        ),
    )


def _claims(transaction: Transaction, event_id: str) -> Select[Any]:
    """Add up the places of live rows of holds, by section, state, end, block, and whether a void ended them."""
    # Asked once, so that without an open void nobody looks at each hold for it.
    any_void = exists().where(
        voids.c.organization_id == transaction.organization_id, voids.c.event_id == event_id, voids.c.done.is_(False)
    )
    lines = (
        select(
            hold_lines.c.section_id,
            holds.c.state,
            holds.c.expire_time,
            func.coalesce(hold_lines.c.block_id, "").label("block_id"),
            blocks.c.end_time.is_not(None).label("block_ended"),
            case((any_void, voided(transaction)), else_=false()).label("voided"),
            hold_lines.c.quantity,
        )
        .join(holds, (holds.c.organization_id == hold_lines.c.organization_id) & (holds.c.id == hold_lines.c.hold_id))
        .outerjoin(
            blocks,
            (blocks.c.organization_id == hold_lines.c.organization_id) & (blocks.c.id == hold_lines.c.block_id),
        )
        .where(
            holds.c.organization_id == transaction.organization_id,
            holds.c.event_id == event_id,
            holds.c.state.in_(LIVE_STATES),
            hold_lines.c.organization_id == transaction.organization_id,
        )
        .subquery("lines")
    )
    kinds = (
        lines.c.section_id,
        lines.c.state,
        lines.c.expire_time,
        lines.c.block_id,
        lines.c.block_ended,
        lines.c.voided,
    )
    sums = select(*kinds, func.sum(lines.c.quantity).label("quantity")).group_by(*kinds).subquery("sums")
    return select(
        sums.c.section_id,
        func.array_agg(sums.c.state).label("states"),
        func.array_agg(sums.c.expire_time).label("expire_times"),
        func.array_agg(sums.c.block_id).label("block_ids"),
        func.array_agg(sums.c.block_ended).label("blocks_ended"),
        func.array_agg(sums.c.voided).label("voids"),
        func.array_agg(sums.c.quantity).label("quantities"),
    ).group_by(sums.c.section_id)


def _claims_of(row: Row[Any]) -> Iterator[Claim]:
    if row.states is None:
        return
    for state, expire_time, block_id, voided_by, quantity in zip(
        row.states, row.expire_times, row.block_ids, row.voids, row.quantities, strict=True
    ):
        yield Claim(
            pending=state == HoldState.PENDING,
            expire_us=microseconds(expire_time),
            quantity=int(quantity),
            block_id=block_id,
            voided=voided_by,
        )


async def endings(  # noqa: PLR0913 (of what, and how many)
    transaction: Transaction,
    event_id: str,
    section_id: str,
    *,
    block_id: str | None = None,
    after: datetime,
    limit: int,
) -> list[Ending]:
    """Return which places of a section come back to sale, or to a block, when holds end, in the order of their time."""
    result = await transaction.execute(
        select(holds.c.expire_time, holds.c.state, hold_lines.c.quantity, hold_lines.c.seats)
        .join(
            hold_lines,
            (hold_lines.c.organization_id == holds.c.organization_id) & (hold_lines.c.hold_id == holds.c.id),
        )
        .where(
            holds.c.organization_id == transaction.organization_id,
            holds.c.event_id == event_id,
            holds.c.state.in_(LIVE_STATES),
            holds.c.expire_time > after,
            ~voided(transaction),
            hold_lines.c.organization_id == transaction.organization_id,
            hold_lines.c.section_id == section_id,
            hold_lines.c.block_id.is_(None) if block_id is None else hold_lines.c.block_id == block_id,
        )
        .order_by(holds.c.expire_time, holds.c.id, hold_lines.c.number)
        .limit(limit)
    )
    return [
        Ending(
            row.expire_time, pending=row.state == HoldState.PENDING, quantity=row.quantity, seats=tuple(row.seats or ())
        )
        for row in result
    ]
