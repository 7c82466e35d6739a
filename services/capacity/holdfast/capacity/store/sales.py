"""Sales and their lines as rows."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from holdfast.capacity.domain.holds import Line, Sale, SaleState, Void
from holdfast.capacity.store.lines import line_of, line_values
from holdfast.capacity.store.tables import sale_lines, sales

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement

    from holdfast.common.database import Transaction


async def of_hold(transaction: Transaction, hold_id: str) -> Sale | None:
    """Return the sale that confirming a hold made."""
    found = await _read(transaction, [sales.c.hold_id == hold_id], limit=1)
    return found[0] if found else None


async def cancelled_by(transaction: Transaction, event_id: str, void: Void, *, limit: int) -> list[Sale]:
    """Return sales that a void cancels and that do not say so yet."""
    mine = [
        sale_lines.c.organization_id == transaction.organization_id,
        sale_lines.c.sale_id == sales.c.id,
        sale_lines.c.cancelled.is_(False),
    ]
    if void.schedule_id is not None:
        mine.append(sale_lines.c.schedule_id == void.schedule_id)
    return await _read(
        transaction,
        [
            sales.c.event_id == event_id,
            sales.c.placed_version <= void.through_version,
            select(1).select_from(sale_lines).where(*mine).exists(),
        ],
        limit=limit,
    )


async def _read(transaction: Transaction, filters: Sequence[ColumnElement[bool]], *, limit: int) -> list[Sale]:
    rows = (
        await transaction.execute(
            select(sales)
            .where(sales.c.organization_id == transaction.organization_id, *filters)
            .order_by(sales.c.id)
            .limit(limit)
        )
    ).all()
    if not rows:
        return []
    lines: dict[str, list[Line]] = defaultdict(list)
    cancelled: dict[str, set[int]] = defaultdict(set)
    found = await transaction.execute(
        select(sale_lines)
        .where(
            sale_lines.c.organization_id == transaction.organization_id,
            sale_lines.c.sale_id.in_([row.id for row in rows]),
        )
        .order_by(sale_lines.c.sale_id, sale_lines.c.number)
    )
    for line in found:
        lines[line.sale_id].append(line_of(line))
        if line.cancelled:
            cancelled[line.sale_id].add(line.number)
    return [
        Sale(
            sale_id=row.id,
            event_id=row.event_id,
            hold_id=row.hold_id,
            customer_id=row.customer_id,
            state=SaleState(row.state),
            lines=tuple(lines[row.id]),
            create_time=row.create_time,
            order_reference=row.order_reference,
            cancelled_lines=frozenset(cancelled[row.id]),
            revision=row.revision,
        )
        for row in rows
    ]


async def add(transaction: Transaction, new: Sequence[Sale], *, version: int) -> None:
    """Insert sales with their lines; `version` is the inventory version that makes them."""
    await transaction.execute(
        insert(sales),
        [
            {
                "organization_id": transaction.organization_id,
                "id": sale.sale_id,
                "event_id": sale.event_id,
                "hold_id": sale.hold_id,
                "customer_id": sale.customer_id,
                "state": sale.state.value,
                "order_reference": sale.order_reference,
                "create_time": sale.create_time,
                "placed_version": version,
                "revision": sale.revision,
            }
            for sale in new
        ],
    )
    await transaction.execute(
        insert(sale_lines),
        [
            {
                "organization_id": transaction.organization_id,
                "sale_id": sale.sale_id,
                "returned_quantity": 0,
                "cancelled": False,
                **line_values(line),
            }
            for sale in new
            for line in sale.lines
        ],
    )


async def change(transaction: Transaction, changed: Sequence[Sale]) -> None:
    """Write sales back that were cancelled, with the lines that were; the event's lock is held."""
    for sale in changed:
        await transaction.execute(
            update(sales)
            .where(sales.c.organization_id == transaction.organization_id, sales.c.id == sale.sale_id)
            .values(state=sale.state.value, revision=sale.revision)
        )
        await transaction.execute(
            update(sale_lines)
            .where(
                sale_lines.c.organization_id == transaction.organization_id,
                sale_lines.c.sale_id == sale.sale_id,
                sale_lines.c.number.in_(sorted(sale.cancelled_lines)),
            )
            .values(cancelled=True)
        )
