"""Lines of holds and sales as rows."""

from __future__ import annotations

from typing import Any

from holdfast.capacity.domain.holds import Line, LinePrice
from holdfast.common.money import Money


def line_of(row: Any) -> Line:
    """Read a line from a row with its columns by name."""
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
        labels=tuple(row.labels),
        block_id=row.block_id,
        price=price,
    )
