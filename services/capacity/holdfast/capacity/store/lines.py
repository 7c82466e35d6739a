"""Lines of holds and sales as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from holdfast.capacity.domain.holds import Line, LinePrice
from holdfast.capacity.store.tables import hold_lines, holds, sale_lines, sales
from holdfast.common.money import Money

if TYPE_CHECKING:
    from sqlalchemy import Row

    from holdfast.common.database import Transaction

_COUNTERS: Final = {"ACTIVE": "held", "PENDING": "pending"}


def line_values(line: Line) -> dict[str, Any]:
    """Give the columns that lines of holds and of sales have in common."""
    price = line.price
    return {
        "number": line.number,
        "section_id": line.section_id,
        "schedule_id": line.schedule_id,
        "quantity": line.quantity,
        "seats": list(line.seats),
        "price_tier_id": None if price is None else price.price_tier_id,
        "price_tier_version": None if price is None else price.price_tier_version,
        "currency_code": None if price is None else price.total.currency_code,
        "total_minor": None if price is None else price.total.minor,
        "locked_price": None if price is None else price.body,
    }


def line_of(row: Row[Any]) -> Line:
    """Read a line."""
    price = None
    if row.price_tier_id is not None:
        price = LinePrice(
            price_tier_id=row.price_tier_id,
            price_tier_version=row.price_tier_version,
            total=Money(row.total_minor, row.currency_code),
            body=bytes(row.locked_price),
        )
    return Line(
        number=row.number,
        section_id=row.section_id,
        schedule_id=row.schedule_id,
        quantity=row.quantity,
        seats=tuple(row.seats),
        price=price,
    )


async def claimed_of_event(transaction: Transaction, event_id: str) -> dict[str, dict[str, int]]:
    """Add up what holds and sales of an event claim, by section and counter."""
    sums: dict[str, dict[str, int]] = {}
    held = await transaction.execute(
        select(hold_lines.c.section_id, holds.c.state, func.sum(hold_lines.c.quantity).label("quantity"))
        .join(holds, (holds.c.organization_id == hold_lines.c.organization_id) & (holds.c.id == hold_lines.c.hold_id))
        .where(
            holds.c.organization_id == transaction.organization_id,
            hold_lines.c.organization_id == transaction.organization_id,
            holds.c.event_id == event_id,
            holds.c.state.in_(sorted(_COUNTERS)),
        )
        .group_by(hold_lines.c.section_id, holds.c.state)
    )
    for row in held:
        sums.setdefault(row.section_id, {})[_COUNTERS[row.state]] = int(row.quantity)
    sold = await transaction.execute(
        select(
            sale_lines.c.section_id,
            func.sum(sale_lines.c.quantity - sale_lines.c.returned_quantity).label("quantity"),
        )
        .join(sales, (sales.c.organization_id == sale_lines.c.organization_id) & (sales.c.id == sale_lines.c.sale_id))
        .where(
            sales.c.organization_id == transaction.organization_id,
            sale_lines.c.organization_id == transaction.organization_id,
            sales.c.event_id == event_id,
        )
        .group_by(sale_lines.c.section_id)
    )
    for row in sold:
        sums.setdefault(row.section_id, {})["sold"] = int(row.quantity)
    return sums
