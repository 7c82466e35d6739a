"""What a customer has of an event: tickets in live holds, and those that were sold and did not come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from holdfast.capacity.domain.holds import HoldState
from holdfast.capacity.domain.refusals import Ending
from holdfast.capacity.store.holds import LIVE_STATES, voided
from holdfast.capacity.store.tables import hold_lines, holds, sale_lines, sales

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.common.database import Transaction


async def tickets(transaction: Transaction, event_id: str, customer_id: str, *, at: datetime) -> dict[str, int]:
    """Return how many places a customer has at a moment, by price tier; without a tier they are those of ""."""
    held = (
        select(func.coalesce(hold_lines.c.price_tier_id, "").label("tier"), hold_lines.c.quantity.label("quantity"))
        .join(holds, (holds.c.organization_id == hold_lines.c.organization_id) & (holds.c.id == hold_lines.c.hold_id))
        .where(
            holds.c.organization_id == transaction.organization_id,
            holds.c.event_id == event_id,
            holds.c.customer_id == customer_id,
            holds.c.state.in_(LIVE_STATES),
            holds.c.expire_time > at,
            ~voided(transaction),
            hold_lines.c.organization_id == transaction.organization_id,
        )
    )
    sold = (
        select(
            func.coalesce(sale_lines.c.price_tier_id, ""),
            sale_lines.c.quantity - sale_lines.c.returned_quantity - sale_lines.c.exchanged_quantity,
        )
        .join(sales, (sales.c.organization_id == sale_lines.c.organization_id) & (sales.c.id == sale_lines.c.sale_id))
        .where(
            sales.c.organization_id == transaction.organization_id,
            sales.c.event_id == event_id,
            sales.c.customer_id == customer_id,
            sale_lines.c.organization_id == transaction.organization_id,
        )
    )
    had = held.union_all(sold).subquery("had")
    result = await transaction.execute(
        select(had.c.tier, func.sum(had.c.quantity).label("quantity")).group_by(had.c.tier)
    )
    return {row.tier: int(row.quantity) for row in result}


async def endings(  # noqa: PLR0913 (whose, and of what)
    transaction: Transaction, event_id: str, customer_id: str, price_tier_id: str, *, after: datetime, limit: int
) -> list[Ending]:
    """Return which tickets of a tier a customer loses when holds end, in the order of their time."""
    result = await transaction.execute(
        select(holds.c.expire_time, holds.c.state, hold_lines.c.quantity)
        .join(
            hold_lines,
            (hold_lines.c.organization_id == holds.c.organization_id) & (hold_lines.c.hold_id == holds.c.id),
        )
        .where(
            holds.c.organization_id == transaction.organization_id,
            holds.c.event_id == event_id,
            holds.c.customer_id == customer_id,
            holds.c.state.in_(LIVE_STATES),
            holds.c.expire_time > after,
            ~voided(transaction),
            hold_lines.c.organization_id == transaction.organization_id,
            hold_lines.c.price_tier_id == price_tier_id,
        )
        .order_by(holds.c.expire_time, holds.c.id, hold_lines.c.number)
        .limit(limit)
    )
    return [Ending(row.expire_time, pending=row.state == HoldState.PENDING, quantity=row.quantity) for row in result]
