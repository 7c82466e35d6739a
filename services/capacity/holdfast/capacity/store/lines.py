"""Lines of holds and sales as rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, literal, select

from holdfast.capacity.domain.holds import Line, LinePrice
from holdfast.capacity.store.tables import blocks, event_inventories, hold_lines, holds, sale_lines, sales, sections
from holdfast.common.money import Money

if TYPE_CHECKING:
    from datetime import datetime

    from holdfast.common.database import Transaction

_COUNTERS: Final = {"ACTIVE": "held", "PENDING": "pending", "SOLD": "sold", "BLOCKED": "blocked"}
_NAMES: Final = ("total", *_COUNTERS.values())


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


@dataclass(frozen=True, slots=True)
class Claims:
    """The counters of an event as its rows say and as holds, sales, blocks and buffers add up, by section.

    "" is the event itself.

    `total` is nobody's claim: from lines it is what the rows say, of the event the sum of its sections.
    """

    version: int
    at: datetime
    stored: dict[str, dict[str, int]]
    from_lines: dict[str, dict[str, int]]


async def claims(transaction: Transaction, event_id: str) -> Claims | None:
    """Read counters and what they count in one statement; None when the event is not known here."""
    organization_id = transaction.organization_id
    live = (
        select(hold_lines.c.section_id, holds.c.state, hold_lines.c.quantity)
        .join(holds, (holds.c.organization_id == hold_lines.c.organization_id) & (holds.c.id == hold_lines.c.hold_id))
        .where(
            holds.c.organization_id == organization_id,
            hold_lines.c.organization_id == organization_id,
            holds.c.event_id == event_id,
            holds.c.state.in_(("ACTIVE", "PENDING")),
        )
    )
    sold = (
        select(
            sale_lines.c.section_id,
            literal("SOLD").label("state"),
            (sale_lines.c.quantity - sale_lines.c.returned_quantity - sale_lines.c.exchanged_quantity).label(
                "quantity"
            ),
        )
        .join(sales, (sales.c.organization_id == sale_lines.c.organization_id) & (sales.c.id == sale_lines.c.sale_id))
        .where(
            sales.c.organization_id == organization_id,
            sale_lines.c.organization_id == organization_id,
            sales.c.event_id == event_id,
        )
    )
    out = select(blocks.c.section_id, literal("BLOCKED").label("state"), blocks.c.quantity).where(
        blocks.c.organization_id == organization_id, blocks.c.event_id == event_id, blocks.c.end_time.is_(None)
    )
    each = live.union_all(sold, out).subquery("each")
    counted = (
        select(
            each.c.section_id,
            *(
                func.sum(each.c.quantity).filter(each.c.state == state).label(f"counted_{name}")
                for state, name in _COUNTERS.items()
            ),
        )
        .group_by(each.c.section_id)
        .subquery("counted")
    )
    inventory = event_inventories
    result = await transaction.execute(
        select(
            inventory.c.version,
            func.greatest(func.clock_timestamp(), inventory.c.last_change_time).label("at"),
            *(inventory.c[name].label(f"event_{name}") for name in _NAMES),
            sections.c.id,
            sections.c.buffer,
            sections.c.delete_time,
            *(sections.c[name] for name in _NAMES),
            *(func.coalesce(counted.c[f"counted_{name}"], 0).label(f"counted_{name}") for name in _COUNTERS.values()),
        )
        .select_from(
            inventory.outerjoin(
                sections,
                (sections.c.organization_id == inventory.c.organization_id)
                & (sections.c.event_id == inventory.c.event_id),
            ).outerjoin(counted, counted.c.section_id == sections.c.id)
        )
        .where(inventory.c.organization_id == organization_id, inventory.c.event_id == event_id)
    )
    rows = result.all()
    if not rows:
        return None
    stored = {"": {name: int(getattr(rows[0], f"event_{name}")) for name in _NAMES}}
    from_lines = {"": dict.fromkeys(_NAMES, 0)}
    for row in rows:
        if row.id is None:
            continue
        stored[row.id] = {name: int(getattr(row, name)) for name in _NAMES}
        from_lines[row.id] = {
            "total": row.total,
            **{name: int(getattr(row, f"counted_{name}")) for name in _COUNTERS.values()},
        }
        from_lines[row.id]["blocked"] += row.buffer
        if row.delete_time is None:  # a deleted section keeps its counters, and is no part of the event any more
            for name in _NAMES:
                from_lines[""][name] += from_lines[row.id][name]
    return Claims(version=rows[0].version, at=rows[0].at, stored=stored, from_lines=from_lines)
