"""Claims of seats as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import any_, or_, select

from holdfast.capacity.store.holds import LIVE_STATES, voided
from holdfast.capacity.store.tables import blocks, hold_lines, holds, seat_claims

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.common.database import Transaction


HOLDERS: Final = """
SELECT c.seat_index, c.hold_id FROM capacity.seat_claims c
WHERE c.organization_id = $1 AND c.section_id = $2 AND c.seat_index = ANY ($3::integer[]) AND c.hold_id IS NOT NULL"""
"""Which hold has each of some seats, as the rows say."""


async def ended(transaction: Transaction, section_id: str, at: datetime) -> list[int]:
    """Return the seats of a section whose holds ended, by time or by a void, and were not tidied up.

    Not those that go back into a block.
    """
    into_a_block = (
        select(1)
        .select_from(hold_lines)
        .join(
            blocks,
            (blocks.c.organization_id == hold_lines.c.organization_id) & (blocks.c.id == hold_lines.c.block_id),
        )
        .where(
            hold_lines.c.organization_id == transaction.organization_id,
            hold_lines.c.hold_id == seat_claims.c.hold_id,
            hold_lines.c.section_id == section_id,
            seat_claims.c.seat_index == any_(hold_lines.c.seats),
            blocks.c.end_time.is_(None),
        )
        .correlate(seat_claims)
        .exists()
    )
    result = await transaction.execute(
        select(seat_claims.c.seat_index)
        .join(
            holds,
            (holds.c.organization_id == seat_claims.c.organization_id) & (holds.c.id == seat_claims.c.hold_id),
        )
        .where(
            seat_claims.c.organization_id == transaction.organization_id,
            seat_claims.c.section_id == section_id,
            holds.c.state.in_(LIVE_STATES),
            or_(holds.c.expire_time <= at, voided(transaction)),
            ~into_a_block,
        )
    )
    return [row.seat_index for row in result]
