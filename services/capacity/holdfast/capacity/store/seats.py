"""Claims of seats as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import all_, any_, or_, select

from holdfast.capacity.domain.holds import HoldState
from holdfast.capacity.domain.listed_seats import NOBODY, SeatHolder, SeatState
from holdfast.capacity.domain.refusals import Keeper
from holdfast.capacity.store.holds import LIVE_STATES, voided
from holdfast.capacity.store.tables import blocks, hold_lines, holds, sale_lines, sales, seat_claims

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Row

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


async def holders(
    transaction: Transaction, section_id: str, indexes: Sequence[int], at: datetime
) -> dict[int, SeatHolder]:
    """Return who has seats of a section at a moment; those that nobody has are left out."""
    mine = transaction.organization_id
    result = await transaction.execute(
        select(
            seat_claims.c.seat_index,
            seat_claims.c.block_id,
            seat_claims.c.hold_id,
            holds.c.customer_id,
            holds.c.state,
            holds.c.create_time,
            holds.c.expire_time,
            (holds.c.state.in_(LIVE_STATES) & (or_(holds.c.expire_time <= at, voided(transaction)))).label("over"),
            blocks.c.id.label("back_to"),
            hold_lines.c.locked_price,
            sales.c.id.label("sale_id"),
            sales.c.customer_id.label("buyer_id"),
            sales.c.create_time.label("sale_time"),
            sale_lines.c.locked_price.label("sold_price"),
        )
        .select_from(
            seat_claims.outerjoin(holds, (holds.c.organization_id == mine) & (holds.c.id == seat_claims.c.hold_id))
            .outerjoin(
                hold_lines,
                (hold_lines.c.organization_id == mine)
                & (hold_lines.c.hold_id == seat_claims.c.hold_id)
                & (hold_lines.c.section_id == section_id)
                & (seat_claims.c.seat_index == any_(hold_lines.c.seats)),
            )
            .outerjoin(
                blocks,
                (blocks.c.organization_id == mine)
                & (blocks.c.id == hold_lines.c.block_id)
                & (blocks.c.end_time.is_(None)),
            )
            .outerjoin(sales, (sales.c.organization_id == mine) & (sales.c.hold_id == seat_claims.c.hold_id))
            .outerjoin(
                sale_lines,
                (sale_lines.c.organization_id == mine)
                & (sale_lines.c.sale_id == sales.c.id)
                & (sale_lines.c.section_id == section_id)
                & (seat_claims.c.seat_index == any_(sale_lines.c.seats))
                & (seat_claims.c.seat_index != all_(sale_lines.c.returned_seats))
                & (seat_claims.c.seat_index != all_(sale_lines.c.exchanged_seats)),
            )
        )
        .where(
            seat_claims.c.organization_id == mine,
            seat_claims.c.section_id == section_id,
            seat_claims.c.seat_index.in_(indexes),
        )
    )
    return {row.seat_index: _holder(row) for row in result}


async def keepers(transaction: Transaction, section_id: str, indexes: Sequence[int]) -> list[Keeper]:
    """Return what keeps seats of a section that somebody has from being held."""
    result = await transaction.execute(
        select(holds.c.state, holds.c.expire_time, hold_lines.c.block_id)
        .select_from(
            seat_claims.outerjoin(
                holds,
                (holds.c.organization_id == transaction.organization_id) & (holds.c.id == seat_claims.c.hold_id),
            ).outerjoin(
                hold_lines,
                (hold_lines.c.organization_id == transaction.organization_id)
                & (hold_lines.c.hold_id == seat_claims.c.hold_id)
                & (hold_lines.c.section_id == section_id)
                & (seat_claims.c.seat_index == any_(hold_lines.c.seats)),
            )
        )
        .where(
            seat_claims.c.organization_id == transaction.organization_id,
            seat_claims.c.section_id == section_id,
            seat_claims.c.seat_index.in_(indexes),
        )
    )
    return [
        Keeper(sold=row.state == HoldState.CONFIRMED)
        if row.state not in LIVE_STATES or row.block_id is not None
        else Keeper(until=row.expire_time, pending=row.state == HoldState.PENDING)
        for row in result
    ]


def _holder(row: Row[Any]) -> SeatHolder:
    if row.block_id is not None:
        return SeatHolder(SeatState.BLOCKED, block_id=row.block_id)
    if row.sale_id is not None:
        return SeatHolder(
            SeatState.SOLD,
            customer_id=row.buyer_id,
            hold_id=row.hold_id,
            sale_id=row.sale_id,
            hold_time=row.create_time,
            sale_time=row.sale_time,
            locked_price=row.sold_price,
        )
    if row.over:
        return NOBODY if row.back_to is None else SeatHolder(SeatState.BLOCKED, block_id=row.back_to)
    return SeatHolder(
        SeatState.PENDING if row.state == HoldState.PENDING else SeatState.HELD,
        customer_id=row.customer_id,
        hold_id=row.hold_id,
        hold_time=row.create_time,
        expire_time=row.expire_time,
        locked_price=row.locked_price,
    )
