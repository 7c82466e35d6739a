"""Blocks as rows, as they stand: places of holds that ended are back in their block, tidied up or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from holdfast.capacity.domain.blocks import Block, BlockKind
from holdfast.capacity.store.snapshots import ended_lines
from holdfast.capacity.store.tables import blocks, event_inventories

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement

    from holdfast.common.database import Transaction

Cursor = tuple["datetime", str]


async def event_of(transaction: Transaction, block_id: str) -> str | None:
    """Return the event of a block, which never changes."""
    result = await transaction.execute(
        select(blocks.c.event_id).where(
            blocks.c.organization_id == transaction.organization_id, blocks.c.id == block_id
        )
    )
    event_id: str | None = result.scalar_one_or_none()
    return event_id


async def get(transaction: Transaction, event_id: str, block_id: str) -> Block | None:
    """Return a block of an event."""
    found = await _read(transaction, event_id, filters=[blocks.c.id == block_id], limit=1)
    return found[0] if found else None


def filters(*, section_id: str | None, kinds: Sequence[BlockKind], with_ended: bool) -> list[ColumnElement[bool]]:
    """Give the conditions of a list."""
    conditions: list[ColumnElement[bool]] = []
    if section_id is not None:
        conditions.append(blocks.c.section_id == section_id)
    if kinds:
        conditions.append(blocks.c.kind.in_(list(kinds)))
    if not with_ended:
        conditions.append(blocks.c.end_time.is_(None))
    return conditions


async def page(
    transaction: Transaction,
    event_id: str,
    *,
    filters: Sequence[ColumnElement[bool]],
    limit: int,
    after: Cursor | None,
) -> list[Block]:
    """Return blocks of an event, newest first, after a cursor."""
    conditions = list(filters)
    if after is not None:
        create_time, block_id = after
        conditions.append(
            (blocks.c.create_time < create_time) | ((blocks.c.create_time == create_time) & (blocks.c.id < block_id))
        )
    return await _read(transaction, event_id, filters=conditions, limit=limit)


async def count(transaction: Transaction, event_id: str, conditions: Sequence[ColumnElement[bool]]) -> int:
    """Count the blocks of a list."""
    query = (
        select(func.count())
        .select_from(blocks)
        .where(blocks.c.organization_id == transaction.organization_id, blocks.c.event_id == event_id, *conditions)
    )
    return int((await transaction.execute(query)).scalar_one())


async def _read(
    transaction: Transaction, event_id: str, *, filters: Sequence[ColumnElement[bool]], limit: int
) -> list[Block]:
    """Read blocks and the lines that count as back in them, in one statement: they belong together."""
    at = (
        select(func.greatest(func.clock_timestamp(), event_inventories.c.last_change_time).label("at"))
        .where(
            event_inventories.c.organization_id == transaction.organization_id,
            event_inventories.c.event_id == event_id,
        )
        .cte("moment")
    )
    shown = (
        select(blocks)
        .where(blocks.c.organization_id == transaction.organization_id, blocks.c.event_id == event_id, *filters)
        .order_by(blocks.c.create_time.desc(), blocks.c.id.desc())
        .limit(limit)
        .subquery("shown")
    )
    event = select(event_inventories.c.event_id).where(
        event_inventories.c.organization_id == transaction.organization_id, event_inventories.c.event_id == event_id
    )
    back = ended_lines(transaction, event.scalar_subquery(), select(at.c.at).scalar_subquery()).subquery("back")
    rows = await transaction.execute(
        select(
            shown,
            back.c.quantity.label("back_quantity"),
            back.c.seats.label("back_seats"),
            back.c.labels.label("back_labels"),
        )
        .select_from(shown.outerjoin(back, back.c.block_id == shown.c.id))
        .order_by(shown.c.create_time.desc(), shown.c.id.desc())
    )
    found: dict[str, Block] = {}
    for row in rows:
        block = found.get(row.id) or block_of(row)
        if row.back_quantity is not None:
            block = block.back(row.back_quantity, zip(row.back_seats, row.back_labels, strict=True))
        found[row.id] = block
    return list(found.values())


def block_of(row: Any) -> Block:
    """Read a block from a row with its columns by name."""
    return Block(
        block_id=row.id,
        event_id=row.event_id,
        section_id=row.section_id,
        kind=BlockKind(row.kind),
        quantity=row.quantity,
        initial_quantity=row.initial_quantity,
        note=row.note,
        actor=row.actor,
        create_time=row.create_time,
        update_time=row.update_time,
        seats=tuple(row.seats),
        labels=tuple(row.labels),
        taken_quantity=row.taken_quantity,
        end_time=row.end_time,
        revision=row.revision,
    )
